"""OAuth over HTTP, where only the edge reaches it."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from services.auth.adapters.oauth_telemetry import OAuthTelemetry
from services.auth.audit import set_source
from services.auth.oauth import (
    ACCESS_TOKEN_TYPE,
    AUTHORIZATION_CODE,
    DEVICE_CODE,
    REFRESH_TOKEN,
    SCOPES,
    TOKEN_EXCHANGE,
    Form,
    Refused,
    answered,
)
from services.auth.oauth_ports import Grammar
from services.auth.usecases.exchange import Exchanged
from services.auth.usecases.provider import Issued, Provider
from services.auth.usecases.provider_sign_out import BACKCHANNEL_LOGOUT, ProviderSignOuts
from services.common.dependencies import as_unavailable
from services.common.errors import DomainError, Exhausted, Unavailable
from services.common.tokens import ALGORITHM, JWKS_PATH

logger = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024
FORWARDED_FOR = "X-Forwarded-For"
FORM = "application/x-www-form-urlencoded"
# Where the web app asks people.
CONSENT_PAGE = "/consent"
DEVICE_PAGE = "/device"
# Nobody keeps what is said here, and no page of another origin shows it.
PRIVATE = {"Cache-Control": "no-store", "Pragma": "no-cache", "Referrer-Policy": "no-referrer"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OAuthHttp:
    """The endpoints. `issuer` is the public address that they stand under, without a slash at its end."""

    def __init__(
        self,
        provider: Provider,
        sign_outs: ProviderSignOuts,
        grammar: Grammar,
        jwks: Callable[[], bytes],
        issuer: str,
        telemetry: OAuthTelemetry,
    ) -> None:
        self._provider = provider
        self._sign_outs = sign_outs
        self._grammar = grammar
        self._jwks = jwks
        self._issuer = issuer
        self._telemetry = telemetry

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._telemetry.middleware(), _told], client_max_size=MOST_BYTES)
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/.well-known/oauth-authorization-server", self._configuration)
        app.router.add_get(JWKS_PATH, self._keys)
        app.router.add_get("/oauth/authorize", self._authorize, allow_head=False)
        app.router.add_post("/oauth/authorize", self._authorize)
        app.router.add_post("/oauth/token", self._token)
        app.router.add_post("/oauth/device_authorization", self._device)
        app.router.add_post("/oauth/introspect", self._introspect)
        app.router.add_post("/oauth/revoke", self._revoke)
        app.router.add_post(BACKCHANNEL_LOGOUT, self._signed_out_elsewhere)
        app.router.add_get("/oauth/userinfo", self._userinfo, allow_head=False)
        app.router.add_post("/oauth/userinfo", self._userinfo)
        return app

    async def _configuration(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self._metadata(), headers={"Cache-Control": "public, max-age=300"})

    def _metadata(self) -> dict[str, object]:
        """OpenID Connect Discovery 1.0, 3, and RFC 8414, 2."""
        at = {name: f"{self._issuer}/oauth/{path}" for name, path in _ENDPOINTS.items()}
        ways = ["client_secret_basic", "client_secret_post", "none"]
        return {
            "issuer": self._issuer,
            **at,
            "jwks_uri": f"{self._issuer}{JWKS_PATH}",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": [AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE, TOKEN_EXCHANGE],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "token_endpoint_auth_methods_supported": ways,
            "revocation_endpoint_auth_methods_supported": ways,
            "introspection_endpoint_auth_methods_supported": ways[:2],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "consent"],
            "claims_supported": [
                "sub",
                "name",
                "email",
                "email_verified",
                "org",
                "auth_time",
                "amr",
                "nonce",
                "at_hash",
            ],
            "authorization_response_iss_parameter_supported": True,
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
        }

    async def _keys(self, _request: web.Request) -> web.StreamResponse:
        headers = {"Cache-Control": "public, max-age=60"}
        return web.Response(body=self._jwks(), content_type="application/jwk-set+json", headers=headers)

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        """Hand on to the page that asks the person, which has the request judged once more when it is answered."""
        form = Form.of(request.query.items()) if request.method == "GET" else await _form(request)
        try:
            self._grammar.authorization(form)
        except Refused as refused:
            if not refused.redirect_uri:
                # Never to an address that may be somebody else's.
                return web.Response(status=400, text=f"{refused.error}: {refused.description}\n", headers=PRIVATE)
            told = {"error": refused.error, "error_description": refused.description}
            more = {"state": form.get("state"), "iss": self._issuer}
            return _see_other(answered(refused.redirect_uri, told | more))
        return _see_other(answered(f"{self._issuer}{CONSENT_PAGE}", form.parameters))

    async def _token(self, request: web.Request) -> web.StreamResponse:
        issued = await self._provider.token(await _form(request), _source(request))
        return _json(_exchanged(issued) if isinstance(issued, Exchanged) else _issued(issued))

    async def _device(self, request: web.Request) -> web.StreamResponse:
        codes = await self._provider.device_authorization(await _form(request), _source(request))
        page = f"{self._issuer}{DEVICE_PAGE}"
        return _json(
            {
                "device_code": codes.device_code,
                "user_code": codes.user_code,
                "verification_uri": page,
                "verification_uri_complete": answered(page, {"user_code": codes.user_code}),
                "expires_in": codes.lifetime_seconds,
                "interval": codes.interval_seconds,
            }
        )

    async def _introspect(self, request: web.Request) -> web.StreamResponse:
        return _json(await self._provider.introspect(await _form(request)))

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        await self._provider.revoke(await _form(request))
        return web.Response(headers=PRIVATE)

    async def _signed_out_elsewhere(self, request: web.Request) -> web.StreamResponse:
        """OpenID Connect Back-Channel Logout 1.0, 2.5: an organization's provider says who signed out there."""
        await self._sign_outs.end((await _form(request)).get("logout_token"), _source(request))
        return web.Response(headers=PRIVATE)

    async def _userinfo(self, request: web.Request) -> web.StreamResponse:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            return _json(await self._provider.userinfo(token.strip() if kind.lower() == "bearer" else ""))
        except Refused as refused:
            challenge = f'Bearer error="{refused.error}", error_description="{refused.description}"'
            return _refusal(refused, {"WWW-Authenticate": challenge})


_ENDPOINTS = {
    "authorization_endpoint": "authorize",
    "token_endpoint": "token",
    "device_authorization_endpoint": "device_authorization",
    "introspection_endpoint": "introspect",
    "revocation_endpoint": "revoke",
    "userinfo_endpoint": "userinfo",
}


@web.middleware
async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Failures in OAuth's words; nothing of the inside is told."""
    set_source(_source(request))
    try:
        return await handler(request)
    except Refused as refused:
        return _refusal(refused)
    except web.HTTPException as error:
        return _json({"error": "invalid_request", "error_description": error.reason}, error.status, _allowed(error))
    except Exception as error:
        failure = error if isinstance(error, DomainError) else as_unavailable(error)
        if isinstance(failure, Exhausted | Unavailable):
            status = 429 if isinstance(failure, Exhausted) else 503
            wait = {"Retry-After": str(math.ceil(failure.retry_after_seconds or 1))}
            return _json({"error": "temporarily_unavailable", "error_description": failure.message}, status, wait)
        logger.exception("an OAuth request failed", extra={"path": request.path})
        return _json({"error": "server_error"}, 500)


def _allowed(error: web.HTTPException) -> Mapping[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


async def _form(request: web.Request) -> Form:
    if request.content_type != FORM:
        raise Refused("invalid_request", f"The body must be {FORM}.")
    try:
        posted = await request.post()
    except ValueError:
        raise Refused("invalid_request", "The body makes no sense.") from None
    pairs = [(name, value) for name, value in posted.items() if isinstance(value, str)]
    return Form.of(pairs, request.headers.get("Authorization", ""))


def _source(request: web.Request) -> str:
    """The address the edge saw: the last one in the list, which the edge itself wrote."""
    return request.headers.get(FORWARDED_FOR, "").rpartition(",")[2].strip()


def _issued(issued: Issued) -> dict[str, object]:
    told: dict[str, object] = {
        "access_token": issued.pair.access.value,
        "token_type": "Bearer",
        "expires_in": issued.pair.access.lifetime_seconds,
        "refresh_token": issued.pair.refresh,
        "scope": " ".join(issued.scopes),
    }
    return told | ({"id_token": issued.id_token} if issued.id_token else {})


def _exchanged(exchanged: Exchanged) -> dict[str, object]:
    return {
        "access_token": exchanged.access_token,
        "issued_token_type": ACCESS_TOKEN_TYPE,
        "token_type": "Bearer",
        "expires_in": exchanged.lifetime_seconds,
        "scope": " ".join(exchanged.scopes),
    }


def _refusal(refused: Refused, headers: Mapping[str, str] | None = None) -> web.Response:
    told = {"error": refused.error} | ({"error_description": refused.description} if refused.description else {})
    more = dict(headers or {})
    if refused.status == 401 and not more:
        more["WWW-Authenticate"] = "Basic"
    return _json(told, refused.status, more)


def _json(document: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(document, status=status, headers={**PRIVATE, **(headers or {})})


def _see_other(location: str) -> web.Response:
    return web.Response(status=303, headers={"Location": location, **PRIVATE})

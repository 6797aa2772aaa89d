"""OAuth's rules for requests, as Authlib knows them (RFC 6749, 7636, 8628).

Authlib's server is synchronous and wants to read and write stores from inside its grants. Here it only judges: a use
case reads, under a lock, what the request is about; the grants below are given that and nothing else; and the use case
writes what follows in the same transaction. So there is no thread and no call between a check and what it is for.
"""

import binascii
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Payload, OAuth2Request
from authlib.oauth2.rfc6749.errors import (
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    UnsupportedGrantTypeError,
)
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceCodeGrant

from services.auth.domain import RefreshFamily
from services.auth.oauth import (
    AUTHORIZATION_CODE,
    DEVICE_CODE,
    REFRESH_TOKEN,
    Asked,
    AuthorizationCode,
    Client,
    DeviceRequest,
    Form,
    Refused,
)

CLIENT_AUTHENTICATION = ["client_secret_basic", "client_secret_post", "none"]
S256 = "S256"

T = TypeVar("T")


class AuthlibGrammar:
    """See `oauth_ports.Grammar`. `issuer` is the HTTPS address that stands before the endpoints."""

    def __init__(self, issuer: str, clients: dict[str, Client]) -> None:
        self._issuer = issuer
        self._server = _Server({client.id: _Program(client) for client in clients.values()})

    def authorization(self, form: Form) -> Asked:
        _refuse_what_is_not_offered(form)
        request = self._request("GET", "/oauth/authorize", form)

        def judge() -> Asked:
            grant: Any = self._server.get_authorization_grant(request)
            redirect_uri = grant.validate_consent_request()
            _refuse_what_nobody_can_be_asked(form, redirect_uri)
            return Asked(
                request.client.client,
                redirect_uri,
                tuple(request.scope.split()),
                form.get("code_challenge"),
                form.get("state"),
                form.get("nonce"),
            )

        return _judged(judge)

    def client(self, form: Form, endpoint: str) -> Client:
        request = self._request("POST", f"/oauth/{endpoint}", form)
        return _judged(lambda: self._authenticated(request, endpoint))

    def device_authorization(self, form: Form) -> tuple[Client, tuple[str, ...]]:
        request = self._request("POST", "/oauth/device_authorization", form)

        def judge() -> tuple[Client, tuple[str, ...]]:
            client = self._authenticated(request, "device_authorization")
            if DEVICE_CODE not in client.grants:
                raise InvalidGrantError("The client is not authorized to use device codes.")
            scopes = client.allowed(form.get("scope").split())
            if scopes is None:
                raise InvalidScopeError
            return client, scopes

        return _judged(judge)

    def code(self, form: Form, found: AuthorizationCode | None) -> Client:
        return self._granted(AUTHORIZATION_CODE, form, code=found)

    def device(self, form: Form, found: DeviceRequest | None, now: datetime) -> Client:
        return self._granted(DEVICE_CODE, form, device=found, now=now)

    def refresh(self, form: Form, found: RefreshFamily | None) -> Client:
        return self._granted(REFRESH_TOKEN, form, family=found)

    def _granted(self, grant_type: str, form: Form, **found: object) -> Client:
        request = self._request("POST", "/oauth/token", form)
        request.found = found

        def judge() -> Client:
            if form.get("grant_type") != grant_type:
                raise UnsupportedGrantTypeError(form.get("grant_type"))
            grant: Any = self._server.get_token_grant(request)
            grant.validate_token_request()
            client: Client = request.client.client
            return client

        return _judged(judge)

    def _authenticated(self, request: "_Request", endpoint: str) -> Client:
        program: Any = self._server.authenticate_client(request, CLIENT_AUTHENTICATION, endpoint)
        client: Client = program.client
        return client

    def _request(self, method: str, path: str, form: Form) -> "_Request":
        return _Request(method, f"{self._issuer}{path}", form)


def _refuse_what_is_not_offered(form: Form) -> None:
    """Parameters that would change what is asked must not be passed over (OpenID Connect Core, 3.1.2.6 and 6)."""
    for name in ("request", "request_uri"):
        if form.get(name):
            raise Refused(f"{name}_not_supported")


def _refuse_what_nobody_can_be_asked(form: Form, redirect_uri: str) -> None:
    """The page that asks knows who is signed in, this does not; and it always asks, whoever was asked before."""
    if form.get("prompt") == "none":
        raise Refused("login_required", redirect_uri=redirect_uri)
    if form.get("prompt") not in ("", "consent") or form.get("max_age"):
        raise Refused("invalid_request", "Signing in anew on demand is not offered.", redirect_uri=redirect_uri)
    if form.get("response_mode") not in ("", "query"):
        raise Refused("invalid_request", "The response mode is not offered.", redirect_uri=redirect_uri)


def _judged(judge: Callable[[], T]) -> T:
    """What Authlib says, with its errors in our words."""
    try:
        return judge()
    except OAuth2Error as error:
        description = error.get_error_description() or ""
        raise Refused(
            error.error or "invalid_request",
            description,
            status=error.status_code,
            redirect_uri=error.redirect_uri or "",
        ) from None
    except (UnicodeError, binascii.Error):
        raise Refused("invalid_client", "The Authorization header makes no sense.", status=401) from None
    except ValueError:
        # Authlib repeats what it was sent in its description, and then refuses what must not stand there.
        raise Refused("invalid_request", "A parameter makes no sense.") from None


class _Payload(OAuth2Payload):
    """The parameters, each once."""

    def __init__(self, form: Form) -> None:
        self._data = dict(form.parameters)
        self._lists = defaultdict(list, {name: [value] for name, value in self._data.items()})

    @property
    def data(self) -> dict[str, str]:
        return self._data

    @property
    def datalist(self) -> defaultdict[str, list[Any]]:
        return self._lists


class _Request(OAuth2Request):
    """A request as Authlib wants it, with what was found for it."""

    found: dict[str, Any]
    client: Any
    payload: Any

    def __init__(self, method: str, uri: str, form: Form) -> None:
        super().__init__(method, uri, headers={"Authorization": form.authorization})
        self.payload = _Payload(form)
        self.found = {}

    @property
    def args(self) -> Any:
        return self.form

    @property
    def form(self) -> dict[str, str]:
        return dict(self.payload.data)


class _Program:
    """A client as Authlib wants it."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get_client_id(self) -> str:
        return self.client.id

    def get_default_redirect_uri(self) -> None:
        """None: programs name the address each time."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        scopes = self.client.allowed((scope or "").split())
        return None if scopes is None else " ".join(scopes)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return self.client.redirects_to(redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        return self.client.knows(client_secret)

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return (method == "none") == self.client.is_public

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and AUTHORIZATION_CODE in self.client.grants

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.client.grants


class _Server(AuthorizationServer):
    """Finds clients and grants; it keeps nothing."""

    def __init__(self, programs: dict[str, _Program]) -> None:
        super().__init__()
        self._programs = programs
        self.register_grant(_CodeGrant, [_OnlyS256()])
        self.register_grant(_DeviceGrant)
        self.register_grant(_RefreshGrant)

    def query_client(self, client_id: str) -> Any:
        return self._programs.get(client_id)

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""


class _OnlyS256(CodeChallenge):
    """PKCE, always and with a hash: a request that leaves it out, or says "plain", is refused (OAuth 2.1, 7.5.2)."""

    DEFAULT_CODE_CHALLENGE_METHOD = S256

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        parameters = grant.request.payload.data
        if not parameters.get("code_challenge") or parameters.get("code_challenge_method") != S256:
            raise InvalidRequestError("PKCE with the method S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge_method(self, _authorization_code: object) -> str:
        return S256


class _Kept:
    """A code as Authlib wants it."""

    def __init__(self, code: AuthorizationCode) -> None:
        self.code_challenge = code.code_challenge
        self._code = code

    def get_redirect_uri(self) -> str:
        return self._code.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self._code.scopes)


class _CodeGrant(AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTHENTICATION
    request: _Request

    def query_authorization_code(self, _code: str, client: Any) -> _Kept | None:
        found: AuthorizationCode | None = self.request.found["code"]
        return _Kept(found) if found is not None and found.client_id == client.client.id else None


class _Shown:
    """What a device asked, as Authlib wants it."""

    def __init__(self, device: DeviceRequest, now: datetime) -> None:
        self.device = device
        self.now = now

    def get_client_id(self) -> str:
        return self.device.client_id

    def get_scope(self) -> str:
        return " ".join(self.device.scopes)

    def get_user_code(self) -> "_Shown":
        """Stands for the code, of which only a hash is kept; Authlib hands it back."""
        return self

    def is_expired(self) -> bool:
        return self.device.expires_at <= self.now


class _DeviceGrant(DeviceCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTHENTICATION
    request: _Request

    def query_device_credential(self, _device_code: str) -> _Shown:
        found: DeviceRequest | None = self.request.found["device"]
        if found is None:
            raise InvalidGrantError("Invalid 'device_code' in request.")
        return _Shown(found, self.request.found["now"])

    def query_user_grant(self, user_code: Any) -> tuple[object, bool] | None:
        device: DeviceRequest = user_code.device
        return (device, not device.denied) if device.is_answered else None

    def should_slow_down(self, credential: Any) -> bool:
        device: DeviceRequest = credential.device
        now: datetime = credential.now
        return device.is_polled_too_soon(now)


class _Renewable:
    """A sign-in that a program may renew, as Authlib wants it."""

    def __init__(self, family: RefreshFamily) -> None:
        self._family = family

    def check_client(self, client: _Program) -> bool:
        return client.client.id == self._family.client_id

    def get_scope(self) -> str:
        return " ".join(self._family.scopes)


class _RefreshGrant(RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTHENTICATION
    request: _Request

    def authenticate_refresh_token(self, _refresh_token: str) -> Any:
        found: RefreshFamily | None = self.request.found["family"]
        return None if found is None else _Renewable(found)

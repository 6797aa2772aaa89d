"""An OpenID provider that nobody here wrote (pyop, of IdentityPython), at an address of its own with TLS."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from aiohttp import web
from Cryptodome.PublicKey import RSA
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwkest.jwk import RSAKey
from jwkest.jws import JWS
from pyop.authz_state import AuthorizationState
from pyop.exceptions import OAuthError
from pyop.provider import Provider
from pyop.subject_identifier import HashBasedSubjectIdentifierFactory
from pyop.userinfo import Userinfo

from tests.support.server import TestStack

CLIENT_ID = "desk"
SECRET = "a-secret-of-acmes"
Change = Callable[[dict[str, Any]], dict[str, Any]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def unchanged(document: dict[str, Any]) -> dict[str, Any]:
    return document


@dataclass
class Acme:
    """The provider and its people, who are signed in there already. Tests change what it answers."""

    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    discovery: Change = unchanged
    tokens: Change = unchanged
    # Answers in place of the provider's own, by path.
    instead: dict[str, Handler] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    issuer: str = ""
    provider: Any = None

    def start(self, port: int, redirect_uri: str) -> None:
        self.issuer = f"https://localhost:{port}"
        self.provider = Provider(
            new_key("acme-1"),
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/jwks",
                "response_types_supported": ["code"],
                "scopes_supported": ["openid", "email", "profile", "groups"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            AuthorizationState(HashBasedSubjectIdentifierFactory("salt")),
            {
                CLIENT_ID: {
                    "client_secret": SECRET,
                    "redirect_uris": [redirect_uri],
                    "response_types": ["code"],
                    "token_endpoint_auth_method": "client_secret_basic",
                }
            },
            Userinfo(self.people),
            extra_scopes={"groups": ["groups"]},
        )

    def rotate(self) -> None:
        self.provider.signing_key = new_key("acme-2")

    def approve(self, url: str, person: str) -> str:
        """Go where the browser was sent, as a person; returns the query it comes back with."""
        request = self.provider.parse_authentication_request(urlsplit(url).query)
        answer = self.provider.authorize(request, person)
        back: str = answer.request(request["redirect_uri"])
        return urlsplit(back).query

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        answers: dict[str, Handler] = {
            "/.well-known/openid-configuration": self._configuration,
            "/jwks": self._keys,
            "/token": self._token,
            "/userinfo": self._userinfo,
        }
        return await (answers | self.instead)[request.path](request)

    async def _configuration(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self.discovery(self.provider.provider_configuration.to_dict()))

    async def _keys(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self.provider.jwks)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        try:
            tokens = self.provider.handle_token_request(await request.text(), _authorization(request))
        except OAuthError as error:
            return web.json_response({"error": error.oauth_error}, status=400)
        return web.json_response(self.tokens(tokens.to_dict()))

    async def _userinfo(self, request: web.Request) -> web.StreamResponse:
        said = self.provider.handle_userinfo_request("", _authorization(request))
        return web.Response(text=said.to_json(), content_type="application/json")


def _authorization(request: web.Request) -> dict[str, str]:
    return {"Authorization": request.headers.get("Authorization", "")}


def state_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


def new_key(key_id: str) -> RSAKey:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return RSAKey(key=RSA.import_key(pem), use="sig", alg="RS256", kid=key_id)


def signed(key: Any, **changes: Any) -> Any:
    """Replaces the ID token by one with other claims or another key."""

    def change(tokens: dict[str, Any]) -> dict[str, Any]:
        claims = jwt.decode(tokens["id_token"], options={"verify_signature": False})
        said = {name: value for name, value in (claims | changes).items() if value is not None}
        return tokens | {"id_token": JWS(said, alg="RS256").sign_compact([key])}

    return change


@asynccontextmanager
async def acme(stack: TestStack, redirect_uri: str) -> AsyncIterator[Acme]:
    """The provider, listening on a port of its own."""
    found = Acme()
    stack.pki.issue_host("acme", "localhost")
    files = stack.pki.files("acme")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files["tls_cert_file"], files["tls_key_file"])
    runner = web.AppRunner(found.application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    [(_, port)] = runner.addresses
    found.start(port, redirect_uri)
    yield found
    await runner.cleanup()

"""The OAuth provider over HTTP on real stores, used by Authlib's client, which nobody here wrote."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
from authlib.integrations.httpx_client import AsyncOAuth2Client

from deskmesh.auth.v1 import consent_service_pb2
from deskmesh.auth.v1.consent_service_pb2_grpc import ConsentServiceStub
from services.auth.oauth import CLI
from services.auth.settings import OAuthClient
from services.common.ids import new_id
from tests.integration.auth.people import AuthClient, Person, serve
from tests.integration.mesh.envoys import free_port
from tests.support.server import TestStack

ISSUER = "https://desk.example"
SECRET = "a secret that nobody guesses"
BACK = "https://shop.example/back"
SHOP = OAuthClient(
    id="shop",
    name="The shop",
    redirect_uris=(BACK,),
    scopes=("openid", "profile", "email"),
    secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
)
WATCHER = OAuthClient(
    id="watcher", name="A service", secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(), introspects=True
)
WORKER = OAuthClient(
    id="worker",
    name="A worker",
    secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
    exchanges=("tickets", "knowledge"),
)
VERIFIER = "v" * 50


class Provider:
    """The service, and HTTP to its socket as the edge speaks it."""

    def __init__(self, auth: AuthClient, socket: Path, *, oauth_address: str, keys_address: str) -> None:
        self.auth = auth
        # Where a mesh's proxy finds the same, and the public keys alone.
        self.oauth_address, self.keys_address = oauth_address, keys_address
        self.consents = ConsentServiceStub(auth.service.channel("edge"))
        self._socket = socket
        self.http = httpx.AsyncClient(transport=self._transport(), base_url="http://auth")

    def _transport(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(uds=str(self._socket))

    @asynccontextmanager
    async def program(self, client_id: str, **more: Any) -> AsyncIterator[AsyncOAuth2Client]:
        """Authlib's client."""
        client = AsyncOAuth2Client(
            client_id,
            token_endpoint="http://auth/oauth/token",
            code_challenge_method="S256",
            transport=self._transport(),
            headers={"X-Forwarded-For": new_id("place")},
            **more,
        )
        async with client:
            yield client

    async def approve(self, person: Person, page: str, *, approved: bool = True) -> str:
        """Answer on the page that the browser was sent to; returns where it goes from there."""
        assert page.startswith(f"{ISSUER}/consent?"), page
        subject = consent_service_pb2.ConsentSubject(authorization=urlsplit(page).query)
        request = consent_service_pb2.AnswerConsentRequest(subject=subject, approved=approved)
        return (await self.consents.AnswerConsent(request, metadata=person.headers)).redirect_uri

    async def approve_device(self, person: Person, user_code: str) -> None:
        subject = consent_service_pb2.ConsentSubject(user_code=user_code)
        found = await self.consents.GetConsent(
            consent_service_pb2.GetConsentRequest(subject=subject), metadata=person.headers
        )
        assert (found.client_id, found.redirect_host) == (CLI, "")
        request = consent_service_pb2.AnswerConsentRequest(subject=subject, approved=True)
        await self.consents.AnswerConsent(request, metadata=person.headers)

    async def let_in(self, person: Person, program: AsyncOAuth2Client) -> dict[str, Any]:
        """Go the whole way with PKCE; returns what the program got."""
        url, state = program.create_authorization_url(
            "http://auth/oauth/authorize", code_verifier=VERIFIER, nonce="n-1"
        )
        answer = await self.http.get(url)
        assert answer.status_code == 303
        back = await self.approve(person, answer.headers["location"])
        token: dict[str, Any] = await program.fetch_token(
            authorization_response=back, state=state, code_verifier=VERIFIER
        )
        return token


@asynccontextmanager
async def provider_beside(stack: TestStack) -> AsyncIterator[Provider]:
    """The service with its OAuth endpoints and programs."""
    socket = stack.folder / "oauth.sock"
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("oauth_address", "keys_address")}
    changes = {"oauth_socket": socket, "public_url": ISSUER, "oauth_clients": (SHOP, WATCHER, WORKER), **addresses}
    async with serve(stack, "oauth", **changes) as auth:
        found = Provider(auth, socket, **addresses)
        yield found
        await found.http.aclose()

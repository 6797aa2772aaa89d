"""OAuth as the world reaches it: the real provider behind the real edge, and a program of somebody else's."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2 as httpx
import pytest
import pytest_asyncio
from authlib.integrations.httpx_client import AsyncOAuth2Client

from deskmesh.auth.v1 import auth_service_pb2, consent_service_pb2
from deskmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from deskmesh.auth.v1.consent_service_pb2_grpc import ConsentServiceStub
from deskmesh_cli.commands.login import poster
from deskmesh_cli.device import Shown, let_in
from deskmesh_client import Client
from deskmesh_client.session import MemorySession, Tokens
from mesh.envoy.methods import load_methods
from services.auth.oauth import CLI
from services.common.ids import new_id
from tests.integration.auth.people import PASSWORD, serve
from tests.integration.mesh.envoys import Ground, eventually
from tests.support.server import Headers, TestStack, new_folder, remove_folder

VERIFIER = "v" * 50
BACK = "http://127.0.0.1:1/callback"


class Edge:
    """The edge in front of auth."""

    def __init__(self, ground: Ground) -> None:
        self.url = f"https://localhost:{ground.topology.edge_port}"
        self.ca_file = ground.folder / "pki" / "ca.crt"
        self.trust = ssl.create_default_context(cafile=str(self.ca_file))
        self.channel = ground.channel(ground.topology.edge_port, None)

    async def founder(self) -> auth_service_pb2.SignUpResponse:
        """Somebody who just signed up."""
        name = new_id("o").replace("_", "-")
        request = auth_service_pb2.SignUpRequest(
            email=f"{name}@example.com",
            password=PASSWORD,
            display_name="Ann",
            new_organization=auth_service_pb2.NewOrganization(slug=name, name="A shop"),
        )
        response: auth_service_pb2.SignUpResponse = await AuthServiceStub(self.channel).SignUp(request)
        return response


def bearer(token: str) -> Headers:
    return (("authorization", f"Bearer {token}"),)


@pytest_asyncio.fixture(scope="module")
async def edge(stack: TestStack) -> AsyncIterator[Edge]:
    folder = new_folder()
    ground = Ground.make(folder)
    run, upstream = ground.topology.run, ground.topology.upstreams[0]
    files = {f"tls_{kind}_file": folder / "pki" / "auth" / name for kind, name in _FILES.items()}
    found = Edge(ground)
    async with AsyncExitStack() as running:
        await running.enter_async_context(
            serve(
                stack,
                "edge-oauth",
                ops_socket=run / "auth.ops.sock",
                jwks_socket=run / "auth.ops.sock",
                oauth_socket=run / "auth.oauth.sock",
                listen_address=f"127.0.0.1:{upstream.port}",
                public_url=found.url,
                **files,
            )
        )
        await running.enter_async_context(ground.envoy("edge", load_methods()))
        running.push_async_callback(found.channel.close)
        yield found
    remove_folder(folder)


_FILES = {"cert": "tls.crt", "key": "tls.key", "ca": "ca.crt"}


async def test_a_program_finds_its_way_from_the_discovery_document_to_a_call(edge: Edge) -> None:
    async with httpx.AsyncClient(verify=edge.trust) as browser:
        said: dict[str, Any] = {}

        async def answers() -> bool:
            answer = await browser.get(f"{edge.url}/.well-known/openid-configuration")
            said.update(answer.json() if answer.status_code == 200 else {})
            return bool(said)

        await eventually(answers, "the provider answers through the edge")
        assert said["issuer"] == edge.url
        keys = await browser.get(said["jwks_uri"])
        assert keys.json()["keys"]
        assert keys.headers["x-content-type-options"] == "nosniff"

        signed_up = await edge.founder()
        person = bearer(signed_up.tokens.access_token)
        async with AsyncOAuth2Client(
            CLI,
            scope="openid deskmesh",
            redirect_uri=BACK,
            token_endpoint=said["token_endpoint"],
            token_endpoint_auth_method="none",
            code_challenge_method="S256",
            verify=edge.trust,
        ) as program:
            url, state = program.create_authorization_url(said["authorization_endpoint"], code_verifier=VERIFIER)
            page = (await browser.get(url)).headers["location"]
            assert page.startswith(f"{edge.url}/consent?")
            subject = consent_service_pb2.ConsentSubject(authorization=urlsplit(page).query)
            answer = await ConsentServiceStub(edge.channel).AnswerConsent(
                consent_service_pb2.AnswerConsentRequest(subject=subject, approved=True), metadata=person
            )
            token = await program.fetch_token(
                authorization_response=answer.redirect_uri, state=state, code_verifier=VERIFIER
            )
            info = (await program.get(said["userinfo_endpoint"])).json()
            assert info["sub"] == signed_up.principal.user.id
            request = auth_service_pb2.WhoAmIRequest()
            me = await AuthServiceStub(edge.channel).WhoAmI(request, metadata=bearer(token["access_token"]))
            assert me.principal.user.id == info["sub"]


async def test_the_command_line_is_let_in_by_a_code_and_stays_signed_in(edge: Edge) -> None:
    signed_up = await edge.founder()
    shown: list[Shown] = []

    async def approve(_seconds: float) -> None:
        subject = consent_service_pb2.ConsentSubject(user_code=shown[0].code)
        await ConsentServiceStub(edge.channel).AnswerConsent(
            consent_service_pb2.AnswerConsentRequest(subject=subject, approved=True),
            metadata=bearer(signed_up.tokens.access_token),
        )

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=edge.trust)) as http:
        granted = await let_in(poster(http, edge.url), shown.append, approve)
    assert shown[0].page == f"{edge.url}/device"
    session = MemorySession()
    # As if its ten minutes were over.
    session.save(Tokens(granted.access_token, 0.0, granted.refresh_token))
    async with Client(edge.url.removeprefix("https://"), ca_file=edge.ca_file, session=session) as client:
        me = (await client.auth.WhoAmI(auth_service_pb2.WhoAmIRequest())).principal
        assert me.user.id == signed_up.principal.user.id
        kept = session.load()
        assert kept is not None
        assert kept.refresh_token != granted.refresh_token
        await client.sign_out()


async def test_where_a_request_came_from_is_the_edges_word(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.auth.usecases.provider.DEVICES_PER_HOUR", 1)
    asked = {"client_id": CLI, "scope": "deskmesh"}
    async with httpx.AsyncClient(verify=edge.trust, base_url=edge.url) as http:
        claims = [{"X-Forwarded-For": new_id("place")} for _ in range(2)]
        answers = [
            (await http.post("/oauth/device_authorization", data=asked, headers=claim)).status_code for claim in claims
        ]
        # Two places, if the edge believed them.
        assert answers[-1] == 429
        assert (await http.get("/oauth/elsewhere")).status_code == 404

"""OAuth as the world reaches it: the real provider behind the real edge, and a program of somebody else's."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
import pytest_asyncio
from authlib.integrations.httpx_client import AsyncOAuth2Client

from deskmesh.auth.v1 import auth_service_pb2, consent_service_pb2
from deskmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from deskmesh.auth.v1.consent_service_pb2_grpc import ConsentServiceStub
from mesh.envoy.methods import load_methods
from services.auth.oauth import CLI
from services.common.ids import new_id
from tests.integration.auth.conftest import PASSWORD, serve
from tests.integration.mesh.envoys import Ground, eventually
from tests.support.server import TestStack, new_folder, remove_folder

VERIFIER = "v" * 50
BACK = "http://127.0.0.1:1/callback"


class Edge:
    """The edge in front of auth."""

    def __init__(self, ground: Ground) -> None:
        self.url = f"https://localhost:{ground.topology.edge_port}"
        self.trust = ssl.create_default_context(cafile=str(ground.folder / "pki" / "ca.crt"))
        self.channel = ground.channel(ground.topology.edge_port, None)


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

        signed_up = await AuthServiceStub(edge.channel).SignUp(
            auth_service_pb2.SignUpRequest(
                email=f"{edge.url[-5:]}@example.com",
                password=PASSWORD,
                display_name="Ann",
                new_organization=auth_service_pb2.NewOrganization(slug=f"through-{edge.url[-5:]}", name="A shop"),
            )
        )
        person = (("authorization", f"Bearer {signed_up.tokens.access_token}"),)
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
            bearer = (("authorization", f"Bearer {token['access_token']}"),)
            me = await AuthServiceStub(edge.channel).WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer)
            assert me.principal.user.id == info["sub"]


async def test_where_a_request_came_from_is_the_edges_word(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.auth.usecases.provider.DEVICES_PER_HOUR", 1)
    asked = {"client_id": CLI, "scope": "deskmesh"}
    async with httpx.AsyncClient(verify=edge.trust, base_url=edge.url) as http:
        claims = [{"X-Forwarded-For": new_id("place")} for _ in range(2)]
        answers = [
            (await http.post("/oauth/device_authorization", data=asked, headers=claim)).status_code for claim in claims
        ]
        assert answers == [200, 429]
        assert (await http.get("/oauth/elsewhere")).status_code == 404

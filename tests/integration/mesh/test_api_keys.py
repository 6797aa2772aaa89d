"""API keys at the edge: a real Envoy and a real gateway in front of a recorder, with auth's answers made by a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from deskmesh.auth.v1 import api_key_service_pb2_grpc
from mesh.policy.table import RateClass
from services.common.api_keys import hash_key, new_key
from services.gateway.app import serve
from services.gateway.limits import KEY_RATES
from services.gateway.settings import GatewaySettings
from tests.integration.mesh.envoys import Ground, call, credentials, eventually, free_port, method, recorder
from tests.support.pki import TokenIssuer
from tests.support.server import new_folder, remove_folder

WHO_AM_I = "/deskmesh.auth.v1.AuthService/WhoAmI"
SIGN_IN = "/deskmesh.auth.v1.AuthService/SignIn"
# One of the contract's, whose rate class the gateway knows.
TOKEN = "/deskmesh.auth.v1.AuthService/RefreshToken"
METHODS = (method(WHO_AM_I, repeatable=True), method(SIGN_IN, anonymous=True), method(TOKEN))
RECHECK_SECONDS = 0.3


class Auth(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """Knows the keys a test told it, and says so with tokens of the test's issuer."""

    def __init__(self, tokens: TokenIssuer) -> None:
        self._tokens = tokens
        self.good: set[bytes] = set()
        self.sources: list[str] = []

    async def ExchangeApiKey(self, request: keys.ExchangeApiKeyRequest, context: Any) -> keys.ExchangeApiKeyResponse:
        self.sources.append(request.source_address)
        if request.secret_hash not in self.good:
            info = error_details_pb2.ErrorInfo(reason="API_KEY_INVALID", domain="deskmesh")
            status = status_pb2.Status(code=16, message="no")
            status.details.add().Pack(info)
            trailers = (("grpc-status-details-bin", status.SerializeToString()),)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no", trailers)
        token = self._tokens.token(organization_id="org_1", user_id="svc_1", roles=("+members.read",), sid="key_1")
        answer = keys.ExchangeApiKeyResponse(access_token=token, organization_id="org_1", subject_id="svc_1")
        answer.access_token_lifetime.FromSeconds(300)
        return answer


class Door:
    """The edge with a gateway, and auth behind both."""

    def __init__(
        self, ground: Ground, tokens: TokenIssuer, auth: Auth, gateway: AsyncExitStack, settings: GatewaySettings
    ) -> None:
        self.ground = ground
        self.settings = settings
        self.tokens = tokens
        self.auth = auth
        self.gateway = gateway
        self.channel = ground.channel(ground.topology.edge_port, None)

    def key(self) -> str:
        """A key that auth takes."""
        key = new_key()
        self.auth.good.add(hash_key(key))
        return key

    def revoke(self, key: str) -> None:
        self.auth.good.remove(hash_key(key))

    async def refusal(self, path: str = WHO_AM_I, **metadata: Any) -> tuple[grpc.StatusCode, str]:
        """The code and reason of a call that is refused, told the same way in status and details."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(self.channel, path, **metadata)
        trailers = dict(caught.value.trailing_metadata() or ()) | dict(caught.value.initial_metadata() or ())
        status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
        status.ParseFromString(trailers["grpc-status-details-bin"])
        assert (status.code, status.message) == (caught.value.code().value[0], caught.value.details())
        assert status.details[0].Unpack(info)
        return caught.value.code(), info.reason


@pytest_asyncio.fixture(scope="module")
async def door() -> AsyncIterator[Door]:
    folder = new_folder()
    ground, tokens = Ground.make(folder), TokenIssuer()
    topology = ground.topology
    jwks = await tokens.serve(topology.run / "auth.ops.sock")
    auth, port = Auth(tokens), free_port()  # type: ignore[abstract] # the gateway calls one method
    server = grpc.aio.server()
    api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server(auth, server)
    server.add_secure_port(f"127.0.0.1:{port}", credentials(ground, "auth"))
    await server.start()
    identity = topology.pki / "gateway"
    checks, openai = (f"127.0.0.1:{free_port()}" for _ in range(2))
    settings = GatewaySettings(
        # Nobody listens there: the gateway counts for itself.
        redis_url=f"unix://{topology.run / 'no-valkey.sock'}",
        ops_socket=topology.run / "gateway.ops.sock",
        gateway_socket=topology.run / "gateway.sock",
        openai_socket=topology.run / "openai.sock",
        gateway_address=checks,
        openai_address=openai,
        # Nothing here asks for a model.
        inference_address="127.0.0.1:1",
        usage_address="127.0.0.1:1",
        jwks_socket=topology.run / "auth.ops.sock",
        tls_cert_file=identity / "tls.crt",
        tls_key_file=identity / "tls.key",
        tls_ca_file=identity / "ca.crt",
        auth_address=f"127.0.0.1:{port}",
        key_recheck_seconds=RECHECK_SECONDS,
        wrong_keys_per_minute=5,
        drain_seconds=0.5,
    )
    async with (
        AsyncExitStack() as gateway,
        recorder("auth", topology.upstreams[0].port, ground, "auth"),
        ground.envoy("edge", METHODS),
    ):
        await serve(gateway, settings)
        door = Door(ground, tokens, auth, gateway, settings)
        await eventually(lambda: _gets_in(door), "the edge has fetched the keys")
        yield door
        await door.channel.close()
    await server.stop(grace=None)
    await jwks.cleanup()
    remove_folder(folder)


async def _gets_in(door: Door) -> bool:
    bearer = door.tokens.token(organization_id="o", user_id="u", roles=("customer",))
    try:
        await call(door.channel, WHO_AM_I, authorization=f"Bearer {bearer}")
    except grpc.aio.AioRpcError:
        return False
    return True


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "both"])
async def test_a_key_goes_on_as_a_token_and_never_as_itself(door: Door, header: str) -> None:
    key = door.key()
    sent: dict[str, Any] = {"authorization": f"Bearer {key}"} if header != "x-api-key" else {}
    if header != "authorization":
        sent["x_api_key"] = key
    answer = await call(door.channel, WHO_AM_I, **sent)
    metadata = answer["metadata"]
    assert metadata["authorization"].startswith("Bearer ey")
    assert "x-api-key" not in metadata
    assert key not in str(answer)


async def test_a_key_is_asked_about_once_for_many_calls_and_bound_to_the_address_the_edge_saw(door: Door) -> None:
    key = door.key()
    before = len(door.auth.sources)
    await asyncio.gather(
        *(call(door.channel, WHO_AM_I, x_api_key=key, x_forwarded_for="203.0.113.9") for _ in range(20))
    )
    # For a neighbour on the same machine Envoy writes the machine's own address.
    (source,) = door.auth.sources[before:]
    assert source not in ("203.0.113.9", "")


async def test_a_revoked_key_is_refused_within_the_time_it_is_remembered(door: Door) -> None:
    key = door.key()
    await call(door.channel, WHO_AM_I, x_api_key=key)
    door.revoke(key)
    await asyncio.sleep(RECHECK_SECONDS)
    assert await door.refusal(x_api_key=key) == (grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID")


@pytest.mark.parametrize("path", [WHO_AM_I, SIGN_IN])
@pytest.mark.parametrize("key", ["dm_live_short", "dm_live_" + "a" * 49, "not a key"])
async def test_what_is_no_key_is_refused_without_asking(door: Door, path: str, key: str) -> None:
    before = len(door.auth.sources)
    assert await door.refusal(path, x_api_key=key) == (grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID")
    assert len(door.auth.sources) == before


async def test_a_key_beside_a_token_is_refused(door: Door) -> None:
    token = door.tokens.token(organization_id="o", user_id="u", roles=("customer",))
    refusal = await door.refusal(x_api_key=door.key(), authorization=f"Bearer {token}")
    assert refusal == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_tokens_and_anonymous_calls_pass_the_gateway_by(door: Door) -> None:
    before = len(door.auth.sources)
    token = door.tokens.token(organization_id="o", user_id="u", roles=("customer",))
    answer = await call(door.channel, WHO_AM_I, authorization=f"Bearer {token}")
    assert answer["metadata"]["authorization"] == f"Bearer {token}"
    assert (await call(door.channel, SIGN_IN))["server"] == "auth"
    assert len(door.auth.sources) == before


async def test_a_key_works_over_grpc_web(door: Door) -> None:
    url = f"https://localhost:{door.ground.topology.edge_port}{WHO_AM_I}"
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        good = {**headers, "x-api-key": door.key()}
        async with session.post(url, data=b"\0\0\0\0\0", headers=good) as response:
            body = await response.read()
            assert (response.status, b"grpc-status:0" in body, b"Bearer ey" in body) == (200, True, True)
        async with session.post(url, data=b"\0\0\0\0\0", headers={**headers, "x-api-key": "dm_live_no"}) as response:
            assert (response.status, response.headers["grpc-status"]) == (200, "16")


async def test_a_mesh_s_proxy_is_answered_on_loopback_as_the_edge_is(door: Door) -> None:
    checks, openai = f"http://{door.settings.gateway_address}", f"http://{door.settings.openai_address}"
    async with aiohttp.ClientSession() as session:
        asked = {"x-api-key": door.key(), "x-forwarded-for": "198.51.100.1, 203.0.113.7"}
        async with session.post(f"{checks}/keys{WHO_AM_I}", headers=asked) as response:
            assert (response.status, response.headers["authorization"][:9]) == (200, "Bearer ey")
        assert door.auth.sources[-1] == "203.0.113.7"
        async with session.post(f"{checks}/keys{WHO_AM_I}", headers={"x-api-key": "no key"}) as response:
            assert response.status == 401
        async with session.get(f"{openai}/v1/models") as response:
            assert (response.status, "error" in await response.json()) == (401, True)
        async with session.get(f"{openai}/keys{WHO_AM_I}") as response:
            assert response.status == 404


async def test_a_key_that_calls_too_often_waits_also_without_valkey_and_is_told_what_is_left(door: Door) -> None:
    key = door.key()
    rpc: Any = door.channel.unary_unary(TOKEN)
    call_ = rpc(b"", metadata=(("x-api-key", key),))
    await call_
    told = dict(await call_.initial_metadata())
    burst = KEY_RATES[RateClass.CREDENTIAL].burst
    assert told["ratelimit-limit"].startswith(f"{burst},")
    assert told["ratelimit-remaining"] == str(burst - 1)
    calls = [call(door.channel, TOKEN, x_api_key=key) for _ in range(burst + 5)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(result, grpc.aio.AioRpcError) for result in results)
    assert await door.refusal(TOKEN, x_api_key=key) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert await call(door.channel, WHO_AM_I, x_api_key=key)


async def test_many_wrong_keys_from_one_address_have_to_wait(door: Door) -> None:
    refusals = [await door.refusal(x_api_key=new_key()) for _ in range(6)]
    assert refusals[-1] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")


async def test_without_the_gateway_keys_are_refused_and_tokens_go_on(door: Door) -> None:
    key = door.key()
    await door.gateway.aclose()
    assert await door.refusal(x_api_key=key) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    token = door.tokens.token(organization_id="o", user_id="u", roles=("customer",))
    assert await call(door.channel, WHO_AM_I, authorization=f"Bearer {token}")

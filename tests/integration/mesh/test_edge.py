"""The edge: what it lets in, what it refuses and how, and what it hides from the services."""

import asyncio
import base64
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from laptop.stack import WORKLOADS, envoy_program
from mesh.envoy import render
from mesh.envoy.methods import load_methods
from tests.integration.mesh.envoys import Ground, call, eventually, method, recorder
from tests.support.pki import TokenIssuer
from tests.support.server import new_folder, remove_folder

WHO_AM_I = "/deskmesh.auth.v1.AuthService/WhoAmI"
SIGN_IN = "/deskmesh.auth.v1.AuthService/SignIn"
INTERNAL = "/deskmesh.auth.v1.AuthService/Internal"
METHODS = (
    method(WHO_AM_I, repeatable=True),
    method(SIGN_IN, anonymous=True),
    method(INTERNAL, callers=("orchestrator",)),
)


class Edge:
    """The edge in front of a recorder, and what it takes to call it."""

    def __init__(self, ground: Ground, tokens: TokenIssuer) -> None:
        self.ground = ground
        self.tokens = tokens
        self.channel = ground.channel(ground.topology.edge_port, None)

    def bearer(self, **changes: Any) -> str:
        return f"Bearer {self.tokens.token(organization_id='o', user_id='u', roles=('customer',), **changes)}"

    async def refusal(self, path: str, *, payload: bytes = b"", **metadata: Any) -> tuple[grpc.StatusCode, str]:
        """The code and the reason with which a call is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(self.channel, path, payload=payload, **metadata)
        trailers = dict(caught.value.trailing_metadata() or ()) | dict(caught.value.initial_metadata() or ())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        assert status.code == caught.value.code().value[0]
        assert status.message == caught.value.details()
        return caught.value.code(), reason_in(trailers["grpc-status-details-bin"])


def reason_in(details: bytes) -> str:
    """The reason in what `grpc-status-details-bin` holds; empty without any."""
    status, info = status_pb2.Status.FromString(details), error_details_pb2.ErrorInfo()
    return info.reason if status.details and status.details[0].Unpack(info) else ""


@pytest_asyncio.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    folder = new_folder()
    ground, tokens = Ground.make(folder), TokenIssuer()
    jwks = await tokens.serve(ground.topology.run / "auth.ops.sock")
    port = ground.topology.upstreams[0].port
    async with recorder("auth", port, ground, "auth"), ground.envoy("edge", METHODS):
        edge = Edge(ground, tokens)
        await eventually(lambda: _keys_are_there(edge), "the edge has fetched the keys")
        yield edge
        await edge.channel.close()
    await jwks.cleanup()
    remove_folder(folder)


async def _keys_are_there(edge: Edge) -> bool:
    try:
        await call(edge.channel, WHO_AM_I, authorization=edge.bearer())
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_valid_token_goes_on_to_the_service(edge: Edge) -> None:
    token = edge.bearer()
    answer = await call(edge.channel, WHO_AM_I, authorization=token)
    assert answer["metadata"]["authorization"] == token
    assert answer["metadata"]["traceparent"]


async def test_anonymous_calls_need_no_token(edge: Edge) -> None:
    assert (await call(edge.channel, SIGN_IN))["server"] == "auth"


async def test_what_only_our_own_processes_say_is_removed(edge: Edge) -> None:
    answer = await call(
        edge.channel,
        SIGN_IN,
        deskmesh_acting_user="somebody",
        deskmesh_acting_organization="else",
        x_deskmesh_replica="127.0.0.1:1",
        x_other="stays",
    )
    names = set(answer["metadata"])
    assert not {name for name in names if name.startswith(("deskmesh-acting-", "x-deskmesh-"))}
    assert "x-other" in names


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(time.time()) - 600}, "TOKEN_EXPIRED"),
        ({"iss": "https://elsewhere.example"}, "TOKEN_INVALID"),
        ({"aud": "somebody-else"}, "TOKEN_INVALID"),
        ({"headers": {"kid": "unknown"}}, "TOKEN_INVALID"),
        ({"key": TokenIssuer().key}, "TOKEN_INVALID"),
        ({"exp": None}, "TOKEN_INVALID"),
    ],
    ids=["expired", "issuer", "audience", "key ID", "forged", "endless"],
)
@pytest.mark.parametrize("path", [WHO_AM_I, SIGN_IN])
async def test_a_bad_token_is_refused_even_where_none_is_needed(
    edge: Edge, path: str, changes: dict[str, object], reason: str
) -> None:
    refusal = await edge.refusal(path, authorization=edge.bearer(**changes))
    assert refusal == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_nonsense_and_nothing_instead_of_a_token_are_refused(edge: Edge) -> None:
    assert await edge.refusal(WHO_AM_I, authorization="Bearer x.y.z") == (
        grpc.StatusCode.UNAUTHENTICATED,
        "TOKEN_INVALID",
    )
    assert await edge.refusal(WHO_AM_I) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


async def test_internal_and_unknown_calls_are_not_open_to_the_outside(edge: Edge) -> None:
    token = edge.bearer()
    assert await edge.refusal(INTERNAL, authorization=token) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "WORKLOAD_NOT_ALLOWED",
    )
    unknown = "/deskmesh.auth.v1.AuthService/Nothing"
    assert await edge.refusal(unknown, authorization=token) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


async def test_an_oversized_request_is_refused_before_the_service(edge: Edge) -> None:
    payload = bytes(edge.ground.topology.max_request_bytes + 1)
    assert await edge.refusal(SIGN_IN, payload=payload) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_TOO_LARGE")


async def test_a_deadline_that_passes_on_the_way_is_told(edge: Edge) -> None:
    """Over HTTP/1.1, because a gRPC client would end the call by itself."""
    trusted = ssl.create_default_context(cafile=str(edge.ground.folder / "pki" / "ca.crt"))
    headers = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": "200m", "x-wait": "5"}
    url = f"https://localhost:{edge.ground.topology.edge_port}{SIGN_IN}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=bytes(5), headers=headers, ssl=trusted) as reply,
    ):
        assert reply.headers["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        assert reason_in(base64.b64decode(reply.headers["grpc-status-details-bin"] + "==")) == "DEADLINE_EXCEEDED"


async def test_a_service_that_is_away_is_told_as_such() -> None:
    folder = new_folder()
    ground, tokens = Ground.make(folder), TokenIssuer()
    jwks = await tokens.serve(ground.topology.run / "auth.ops.sock")
    async with AsyncExitStack() as service:
        await service.enter_async_context(recorder("auth", ground.topology.upstreams[0].port, ground, "auth"))
        async with ground.envoy("edge", METHODS):
            edge = Edge(ground, tokens)
            assert (await call(edge.channel, SIGN_IN))["server"] == "auth"
            await service.aclose()
            assert await edge.refusal(SIGN_IN) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
            await edge.channel.close()
    await jwks.cleanup()
    remove_folder(folder)


async def test_a_service_with_another_identity_is_not_trusted() -> None:
    folder = new_folder()
    ground = Ground.make(folder)
    port = ground.topology.upstreams[0].port
    async with recorder("impostor", port, ground, "tickets"):
        envoy = ground.envoy("edge", METHODS, seconds=3)
        with pytest.raises(AssertionError, match="edge is ready"):
            async with envoy:
                pass
    remove_folder(folder)


async def test_certificates_rotate_under_calls(edge: Edge) -> None:
    failures = 0
    stop = asyncio.Event()

    async def keep_calling() -> int:
        nonlocal failures
        count = 0
        while not stop.is_set():
            # A channel a call: each makes a handshake with the certificate of that moment.
            async with edge.ground.channel(edge.ground.topology.edge_port, None) as channel:
                try:
                    await call(channel, SIGN_IN)
                except grpc.aio.AioRpcError:
                    failures += 1
            count += 1
        return count

    before = await _serial(edge)
    calling = asyncio.create_task(keep_calling())
    for workload in ("edge", "auth"):
        (edge.ground.folder / "pki" / workload / "tls.crt").resolve().unlink()
    assert edge.ground.pki.ensure(WORKLOADS) == ["edge", "auth"]

    async def rotated() -> bool:
        return await _serial(edge) != before

    await eventually(rotated, "the edge presents the new certificate")
    stop.set()
    assert await calling > 0
    assert failures == 0


async def _serial(edge: Edge) -> bytes:
    """The certificate the edge presents to a new connection."""
    context = ssl.create_default_context(cafile=str(edge.ground.folder / "pki" / "ca.crt"))
    _, writer = await asyncio.open_connection(
        "127.0.0.1", edge.ground.topology.edge_port, ssl=context, server_hostname="localhost"
    )
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return certificate


@pytest.mark.parametrize("node", render.NODES)
def test_the_configuration_of_all_contracts_is_valid(node: str) -> None:
    folder = new_folder()
    try:
        file = render.write(Ground.make(folder).topology, load_methods())[node]
        checked = subprocess.run(
            [envoy_program(), "--mode", "validate", "-c", file], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
    finally:
        remove_folder(folder)

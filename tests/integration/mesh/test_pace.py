"""A service that slows down gets fewer calls at once; who has to wait is told so at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest_asyncio

from services.common.errors import RemoteError, from_rpc_error
from tests.integration.mesh.envoys import Ground, call, method, recorder
from tests.support.pki import TokenIssuer
from tests.support.server import new_folder, remove_folder

SIGN_IN = "/deskmesh.auth.v1.AuthService/SignIn"
WATCH = "/deskmesh.auth.v1.AuthService/Watch"
METHODS = (method(SIGN_IN, anonymous=True), method(WATCH, anonymous=True, server_streaming=True))
AT_ONCE = 4
CALLS = 40
SLOW_SECONDS = "1"


@pytest_asyncio.fixture(scope="module")
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    folder = new_folder()
    ground = Ground.make(folder)
    ground.topology = replace(ground.topology, calls_always_let_through=AT_ONCE)
    jwks = await TokenIssuer().serve(ground.topology.run / "auth.ops.sock")
    port = ground.topology.upstreams[0].port
    async with recorder("auth", port, ground, "auth"), ground.envoy("edge", METHODS):
        async with ground.channel(ground.topology.edge_port, None) as channel:
            yield channel
    await jwks.cleanup()
    remove_folder(folder)


async def slow_calls(channel: grpc.aio.Channel, path: str) -> list[tuple[RemoteError, float]]:
    """The refusals among many slow calls at once, and after how many seconds each came."""
    refused: list[tuple[RemoteError, float]] = []

    async def one() -> None:
        began = time.monotonic()
        try:
            await call(channel, path, x_wait=SLOW_SECONDS)
        except grpc.aio.AioRpcError as error:
            refused.append((from_rpc_error(error), time.monotonic() - began))

    await asyncio.gather(*(one() for _ in range(CALLS)))
    return refused


async def test_what_is_too_much_at_once_is_refused_at_once_and_typed(channel: grpc.aio.Channel) -> None:
    refused = await slow_calls(channel, SIGN_IN)
    assert CALLS // 2 < len(refused) <= CALLS - AT_ONCE
    error, _ = refused[0]
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert error.retry_after_seconds == 1
    assert max(seconds for _, seconds in refused) < float(SLOW_SECONDS)
    assert await call(channel, SIGN_IN)


async def test_streams_are_not_paced(channel: grpc.aio.Channel) -> None:
    assert await slow_calls(channel, WATCH) == []

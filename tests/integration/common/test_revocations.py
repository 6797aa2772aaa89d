"""A revoked token ends within seconds in a running service, for calls and for open streams."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import redis.asyncio

from services.common import revocations
from services.common.ids import new_id
from services.common.revocations import CHANNEL, Revocation, encode
from services.common.settings import ServiceSettings
from tests.integration.common.test_chain import wire
from tests.support.echo import EchoRequest, EchoStub
from tests.support.server import Headers, RunningService, TestStack, refused


@asynccontextmanager
async def watching(service: RunningService, headers: Headers) -> AsyncIterator[asyncio.Future[object]]:
    """A stream that is open and silent; its end is what the future waits for."""
    stream = EchoStub(service.channel("edge")).Watch(EchoRequest(text="on"), metadata=headers)
    for _ in range(3):
        await stream.read()
    yield asyncio.ensure_future(stream.read())
    stream.cancel()


async def ended(reading: asyncio.Future[object]) -> None:
    async with asyncio.timeout(5), refused() as refusal:
        await reading
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")


async def test_valkey_tells_at_once_and_ends_open_streams(
    stack: TestStack, organization_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "POLL_SECONDS", 3600)
    user, other = new_id("usr"), new_id("usr")
    store = redis.asyncio.Redis.from_url(stack.redis_url)
    async with stack.service("tickets", ServiceSettings, wire) as service:
        mine, theirs = (service.person(organization_id, one, "agent") for one in (user, other))
        async with watching(service, mine) as ending, watching(service, theirs) as going_on:
            # The subscription is made in the background.
            while not await store.publish(CHANNEL, encode([Revocation(user, time.time())])):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await ended(ending)
            stub = EchoStub(service.channel("edge"))
            async with refused() as refusal:
                await stub.Echo(EchoRequest(text="hi"), metadata=mine)
            assert refusal.error.reason == "TOKEN_REVOKED"
            assert (await stub.Echo(EchoRequest(text="hi"), metadata=theirs)).text == "hi"
            assert not going_on.done()
    await store.aclose()


async def test_without_valkey_auth_is_asked(
    stack: TestStack, organization_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "POLL_SECONDS", 0.05)
    user = new_id("usr")
    async with stack.service("tickets", ServiceSettings, wire, redis_url="redis://127.0.0.1:1") as service:
        async with watching(service, service.person(organization_id, user, "agent")) as ending:
            stack.tokens.revoked.append(Revocation(user, time.time()))
            await ended(ending)


async def test_a_process_that_starts_knows_what_was_revoked_before(stack: TestStack, organization_id: str) -> None:
    user = new_id("usr")
    stack.tokens.revoked.append(Revocation(user, time.time()))
    async with stack.service("tickets", ServiceSettings, wire) as service:
        async with refused() as refusal:
            stub = EchoStub(service.channel("edge"))
            token = stack.tokens.token(organization_id=organization_id, user_id=user, roles=("agent",), iat=1)
            await stub.Echo(EchoRequest(text="hi"), metadata=(("authorization", f"Bearer {token}"),))
        assert refusal.error.reason == "TOKEN_REVOKED"


async def test_a_dangerous_call_wants_a_fresh_proof(stack: TestStack, organization_id: str) -> None:
    async with stack.service("tickets", ServiceSettings, wire) as service:
        stub = EchoStub(service.channel("edge"))

        def headers(**claims: object) -> Headers:
            token = stack.tokens.token(organization_id=organization_id, user_id="usr_1", roles=("agent",), **claims)  # type: ignore[arg-type]
            return (("authorization", f"Bearer {token}"),)

        assert (await stub.Dangerous(EchoRequest(text="hi"), metadata=headers())).text == "hi"
        for claims in ({"auth_time": int(time.time()) - 700}, {"auth_time": None}):
            async with refused() as refusal:
                await stub.Dangerous(EchoRequest(text="hi"), metadata=headers(**claims))
            assert (refusal.error.code, refusal.error.reason) == (
                grpc.StatusCode.PERMISSION_DENIED,
                "STEP_UP_REQUIRED",
            )

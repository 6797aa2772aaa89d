"""What stays safe and what goes on when Valkey or auth is stopped in the middle of work: what the documents say."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
import redis.asyncio

from deskmesh.auth.v1 import account_service_pb2, api_key_service_pb2, auth_service_pb2
from deskmesh.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from deskmesh.usage.v1 import budget_pb2, budget_service_pb2, reservation_service_pb2
from deskmesh.usage.v1.budget_service_pb2_grpc import BudgetServiceStub
from deskmesh.usage.v1.reservation_service_pb2_grpc import ReservationServiceStub
from mesh.policy.table import RateClass, load_table
from services.common.buckets import Rate, ValkeyBuckets
from services.common.clients import ChannelFactory
from services.common.errors import Unavailable, from_rpc_error
from services.common.ids import new_id
from services.common.settings import ServiceSettings
from services.common.tls import CertificateFiles
from services.gateway.adapters.exchange import AuthExchange
from services.gateway.errors import TooManyCalls
from services.gateway.keys import KeyTokens
from services.gateway.limits import KeyLimits
from services.gateway.ports import Access
from services.usage.app import wire as wire_usage
from services.usage.settings import ModelPrice, UsageSettings
from tests.integration.auth.people import PASSWORD, AuthClient, Person, serve
from tests.integration.common.test_chain import wire
from tests.support.echo import EchoRequest, EchoStub
from tests.support.server import Headers, RunningService, TestStack, acting, refused
from tests.support.valkey import Stoppable, stoppable_valkey

# One call in six seconds, so that nothing is let in again while a test runs.
SLOW = {kind: Rate(per_minute=10, burst=5) for kind in RateClass}
READ = "/deskmesh.auth.v1.AuthService/WhoAmI"
SIZE = {"unknown_prompt_tokens": 100, "unknown_completion_tokens": 0}
PRICES = {"*": ModelPrice(prompt=1_000_000, cached_prompt=1_000_000, completion=1_000_000)}


class Gateway:
    """The parts of a gateway that decide about a key."""

    def __init__(self, channel: grpc.aio.Channel, store: redis.asyncio.Redis) -> None:
        exchange = AuthExchange(channel, timeout_seconds=2)
        self.keys = KeyTokens(exchange, recheck_seconds=0.2, remembered=100, wrong_per_minute=30)
        self.limits = KeyLimits(ValkeyBuckets(store, "gateway"), load_table(), rates=SLOW)

    async def let_in(self, access: Access, calls: int) -> int:
        """How many of so many calls at once are let in."""
        count = 0
        for _ in range(calls):
            try:
                await self.limits.take(access, READ)
            except TooManyCalls:
                continue
            count += 1
        return count


@dataclass
class Town:
    """Auth, usage, another service and two gateways, on a Valkey of their own."""

    stack: TestStack
    valkey: Stoppable
    auth: AuthClient
    usage: RunningService
    desk: RunningService
    gateways: tuple[Gateway, Gateway]

    async def echo(self, headers: Headers) -> str:
        """What the other service says to a call: "" when it is let in, else the reason."""
        try:
            await EchoStub(self.desk.channel("edge")).Echo(EchoRequest(text="hi"), metadata=headers)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error).reason
        return ""

    async def key(self, owner: Person) -> str:
        """A key that reads tickets."""
        request = api_key_service_pb2.CreateApiKeyRequest(name="A key", scopes=["tickets.read"])
        made = await ApiKeyServiceStub(self.auth.service.channel("edge")).CreateApiKey(request, metadata=owner.headers)
        secret: str = made.secret
        return secret


@pytest.fixture
def valkey() -> Iterator[Stoppable]:
    with stoppable_valkey() as server:
        yield server


@pytest_asyncio.fixture
async def town(stack: TestStack, valkey: Stoppable) -> AsyncIterator[Town]:
    async with AsyncExitStack() as running:
        auth = await running.enter_async_context(serve(stack, "away", redis_url=valkey.url, drain_seconds=0.2))
        shared: dict[str, Any] = {
            "jwks_socket": auth.service.settings.ops_socket,
            "redis_url": valkey.url,
            "drain_seconds": 0.2,
        }
        usage = await running.enter_async_context(
            stack.service("usage", UsageSettings, wire_usage, prices=PRICES, **SIZE, **shared)
        )
        desk = await running.enter_async_context(stack.service("tickets", ServiceSettings, wire, **shared))
        stack.pki.issue("gateway")
        channels = ChannelFactory(CertificateFiles(stack.settings("gateway", ServiceSettings, database_url="")))
        running.push_async_callback(channels.close)
        store = redis.asyncio.Redis.from_url(valkey.url, socket_timeout=0.5, socket_connect_timeout=0.5)
        running.push_async_callback(store.aclose)
        channel = channels.channel(auth.service.address, "auth")
        yield Town(stack, valkey, auth, usage, desk, (Gateway(channel, store), Gateway(channel, store)))


async def _budget(town: Town, owner: Person) -> Headers:
    """Make a budget of four hundred micros for everything; returns as whom a worker spends it."""
    budget = budget_service_pb2.CreateBudgetRequest(
        request_id=new_id("req"),
        scope=budget_pb2.BUDGET_SCOPE_ORGANIZATION,
        period=budget_pb2.BUDGET_PERIOD_ALL,
        limit_micros=400,
    )
    await BudgetServiceStub(town.usage.channel("edge")).CreateBudget(budget, metadata=owner.headers)
    return acting(owner.organization_id, owner.user_id, ("customer",))


async def _reserved(town: Town, headers: Headers, count: int) -> int:
    """How many of so many reservations of a hundred micros are granted."""
    stub, granted = ReservationServiceStub(town.usage.channel("orchestrator")), 0
    for _ in range(count):
        request = reservation_service_pb2.ReserveRequest(reservation_id=new_id("res"), model="any", operation="turn")
        request.lease.seconds = 600
        try:
            await stub.Reserve(request, metadata=headers)
        except grpc.aio.AioRpcError as error:
            assert from_rpc_error(error).reason == "BUDGET_EXCEEDED"
            continue
        granted += 1
    return granted


async def test_valkey_is_stopped_while_everything_is_in_use(town: Town) -> None:
    owner = await town.auth.founder()
    secret, spare = await town.key(owner), await town.key(owner)
    first, second = town.gateways
    access = await first.keys.access(secret, "")
    worker = await _budget(town, owner)
    assert await _reserved(town, worker, 1) == 1
    assert await town.echo(owner.headers) == ""
    # One bucket for both: six calls through two gateways, five are let in.
    assert await first.let_in(access, 3) + await second.let_in(access, 3) == 5

    town.valkey.stop()

    # Token checks: they hold, and a sign-in that is ended is over everywhere within five seconds.
    again = await town.auth.sign_in(owner)
    assert await town.echo(again.headers) == await town.echo(owner.headers) == ""
    await town.auth.accounts.SignOutEverywhere(account_service_pb2.SignOutEverywhereRequest(), metadata=again.headers)
    began = time.monotonic()
    while (reason := await town.echo(owner.headers)) == "":
        assert time.monotonic() - began < 5
    assert reason == "TOKEN_REVOKED"
    # Signing in goes on; guessing from one place is stopped sooner, and stops nobody elsewhere.
    attacker = (("x-forwarded-for", new_id("attacker")),)
    reasons = []
    for _ in range(4):
        async with refused() as refusal:
            guess = auth_service_pb2.SignInRequest(email=owner.email, password="guess after guess")
            await town.auth.auth.SignIn(guess, metadata=attacker)
        reasons.append(refusal.error.reason)
    assert reasons == ["CREDENTIALS_INVALID"] * 3 + ["RATE_LIMITED"]
    right = auth_service_pb2.SignInRequest(email=owner.email, password=PASSWORD)
    await town.auth.auth.SignIn(right, metadata=(("x-forwarded-for", new_id("home")),))
    # Budgets are exact: what was reserved before counts.
    assert await _reserved(town, worker, 6) == 3
    # Limits of keys degrade: each gateway counts for itself, and no further.
    assert (await second.keys.access(secret, "")).key_id == access.key_id
    new = await first.keys.access(spare, "")
    assert [await first.let_in(new, 8), await second.let_in(new, 8)] == [5, 5]
    assert first.limits.counted_locally >= 5

    town.valkey.start()

    other = await town.auth.founder()
    fresh = await first.keys.access(await town.key(other), "")
    began = time.monotonic()
    before = first.limits.counted_locally, second.limits.counted_locally
    # A second after it was last missed it is asked again, and counts for both.
    while time.monotonic() - began < 1.1:
        assert await town.echo(other.headers) == ""
    assert await first.let_in(fresh, 4) + await second.let_in(fresh, 4) == 5
    assert (first.limits.counted_locally, second.limits.counted_locally) == before
    assert await town.echo(other.headers) == ""


async def test_auth_is_stopped_while_everything_is_in_use(town: Town) -> None:
    owner = await town.auth.founder()
    secret, unused = await town.key(owner), await town.key(owner)
    first, second = town.gateways
    access = await first.keys.access(secret, "")
    by_key = (("authorization", f"Bearer {access.token}"),)
    worker = await _budget(town, owner)
    assert await town.echo(owner.headers) == await town.echo(by_key) == ""

    await town.auth.service.stop()

    # Who holds a token goes on, also with one that the service has not seen before; so does a key that was used.
    assert await town.echo(owner.headers) == await town.echo(by_key) == ""
    assert (await first.keys.access(secret, "")).key_id
    for gateway, key in ((first, unused), (second, secret)):
        with pytest.raises(Unavailable):
            await gateway.keys.access(key, "")
    assert await first.let_in(access, 8) == 5
    assert await _reserved(town, worker, 6) == 4
    # Forged tokens are refused as ever, and those of the old key that end are not renewed.
    forged = town.stack.tokens.token(organization_id=owner.organization_id, user_id=owner.user_id, roles=("owner",))
    assert await town.echo((("authorization", f"Bearer {forged}"),)) == "TOKEN_INVALID"
    async with refused() as refusal:
        renewal = auth_service_pb2.RefreshTokenRequest(refresh_token=owner.refresh_token)
        await town.auth.auth.RefreshToken(renewal, timeout=5)
    assert refusal.error.code is grpc.StatusCode.UNAVAILABLE
    # A service that starts now knows no keys, and lets nobody in.
    nowhere = {"jwks_socket": town.stack.folder / "nobody-listens.sock", "redis_url": town.valkey.url}
    async with town.stack.service("tickets", ServiceSettings, wire, **nowhere) as late:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EchoStub(late.channel("edge")).Echo(EchoRequest(text="hi"), metadata=owner.headers)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

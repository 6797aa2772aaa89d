"""Buckets: of one process and in Valkey alike; in Valkey exact for any number of gateways."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
import redis.asyncio

from services.common.errors import Unavailable
from services.common.ids import new_id
from services.gateway.adapters.buckets import ValkeyBuckets
from services.gateway.limits import Bucket, Buckets, Decision, LocalBuckets, Rate

# One call in six seconds, so that no test waits for another to be let in.
SLOW = Rate(per_minute=10, burst=5)
WIDE = Rate(per_minute=10, burst=8)


class Local:
    """Buckets of one process, behind the port."""

    def __init__(self) -> None:
        self._buckets = LocalBuckets()

    async def take(self, buckets: Sequence[Bucket]) -> Decision:
        return self._buckets.take(buckets)


@pytest_asyncio.fixture(params=["local", "valkey"])
async def buckets(request: pytest.FixtureRequest) -> AsyncIterator[Buckets]:
    if request.param == "local":
        yield Local()
        return
    store = redis.asyncio.Redis.from_url(request.getfixturevalue("redis_url"))
    yield ValkeyBuckets(store)
    await store.aclose()


async def test_a_burst_goes_through_and_then_each_waits_its_time(buckets: Buckets) -> None:
    bucket = Bucket(new_id("b"), SLOW)
    decisions = [await buckets.take([bucket]) for _ in range(6)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False]
    assert [decision.remaining for decision in decisions[:5]] == [4, 3, 2, 1, 0]
    assert 5 < decisions[5].wait_seconds <= 6


async def test_what_is_refused_in_one_bucket_is_counted_in_none(buckets: Buckets) -> None:
    narrow, wide = Bucket(new_id("b"), SLOW), Bucket(new_id("b"), WIDE)
    for _ in range(5):
        assert (await buckets.take([narrow, wide])).allowed
    for _ in range(3):
        assert not (await buckets.take([narrow, wide])).allowed
    others = [await buckets.take([Bucket(new_id("b"), SLOW), wide]) for _ in range(4)]
    assert [decision.allowed for decision in others] == [True, True, True, False]


async def test_many_gateways_at_once_let_exactly_the_burst_through(redis_url: str) -> None:
    stores = [redis.asyncio.Redis.from_url(redis_url) for _ in range(4)]
    bucket = Bucket(new_id("b"), Rate(per_minute=1, burst=37))
    gateways = [ValkeyBuckets(store) for store in stores]
    decisions = await asyncio.gather(*(gateway.take([bucket]) for _ in range(50) for gateway in gateways))
    assert sum(decision.allowed for decision in decisions) == 37
    for store in stores:
        await store.aclose()


async def test_a_bucket_is_forgotten_when_it_is_full_again(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as store:
        name = new_id("b")
        await ValkeyBuckets(store).take([Bucket(name, SLOW)])
        assert 5_000 < await store.pttl(f"gateway:paid:{name}") <= 6_001


async def test_without_valkey_it_says_so() -> None:
    async with redis.asyncio.Redis.from_url("unix:///nowhere/v.sock") as store:
        with pytest.raises(Unavailable):
            await ValkeyBuckets(store).take([Bucket("b", SLOW)])

"""Buckets: of one process and in Valkey alike; in Valkey exact for any number of processes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio

from services.common.buckets import Bucket, LocalBuckets, Rate, ValkeyBuckets, Wanted
from services.common.errors import Unavailable
from services.common.ids import new_id

# One call in six seconds, so that no test waits for another to be let in.
SLOW = Rate(per_minute=10, burst=5)
WIDE = Rate(per_minute=10, burst=8)


Kept = LocalBuckets | ValkeyBuckets


@pytest_asyncio.fixture(params=["local", "valkey"])
async def buckets(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    if request.param == "local":
        yield LocalBuckets()
        return
    store = redis.asyncio.Redis.from_url(request.getfixturevalue("redis_url"))
    yield ValkeyBuckets(store, "test")
    await store.aclose()


async def test_a_burst_goes_through_and_then_each_waits_its_time(buckets: Kept) -> None:
    bucket = Bucket(new_id("b"), SLOW)
    decisions = [await buckets.take([bucket]) for _ in range(6)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False]
    assert [decision.remaining for decision in decisions[:5]] == [4, 3, 2, 1, 0]
    assert 5 < decisions[5].wait_seconds <= 6


async def test_what_is_refused_in_one_bucket_is_counted_in_none(buckets: Kept) -> None:
    narrow, wide = Bucket(new_id("b"), SLOW), Bucket(new_id("b"), WIDE)
    for _ in range(5):
        assert (await buckets.take([narrow, wide])).allowed
    for _ in range(3):
        assert not (await buckets.take([narrow, wide])).allowed
    others = [await buckets.take([Bucket(new_id("b"), SLOW), wide]) for _ in range(4)]
    assert [decision.allowed for decision in others] == [True, True, True, False]


async def test_leases_take_what_fits_into_every_bucket_and_each_is_counted_by_itself(buckets: Kept) -> None:
    narrow, wide = Bucket(new_id("b"), SLOW), Bucket(new_id("b"), WIDE)
    other = Bucket(new_id("b"), SLOW)
    wanted = [Wanted((narrow, wide), 2), Wanted((other, wide), 9), Wanted((narrow,), 9), Wanted((narrow, wide), 1)]
    leases = await buckets.lease(wanted)
    # Of the wide one's eight two went to the first, and five to the second, whose own was empty then.
    assert [lease.calls for lease in leases] == [2, 5, 3, 0]
    assert [lease.wait_seconds for lease in leases[:3]] == [0, 0, 0]
    assert 5 < leases[3].wait_seconds <= 6
    # What is leased and what is taken is counted together.
    assert (await buckets.take([wide])).allowed
    assert not (await buckets.take([wide])).allowed
    assert await buckets.lease([]) == []


async def test_many_gateways_at_once_let_exactly_the_burst_through(redis_url: str) -> None:
    stores = [redis.asyncio.Redis.from_url(redis_url) for _ in range(4)]
    bucket = Bucket(new_id("b"), Rate(per_minute=1, burst=37))
    gateways = [ValkeyBuckets(store, "test") for store in stores]
    decisions = await asyncio.gather(*(gateway.take([bucket]) for _ in range(50) for gateway in gateways))
    assert sum(decision.allowed for decision in decisions) == 37
    for store in stores:
        await store.aclose()


async def test_a_bucket_is_forgotten_when_it_is_full_again(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as store:
        name = new_id("b")
        await ValkeyBuckets(store, "test").take([Bucket(name, SLOW)])
        assert 5_000 < await store.pttl(f"test:paid:{name}") <= 6_001


async def test_without_valkey_it_says_so() -> None:
    async with redis.asyncio.Redis.from_url("unix:///nowhere/v.sock") as store:
        with pytest.raises(Unavailable):
            await ValkeyBuckets(store, "test").take([Bucket("b", SLOW)])

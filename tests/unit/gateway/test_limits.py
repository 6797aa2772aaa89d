"""Limits of keys with Valkey present, slow to come back, and away."""

from collections.abc import Sequence

import pytest

from mesh.policy.table import RateClass, load_table
from services.common.buckets import RETRY_SECONDS, Bucket, Decision, Rate
from services.common.errors import Unavailable
from services.gateway.errors import TooManyCalls
from services.gateway.limits import KeyLimits
from services.gateway.ports import Access

READ = "/deskmesh.auth.v1.AuthService/WhoAmI"
WRITE = "/deskmesh.tickets.v1.TicketService/CreateTicket"
RATES = {rate_class: Rate(per_minute=60, burst=2) for rate_class in RateClass}


class FakeBuckets:
    """Answers what a test says, and notes what was asked."""

    def __init__(self) -> None:
        self.away = False
        self.decision = Decision(allowed=True, remaining=1, wait_seconds=0.0)
        self.asked: list[Sequence[Bucket]] = []

    async def take(self, buckets: Sequence[Bucket]) -> Decision:
        self.asked.append(buckets)
        if self.away:
            raise Unavailable
        return self.decision


class Desk:
    """The limits on a clock moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.shared = FakeBuckets()
        self.limits = KeyLimits(self.shared, load_table(), rates=RATES, monotonic=lambda: self.now)

    async def call(self, key: str = "key_1", path: str = READ) -> None:
        await self.limits.take(Access("t", 300, "org_1", "svc_1", key), path)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_key_and_its_organization_are_counted_by_class(desk: Desk) -> None:
    await desk.call()
    await desk.call(path=WRITE)
    names = [[bucket.name for bucket in asked] for asked in desk.shared.asked]
    assert names == [["{org_1}:READ:key_1", "{org_1}:READ"], ["{org_1}:WRITE:key_1", "{org_1}:WRITE"]]
    assert [bucket.rate for bucket in desk.shared.asked[0]] == [Rate(60, 2), Rate(300, 10)]


async def test_who_has_to_wait_is_refused_without_asking_until_then(desk: Desk) -> None:
    desk.shared.decision = Decision(allowed=False, remaining=0, wait_seconds=3.0)
    for _ in range(3):
        with pytest.raises(TooManyCalls):
            await desk.call()
    assert len(desk.shared.asked) == 1
    desk.now = 2.0
    with pytest.raises(TooManyCalls) as caught:
        await desk.call()
    assert caught.value.retry_after_seconds == 1.0
    desk.now = 3.0
    desk.shared.decision = Decision(allowed=True, remaining=1, wait_seconds=0.0)
    await desk.call()
    assert len(desk.shared.asked) == 2


async def test_while_valkey_is_away_keys_work_and_are_still_limited(desk: Desk) -> None:
    desk.shared.away = True
    await desk.call()
    await desk.call()
    with pytest.raises(TooManyCalls):
        await desk.call()
    assert len(desk.shared.asked) == 1
    assert desk.limits.counted_locally == 3
    desk.now = RETRY_SECONDS
    desk.shared.away = False
    await desk.call("key_2")
    assert len(desk.shared.asked) == 2


async def test_an_unknown_path_counts_as_reading(desk: Desk) -> None:
    await desk.call(path="/nothing/here")
    assert desk.shared.asked[0][0].name == "{org_1}:READ:key_1"

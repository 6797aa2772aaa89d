"""Limits of people, on a clock moved by hand: who is counted, how leases grow and end, and who is told to wait."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from mesh.policy.limits import LIMITS, ORGANIZATION, PERSON, Limit
from mesh.policy.table import RateClass, load_table
from services.common.buckets import RETRY_SECONDS, Lease, LocalBuckets, Wanted
from services.common.context import Caller
from services.common.errors import Unavailable
from services.common.interceptors import limits as module
from services.common.interceptors.limits import LEASE_SECONDS, CalledTooOften, Gate, PeopleLimits

RULE = load_table()["/deskmesh.tickets.v1.TicketService/GetTicket"]
SMALL = (Limit(RateClass.READ, PERSON, 10, 170), Limit(RateClass.READ, ORGANIZATION, 20, 1020))
ANN = Caller("edge", "org_1", "usr_ann")


class FakeShared:
    """Buckets that all processes share: of one process here; notes what was asked."""

    def __init__(self, desk: "Desk") -> None:
        self.buckets = LocalBuckets(lambda: desk.now)
        self.away: Exception | None = None
        self.asked: list[list[tuple[str, int]]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.question = asyncio.Event()

    async def lease(self, wanted: Sequence[Wanted]) -> Sequence[Lease]:
        self.asked.append([(one.buckets[0].name, one.calls) for one in wanted])
        self.question.set()
        await self.answering.wait()
        if self.away:
            raise self.away
        return await self.buckets.lease(wanted)


class Desk:
    """The limits of a process."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.shared = FakeShared(self)
        self.limits = PeopleLimits(self.shared, SMALL, monotonic=lambda: self.now)

    @property
    def gate(self) -> Gate:
        gate = self.limits.gate(RULE)
        assert gate
        return gate

    async def call(self, caller: Caller = ANN, times: int = 1) -> None:
        for _ in range(times):
            if not self.gate.spare(caller):
                await self.gate.take(caller)

    @property
    def sizes(self) -> list[int]:
        return [calls for asked in self.shared.asked for _, calls in asked]


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_leases_double_while_they_are_used_up_and_the_usual_call_asks_nobody(desk: Desk) -> None:
    await desk.call(times=60)
    assert desk.sizes == [1, 2, 4, 8, 10, 10, 10, 10, 10]
    assert desk.limits.questions == 9


async def test_what_is_left_is_lost_and_the_next_lease_is_as_large_as_what_was_used(desk: Desk) -> None:
    await desk.call(times=1 + 2 + 4 + 3)
    desk.now += LEASE_SECONDS
    await desk.call()
    assert desk.sizes == [1, 2, 4, 8, 3]
    # After a while it begins small.
    desk.now += 3 * LEASE_SECONDS
    await desk.call()
    assert desk.sizes[-1] == 1


async def test_calls_that_wait_are_asked_for_together_and_each_person_once(desk: Desk) -> None:
    desk.shared.answering.clear()
    bob = replace(ANN, user_id="usr_bob")
    calls = [asyncio.create_task(desk.call(who)) for who in (ANN, ANN, bob, ANN, bob)]
    await desk.shared.question.wait()
    late = [asyncio.create_task(desk.call(replace(ANN, organization_id="org_2"))) for _ in range(3)]
    await asyncio.sleep(0)
    given_up = calls.pop()
    given_up.cancel()
    desk.shared.answering.set()
    await asyncio.gather(*calls, *late)
    assert desk.shared.asked == [
        [("{org_1}:READ:usr_ann", 3), ("{org_1}:READ:usr_bob", 2)],
        [("{org_2}:READ:usr_ann", 3)],
    ]
    # What was paid for whom gave up goes to the next.
    await desk.call(bob)
    assert len(desk.shared.asked) == 2


async def test_more_who_wait_than_a_lease_may_hold_are_let_through_in_turns(desk: Desk) -> None:
    await asyncio.gather(*(desk.call() for _ in range(25)))
    assert desk.sizes == [10, 10, 10]


async def test_the_burst_and_then_the_rate_come_through_and_the_refusal_says_how_long_to_wait(desk: Desk) -> None:
    # What the time of a lease may add is taken off the burst.
    await desk.call(times=160)
    with pytest.raises(CalledTooOften) as caught:
        await desk.call()
    assert caught.value.reason == "RATE_LIMITED"
    assert 0 < (caught.value.retry_after_seconds or 0) <= 0.1
    asked = len(desk.shared.asked)
    with pytest.raises(CalledTooOften):
        await desk.call()
    assert len(desk.shared.asked) == asked
    desk.now += 0.5
    await desk.call(times=5)
    with pytest.raises(CalledTooOften):
        await desk.call(times=1)
    # A colleague is not held up.
    await desk.call(replace(ANN, user_id="usr_bob"))
    assert next(sample.value for metric in desk.limits.collect() for sample in metric.samples) == 3


async def test_a_lease_smaller_than_asked_for_tells_that_nothing_is_left(desk: Desk) -> None:
    await desk.call(times=160)
    with pytest.raises(CalledTooOften):
        await desk.call()
    desk.now += 0.3
    asked = len(desk.shared.asked)
    # Three calls came back meanwhile: of ten that are asked for together the others are refused by the same question.
    calls = await asyncio.gather(*(desk.call() for _ in range(10)), return_exceptions=True)
    assert [type(call) for call in calls] == [type(None)] * 3 + [CalledTooOften] * 7
    with pytest.raises(CalledTooOften):
        await desk.call()
    assert len(desk.shared.asked) == asked + 1


async def test_the_people_of_an_organization_share_its_limit(desk: Desk) -> None:
    through = 0
    for number in range(10):
        person = replace(ANN, user_id=f"usr_{number}")
        for _ in range(130):
            try:
                await desk.call(person)
            except CalledTooOften:
                break
            through += 1
    # Calls that were paid for and not made are lost.
    assert 950 <= through <= 1000
    await desk.call(replace(ANN, organization_id="org_2"))


@pytest.mark.parametrize(
    "caller",
    [
        Caller("edge"),
        Caller("orchestrator", "org_1", "usr_ann"),
        Caller("edge", "org_1", "svc_1", session_id="key_1"),
    ],
    ids=["nobody", "a workload for a person", "a key, which was counted at the edge"],
)
async def test_who_is_not_counted_here(desk: Desk, caller: Caller) -> None:
    await desk.call(caller, times=200)
    assert desk.shared.asked == []


async def test_without_the_shared_buckets_a_process_counts_for_itself_and_asks_again_after_a_while(desk: Desk) -> None:
    desk.shared.away = Unavailable()
    await desk.call(times=160)
    with pytest.raises(CalledTooOften):
        await desk.call()
    assert len(desk.shared.asked) == 1
    desk.now += RETRY_SECONDS
    desk.shared.away = None
    await desk.call(times=160)
    assert len(desk.shared.asked) > 10


async def test_a_failure_of_another_kind_is_told_to_those_who_wait_and_to_nobody_else(desk: Desk) -> None:
    desk.shared.away = RuntimeError("broken")
    answers = await asyncio.gather(desk.call(), desk.call(), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RuntimeError, RuntimeError]
    desk.shared.away = None
    await desk.call()


async def test_people_who_have_not_called_for_a_while_are_forgotten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 10)
    for number in range(30):
        await desk.call(replace(ANN, user_id=f"usr_{number}"))
    assert len(desk.gate._leases) == 30
    desk.now += 3 * LEASE_SECONDS
    await desk.call(replace(ANN, user_id="usr_new"))
    assert len(desk.gate._leases) == 1


def test_calls_that_no_person_makes_by_the_edge_have_no_gate() -> None:
    limits = PeopleLimits(FakeShared(Desk()))
    assert limits.gate(replace(RULE, anonymous=True)) is None
    assert limits.gate(replace(RULE, callers=frozenset({"orchestrator"}))) is None
    for rate_class in RateClass:
        known = rate_class in {limit.rate_class for limit in LIMITS}
        assert (limits.gate(replace(RULE, rate_class=rate_class)) is not None) is known
    with pytest.raises(ValueError, match="no longer than a lease"):
        PeopleLimits(FakeShared(Desk()), (Limit(RateClass.READ, PERSON, 10, 10),))

"""The order in which requests leave the router's queue, and who must go when it is full."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_apps.assistant.config import ModelConfig
from serve_apps.assistant.engine_config import SimulatedEngineConfig
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded
from serve_apps.assistant.queueing import Entry, FairQueue
from serve_apps.assistant.routing import Candidate, Choice, Query
from serve_apps.assistant.routing_config import QueueConfig
from serve_apps.assistant.waiting_room import Place, WaitingRoom

ENTRY = st.builds(
    Entry,
    tenant=st.sampled_from(["a", "b", "c"]),
    priority=st.integers(-1, 1),
    deadline=st.floats(0, 100),
    tokens=st.integers(1, 500),
)
ENTRIES = st.lists(ENTRY, max_size=30)
TAKEN = st.fixed_dictionaries({name: st.floats(0, 1000) for name in "abc"})


def queue_of(entries: list[Entry], taken: dict[str, float] | None = None, most: int = 100) -> FairQueue:
    queue = FairQueue(most, lambda tenant: (taken or {}).get(tenant, 0.0))
    for entry in entries:
        queue.add(entry)
    return queue


@given(ENTRIES, TAKEN)
def test_within_a_tenant_the_most_urgent_goes_first(entries: list[Entry], taken: dict[str, float]) -> None:
    order = queue_of(entries, taken).order()
    assert sorted(map(id, order)) == sorted(map(id, entries))
    assert [entry.place for entry in order] == list(range(1, len(entries) + 1))
    for tenant in "abc":
        own = [entry.urgency for entry in order if entry.tenant == tenant]
        assert own == sorted(own)


@given(ENTRIES, TAKEN)
def test_nobody_goes_while_a_tenant_with_fewer_tokens_waits(entries: list[Entry], taken: dict[str, float]) -> None:
    order = list(queue_of(entries, taken).order())
    given_so_far = Counter(taken)
    for at, entry in enumerate(order):
        least = min(given_so_far[other.tenant] for other in order[at:])
        assert given_so_far[entry.tenant] == pytest.approx(least)
        given_so_far[entry.tenant] += entry.tokens


@given(ENTRIES, st.integers(0, 10))
def test_of_too_many_the_last_must_go(entries: list[Entry], most: int) -> None:
    queue = FairQueue(most, lambda _: 0.0)
    for entry in entries:
        before = list(queue.order())
        shed = queue.add(entry)
        assert (shed is None) == (len(before) < most)
        assert len(queue) == min(len(before) + 1, most)
        if shed is not None:
            rest = [other for other in (*before, entry) if other.tenant == shed.tenant]
            assert shed.urgency == max(other.urgency for other in rest)


def test_a_flood_of_one_tenant_costs_the_others_nothing() -> None:
    flood = [Entry("loud", 0, float(at), 100) for at in range(50)]
    queue = queue_of(flood, most=50)
    quiet = Entry("quiet", 0, 1000.0, 100)
    shed = queue.add(quiet)
    assert shed is flood[-1]
    assert quiet in queue.order()[:2]


def choice() -> Choice:
    model = ModelConfig(
        name="simulated-a", application="a", context_length=100, engine=SimulatedEngineConfig(kind="simulated")
    )
    return Choice((Candidate(model, None, 1, replica="a:1"),), "", 0.0)


class Desk:
    """Decides while there is room; keeps whose turn it was."""

    def __init__(self) -> None:
        self.room = 0
        self.served: list[tuple[str, float | None]] = []
        self.error: Exception | None = None

    def decide(self, query: Query, tenant: str) -> Choice:
        if self.error is not None:
            raise self.error
        if not self.room:
            raise ModelOverloaded
        self.room -= 1
        self.served.append((tenant, query.within_seconds))
        return choice()


Frames = AsyncGenerator[Place | Choice, None]


async def last(frames: Frames) -> Choice:
    async with aclosing(frames):
        found = [frame async for frame in frames][-1]
    assert isinstance(found, Choice)
    return found


async def waiting(frames: Frames) -> "asyncio.Task[Choice]":
    """Enter and have the first frame, which says the place; the rest goes on beside."""
    assert isinstance(await anext(frames), Place)
    return asyncio.create_task(last(frames))


async def test_with_room_nobody_waits() -> None:
    desk = Desk()
    desk.room = 1
    room = WaitingRoom(QueueConfig(), desk.decide, lambda _: 0.0)
    found = await last(room.enter(Query(), "one"))
    assert (found.place, found.waited_seconds) == (0, 0.0)
    assert len(room) == 0


async def test_who_waits_is_told_the_place_and_goes_by_deadline() -> None:
    desk, now = Desk(), [100.0]
    room = WaitingRoom(QueueConfig(), desk.decide, lambda _: 0.0, lambda: now[0])
    late = room.enter(Query(within_seconds=30.0), "one")
    assert await anext(late) == Place(1, 1, 0.0)
    soon = room.enter(Query(within_seconds=5.0), "one")
    assert await anext(soon) == Place(1, 2, 0.0)
    tasks = [asyncio.create_task(last(frames)) for frames in (late, soon)]
    now[0] += 2.0
    desk.room = 1
    room.wake()
    found = await tasks[1]
    assert (found.place, found.waited_seconds) == (1, 2.0)
    assert desk.served == [("one", 5.0)]
    assert not tasks[0].done()
    desk.room = 1
    room.wake()
    await tasks[0]
    assert len(room) == 0


async def test_who_comes_while_others_wait_does_not_go_before_them() -> None:
    desk = Desk()
    room = WaitingRoom(QueueConfig(), desk.decide, lambda _: 0.0)
    first = await waiting(room.enter(Query(within_seconds=5.0), "one"))
    desk.room = 1
    second = asyncio.create_task(last(room.enter(Query(within_seconds=50.0), "one")))
    await first
    assert desk.served == [("one", 5.0)]
    desk.room = 1
    room.wake()
    await second


async def test_the_least_urgent_is_shed_and_told_when_to_come_again() -> None:
    desk = Desk()
    room = WaitingRoom(QueueConfig(max_waiting=1), desk.decide, lambda _: 0.0)
    patient = await waiting(room.enter(Query(within_seconds=50.0), "one"))
    urgent = await waiting(room.enter(Query(within_seconds=5.0), "one"))
    with pytest.raises(ModelOverloaded) as shed:
        await patient
    assert shed.value.retry_after_seconds is not None
    assert shed.value.retry_after_seconds >= 1.0
    with pytest.raises(ModelOverloaded):
        await last(room.enter(Query(within_seconds=20.0), "one"))
    desk.room = 1
    room.wake()
    await urgent


async def test_who_is_late_goes_and_other_refusals_reach_who_waits() -> None:
    desk, now = Desk(), [0.0]
    room = WaitingRoom(QueueConfig(), desk.decide, lambda _: 0.0, lambda: now[0])
    late = await waiting(room.enter(Query(within_seconds=1.0), "one"))
    gone = await waiting(room.enter(Query(model="gone"), "one"))
    now[0] = 2.0
    room.wake()
    with pytest.raises(ModelOverloaded):
        await late
    desk.error = ModelNotFound()
    room.wake()
    with pytest.raises(ModelNotFound):
        await gone
    assert len(room) == 0


async def test_who_leaves_gives_the_place_up() -> None:
    desk = Desk()
    room = WaitingRoom(QueueConfig(), desk.decide, lambda _: 0.0)
    frames = room.enter(Query(), "one")
    await anext(frames)
    await frames.aclose()
    assert len(room) == 0
    desk.room = 1
    room.wake()
    await asyncio.sleep(0)
    assert desk.served == []


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["join", "leave", "room", "late"]), max_size=40), st.integers(0, 4))
def test_everybody_is_served_refused_or_gone(what: list[str], most: int) -> None:
    async def run() -> None:
        desk, now = Desk(), [0.0]
        room = WaitingRoom(QueueConfig(max_waiting=most), desk.decide, lambda _: 0.0, lambda: now[0])
        tasks: list[asyncio.Task[Choice]] = []
        for step in what:
            match step:
                case "join":
                    query = Query(within_seconds=10.0 - len(tasks) % 7)
                    tasks.append(asyncio.create_task(last(room.enter(query, f"tenant {len(tasks) % 3}"))))
                case "leave" if tasks:
                    tasks[len(tasks) // 2].cancel()
                case "room":
                    desk.room += 1
                case _:
                    now[0] += 1.0
            room.wake()
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(room) <= most
        desk.room = 1000
        async with asyncio.timeout(5):
            while len(room):
                room.wake()
                await asyncio.sleep(0)
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        served = [one for one in outcomes if isinstance(one, Choice)]
        assert all(isinstance(one, Choice | ModelOverloaded | asyncio.CancelledError) for one in outcomes)
        assert len(served) <= len(desk.served)
        assert len(room) == 0

    asyncio.run(run())

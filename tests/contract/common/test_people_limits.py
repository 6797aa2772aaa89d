"""Limits of people, by several processes on a real Valkey: together they never let more through than the limit."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.policy.limits import ORGANIZATION, PERSON, Limit
from mesh.policy.table import RateClass, load_table
from services.common.buckets import ValkeyBuckets
from services.common.context import Caller
from services.common.ids import new_id
from services.common.interceptors.limits import LEASE_SECONDS, CalledTooOften, Gate, PeopleLimits

RULE = load_table()["/deskmesh.tickets.v1.TicketService/GetTicket"]
PROCESSES = 4


class Process:
    """The limits of one process, with a connection and a clock of its own."""

    def __init__(self, redis_url: str, limits: tuple[Limit, ...]) -> None:
        self.ahead = 0.0
        self._store = redis.asyncio.Redis.from_url(redis_url)
        self.limits = PeopleLimits(
            ValkeyBuckets(self._store, "test"), limits, monotonic=lambda: time.monotonic() + self.ahead
        )
        gate = self.limits.gate(RULE)
        assert gate
        self._gate: Gate = gate

    async def call(self, person: Caller) -> bool:
        """Whether a call was let through."""
        if self._gate.spare(person):
            return True
        try:
            await self._gate.take(person)
        except CalledTooOften:
            return False
        return True

    async def close(self) -> None:
        await self.limits.close()
        await self._store.aclose()


@asynccontextmanager
async def processes(redis_url: str, *limits: Limit) -> AsyncIterator[list[Process]]:
    made = [Process(redis_url, limits) for _ in range(PROCESSES)]
    yield made
    for process in made:
        await process.close()


# Whom a call is of, where it arrives, and whether leases end before it.
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, PROCESSES - 1), st.integers(1, 12), st.booleans()),
    min_size=10,
    max_size=25,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_no_order_of_calls_lets_more_through_than_the_limit(
    redis_url: str, steps: list[tuple[int, int, int, bool]]
) -> None:
    # So slow that nothing comes back while the test runs: the burst is all there is.
    person, organization = 40, 70
    # A call in a second, less the second that a lease holds.
    limits = Limit(RateClass.READ, PERSON, 1, person + 1), Limit(RateClass.READ, ORGANIZATION, 1, organization + 1)
    people = [Caller("edge", new_id("org"), f"usr_{number}") for number in range(3)]
    people = [Caller("edge", people[0].organization_id, one.user_id) for one in people]
    through = dict.fromkeys(people, 0)
    began = time.monotonic()
    async with processes(redis_url, *limits) as made:
        for who, where, calls, later in steps:
            if later:
                made[where].ahead += LEASE_SECONDS
            # Nobody waits for another's clock: what was let through is counted when all have answered.
            answers = await asyncio.gather(*(made[where].call(people[who]) for _ in range(calls)))
            through[people[who]] += sum(answers)
        assert all(process.limits._fallback.counted_locally == 0 for process in made)
    came_back = time.monotonic() - began
    assert max(through.values()) <= person + came_back
    assert sum(through.values()) <= organization + came_back


async def test_in_no_stretch_of_time_more_calls_come_through_than_the_limit_says(redis_url: str) -> None:
    per_second, burst = 400, 600
    limits = Limit(RateClass.READ, PERSON, per_second, burst), Limit(RateClass.READ, ORGANIZATION, 10_000, 50_000)
    ann = Caller("edge", new_id("org"), "usr_ann")
    through: list[float] = []

    async def flood(process: Process) -> None:
        while time.monotonic() < until:
            if await process.call(ann):
                through.append(time.monotonic())
            # Others' turn: what is let through asks nobody, and so would not make room.
            await asyncio.sleep(0)

    async with processes(redis_url, *limits) as made:
        until = time.monotonic() + 1.2
        await asyncio.gather(*(flood(process) for process in made for _ in range(3)))
        asked = sum(process.limits.questions for process in made)
    # In every window: whatever call it begins with, and whatever call it ends with.
    credit = [count - at * per_second for count, at in enumerate(through)]
    lowest = float("inf")
    for count, value in enumerate(credit):
        lowest = min(lowest, value)
        assert value - lowest + 1 <= burst, f"{value - lowest + 1:.0f} calls more than the rate, after {count}"
    # And people get what they may: the burst, less a lease's time, and the rate; half of it if the machine is busy.
    assert len(through) > (burst - per_second * LEASE_SECONDS) + per_second * 0.5
    # Most calls, let through or refused, asked nobody.
    assert asked < len(through) / 2

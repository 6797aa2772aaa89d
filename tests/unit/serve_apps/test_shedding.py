"""Who must go when too many wait: as tickets' due times make their conversations' requests urgent, across tenants."""

import asyncio
from collections import defaultdict
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from serve_apps.assistant.errors import ModelOverloaded
from serve_apps.assistant.queueing import Entry, FairQueue
from serve_apps.assistant.routing import Choice, Query
from serve_apps.assistant.routing_config import QueueConfig
from serve_apps.assistant.waiting_room import LONGEST_RETRY_SECONDS, Place, WaitingRoom
from services.orchestrator.workflow.urgency import priority_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TENANTS = ("a", "b", "c")

due_times = st.none() | st.timedeltas(-timedelta(hours=2), timedelta(hours=12)).map(lambda due_in: NOW + due_in)
# Of a conversation with a ticket or without; or work of which nobody waits for the end.
priorities = due_times.map(lambda due_at: priority_of(due_at, NOW)) | st.just(1)
entries = st.lists(
    st.builds(
        Entry,
        tenant=st.sampled_from(TENANTS),
        priority=priorities,
        deadline=st.floats(1, 100),
        tokens=st.integers(1, 500),
    ),
    max_size=30,
)
given_before = st.fixed_dictionaries({tenant: st.floats(0, 1000) for tenant in TENANTS})


@settings(max_examples=50)
@given(entries, given_before, st.integers(1, 10))
def test_the_least_urgent_goes_first_and_no_tenant_pays_for_another(
    asked: list[Entry], taken: dict[str, float], most: int
) -> None:
    queue = FairQueue(most, lambda tenant: taken[tenant])
    for entry in asked:
        waiting = [*queue.order(), entry]
        shed = queue.add(entry)
        assert (shed is None) == (len(waiting) <= most)
        if shed is None:
            continue
        own = [one for one in waiting if one.tenant == shed.tenant]
        assert shed.urgency == max(one.urgency for one in own)
        # What says that it can wait goes before all that does not, whoever's it is.
        if any(one.priority > 0 for one in waiting):
            assert shed.priority > 0
            continue
        # Nobody else's last request would have come later than the one that goes.
        before = _before_the_last(waiting, taken)
        assert before[shed.tenant] >= max(before.values()) - 1e-6


def _before_the_last(waiting: list[Entry], taken: dict[str, float]) -> dict[str, float]:
    """By tenant, what it will have been given when its least urgent request is next."""
    by_tenant: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(waiting, key=lambda one: one.urgency):
        by_tenant[entry.tenant].append(entry)
    return {tenant: taken[tenant] + sum(one.tokens for one in own[:-1]) for tenant, own in by_tenant.items()}


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(TENANTS), priorities, st.floats(1, 100)), max_size=10), st.integers(0, 4))
def test_whoever_must_go_is_told_when_to_come_again(asked: list[tuple[str, int, float]], most: int) -> None:
    def full(query: Query, tenant: str) -> Choice:
        raise ModelOverloaded

    async def wait(room: WaitingRoom, tenant: str, priority: int, within: float) -> None:
        query = Query(priority=priority, within_seconds=within, prompt_tokens=10)
        async with aclosing(room.enter(query, tenant)) as frames:
            async for frame in frames:
                assert isinstance(frame, Place)

    async def run() -> None:
        room = WaitingRoom(QueueConfig(max_waiting=most), full, lambda _: 0.0)
        tasks = []
        for tenant, priority, within in asked:
            tasks.append(asyncio.create_task(wait(room, tenant, priority, within)))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = len(room)
        assert waiting == min(most, len(asked))
        # Refusals reach those who wait for them in the next rounds of the loop.
        async with asyncio.timeout(5):
            while sum(task.done() for task in tasks) < len(asked) - waiting:  # noqa: ASYNC110 - they tell nobody
                await asyncio.sleep(0)
        refusals = [task.exception() for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for refusal in refusals:
            assert isinstance(refusal, ModelOverloaded)
            assert refusal.retry_after_seconds is not None
            assert 1.0 <= refusal.retry_after_seconds <= LONGEST_RETRY_SECONDS

    asyncio.run(run())

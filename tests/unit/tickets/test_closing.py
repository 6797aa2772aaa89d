"""Solved tickets close by themselves, and nobody is overtaken by that."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from services.tickets.domain import Changes, FieldChanged, Person, Status, Ticket, Visibility
from services.tickets.errors import TransitionNotAllowed
from services.tickets.usecases import closing
from services.tickets.usecases.closing import Closer
from tests.contract.tickets.memory import MemoryStore

START = datetime(2026, 3, 1, tzinfo=UTC)
AFTER = timedelta(days=4)
AGENT = Person("org_1", "usr_agent", is_agent=True)
CUSTOMER = Person("org_1", "usr_customer", is_agent=False)


class World:
    """Tickets in memory, and a closer whose day is `now`."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = START
        self.closer = Closer(self.store, self.store.of, lambda: self.now, after=AFTER, poll_seconds=0.001)

    async def ticket(self, name: str, *changes: Status) -> Ticket:
        """A ticket of its own organization, brought to a status at the start."""
        by = Person(f"org_{name}", "usr_agent", is_agent=True)
        ticket = Ticket.opened(
            ticket_id=f"tkt_{name}", number=1, by=by, at=START, requester_id="usr_customer", subject="Tent"
        )
        for status in changes:
            ticket.change(Changes(status=status), by=by, at=START)
        async with self.store.of(by.organization_id) as work:
            await work.tickets.add(ticket)
            await work.commit()
        return ticket

    def status(self, name: str) -> Status:
        return self.store.data.tickets[f"tkt_{name}"].status


async def test_what_was_solved_long_enough_ago_is_closed_by_nobody_in_particular() -> None:
    world = World()
    await world.ticket("solved", Status.SOLVED)
    await world.ticket("open", Status.OPEN)
    world.now = START + AFTER
    assert await world.closer.close_due() == 0
    world.now += timedelta(microseconds=1)
    assert await world.closer.close_due() == 1
    assert (world.status("solved"), world.status("open")) == (Status.CLOSED, Status.OPEN)
    closed = world.store.data.tickets["tkt_solved"]
    assert (closed.closed_at, closed.solved_at, closed.version) == (world.now, START, 2)
    event = world.store.data.events["tkt_solved"][-1]
    assert (event.actor_id, event.happening) == ("", FieldChanged("status", "solved", "closed"))
    assert world.store.data.outbox == [("ticket.updated", "tkt_solved")]
    assert await world.closer.close_due() == 0


async def test_a_reply_opens_a_solved_ticket_again_and_its_days_count_anew() -> None:
    world = World()
    await world.ticket("a", Status.SOLVED)
    reply_at = START + timedelta(days=3)
    async with world.store.of("org_a") as work:
        ticket = await work.tickets.get("tkt_a", lock=True)
        ticket.add_comment("cmt_1", "It leaks again", Visibility.PUBLIC, by=CUSTOMER, at=reply_at)
        await work.tickets.save(ticket)
        await work.commit()
    world.now = START + 2 * AFTER
    assert (await world.closer.close_due(), world.status("a")) == (0, Status.OPEN)
    async with world.store.of("org_a") as work:
        ticket = await work.tickets.get("tkt_a", lock=True)
        ticket.change(Changes(status=Status.SOLVED), by=AGENT, at=world.now)
        await work.tickets.save(ticket)
        await work.commit()
    world.now += AFTER
    assert await world.closer.close_due() == 0
    world.now += timedelta(seconds=1)
    assert await world.closer.close_due() == 1


async def test_who_opened_it_again_in_the_last_moment_is_not_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.ticket("a", Status.OPEN)

    async def as_it_was(moment: datetime, limit: int) -> list[tuple[str, str]]:
        return [("org_a", "tkt_a")]

    monkeypatch.setattr(world.store, "before", as_it_was)
    world.now = START + 2 * AFTER
    assert (await world.closer.close_due(), world.status("a")) == (0, Status.OPEN)


@pytest.mark.parametrize("statuses", [(), (Status.OPEN,), (Status.OPEN, Status.PENDING)])
def test_only_what_is_solved_closes_by_itself(statuses: tuple[Status, ...]) -> None:
    ticket = Ticket.opened(ticket_id="tkt_1", number=1, by=AGENT, at=START, requester_id="usr_1", subject="Tent")
    for status in statuses:
        ticket.change(Changes(status=status), by=AGENT, at=START)
    with pytest.raises(TransitionNotAllowed):
        ticket.close_by_itself(START)


async def test_the_background_works_off_more_than_a_batch_and_outlives_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(closing, "BATCH_SIZE", 2)
    world = World()
    for name in "abc":
        await world.ticket(name, Status.SOLVED)
    world.now = START + 2 * AFTER
    found, failed = world.store.before, asyncio.Event()

    async def fail_once(moment: datetime, limit: int) -> list[tuple[str, str]]:
        if not failed.is_set():
            failed.set()
            raise ConnectionError
        return await found(moment, limit)

    monkeypatch.setattr(world.store, "before", fail_once)
    async with world.closer:
        async with asyncio.timeout(5):
            while world.status("c") is not Status.CLOSED:  # noqa: ASYNC110 - the closer tells nobody
                await asyncio.sleep(0.001)
    assert len(world.store.data.outbox) == 3

"""What the use cases rely on, held by Postgres and by its double in memory alike."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from services.common.context import IdempotencyKey
from services.common.db import SqlUnitOfWork
from services.common.errors import RequestIdReused
from services.common.ids import new_id
from services.tickets.adapters.links import SqlLinkQueue
from services.tickets.adapters.solved import SqlSolvedTickets
from services.tickets.adapters.units import SqlTicketsWork
from services.tickets.domain import Changes, Due, Event, Kind, Person, Priority, Status, Ticket, Visibility
from services.tickets.errors import StaleEtag, TicketNotFound
from services.tickets.ports import (
    Link,
    LinkQueue,
    Order,
    Position,
    SolvedTickets,
    TicketFilter,
    UnitOfWork,
    UnitOfWorkFactory,
)
from tests.contract.tickets.memory import MemoryStore
from tests.support.postgres import Postgres

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERY = TicketFilter()


@dataclass
class Store:
    work: UnitOfWorkFactory
    links: LinkQueue
    solved: SolvedTickets


def nothing() -> None:
    """Nobody waits for commits here."""


@pytest_asyncio.fixture(scope="module")
async def sessionmaker(postgres: Postgres) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(postgres.url("tickets"), pool_size=10)
    yield async_sessionmaker(engine, expire_on_commit=False)
    await engine.dispose()


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        memory = MemoryStore()
        return Store(memory.of, memory, memory)
    made: async_sessionmaker[AsyncSession] = request.getfixturevalue("sessionmaker")
    return Store(partial(SqlTicketsWork, made, nothing), SqlLinkQueue(made), SqlSolvedTickets(made))


def agent(organization_id: str) -> Person:
    return Person(organization_id, "usr_agent", is_agent=True)


async def opened(work: UnitOfWork, organization_id: str, **values: object) -> Ticket:
    """A ticket added in this unit of work."""
    fields: dict[str, object] = {
        "ticket_id": new_id("tkt"),
        "number": await work.tickets.next_number(),
        "by": agent(organization_id),
        "at": START,
        "requester_id": "usr_1",
        "subject": "The tent leaks",
    }
    ticket = Ticket.opened(**(fields | values))  # type: ignore[arg-type]
    await work.tickets.add(ticket)
    return ticket


async def kept(store: Store, organization_id: str, **values: object) -> Ticket:
    """A ticket added and committed."""
    async with store.work(organization_id) as work:
        ticket = await opened(work, organization_id, **values)
        await work.commit()
    return ticket


async def test_a_ticket_is_read_as_it_was_kept(store: Store, organization_id: str) -> None:
    ticket = await kept(
        store,
        organization_id,
        description="At the seams\n",
        priority=Priority.HIGH,
        kind=Kind.HANDOFF,
        conversation_id="cnv_1",
        tags=("tent", "rain, wind"),
        terms={Priority.HIGH: timedelta(hours=1, microseconds=1)},
    )
    assert ticket.content.due_at == START + timedelta(hours=1, microseconds=1)
    async with store.work(organization_id) as work:
        read = await work.tickets.get(ticket.id)
        assert read == ticket
        read.change(Changes(status=Status.SOLVED, assignee_id="usr_2"), by=agent(organization_id), at=START)
        await work.tickets.save(read)
        assert (read.version, read.events) == (2, [])
        await work.commit()
    async with store.work(organization_id) as work:
        again = await work.tickets.get(ticket.id)
        assert again == read
        assert (again.solved_at, again.content.assignee_id) == (START, "usr_2")


async def test_what_is_not_committed_is_not_kept(store: Store, organization_id: str) -> None:
    ticket = await kept(store, organization_id)
    async with store.work(organization_id) as work:
        other = await opened(work, organization_id)
        read = await work.tickets.get(ticket.id)
        read.change(Changes(subject="New"), by=agent(organization_id), at=START)
        await work.tickets.save(read)
    async with store.work(organization_id) as work:
        assert (await work.tickets.get(ticket.id)).content.subject == "The tent leaks"
        assert len(await work.history.page(ticket.id, after=0, limit=9, internal=True)) == 1
        with pytest.raises(TicketNotFound):
            await work.tickets.get(other.id)


async def test_numbers_have_no_gaps(store: Store, organization_id: str) -> None:
    assert (await kept(store, organization_id)).number == 1
    async with store.work(organization_id) as work:
        assert await work.tickets.next_number() == 2
    assert (await kept(store, organization_id)).number == 2
    elsewhere = new_id("org")
    assert (await kept(store, elsewhere)).number == 1
    racing = await asyncio.gather(*(kept(store, organization_id) for _ in range(8)))
    assert sorted(ticket.number for ticket in racing) == list(range(3, 11))


async def test_another_organizations_ticket_is_not_found(store: Store, organization_id: str) -> None:
    ticket = await kept(store, organization_id, conversation_id="cnv_1")
    async with store.work(new_id("org")) as work:
        with pytest.raises(TicketNotFound):
            await work.tickets.get(ticket.id)
        with pytest.raises(TicketNotFound):
            await work.tickets.get(ticket.id, lock=True)
        assert await work.tickets.page(EVERY, Order.CREATED_ASC, None, 9) == []
        assert await work.history.page(ticket.id, after=0, limit=9, internal=True) == []


async def test_only_the_version_that_was_read_is_replaced(store: Store, organization_id: str) -> None:
    ticket = await kept(store, organization_id)
    async with store.work(organization_id) as one, store.work(organization_id) as other:
        first, second = await one.tickets.get(ticket.id), await other.tickets.get(ticket.id)
        for read in (first, second):
            read.change(Changes(subject="New"), by=agent(organization_id), at=START)
        await one.tickets.save(first)
        await one.commit()
        with pytest.raises(StaleEtag):
            await other.tickets.save(second)
    async with store.work(organization_id) as work:
        assert (await work.tickets.get(ticket.id)).version == 2
        assert len(await work.history.page(ticket.id, after=0, limit=9, internal=True)) == 2


async def test_a_locked_ticket_waits_for_its_holder(store: Store, organization_id: str) -> None:
    ticket = await kept(store, organization_id)

    async def remark(number: int) -> None:
        async with store.work(organization_id) as work:
            read = await work.tickets.get(ticket.id, lock=True)
            by = agent(organization_id)
            comment = read.add_comment(new_id("cmt"), f"{number}", Visibility.PUBLIC, by=by, at=START)
            await work.tickets.save(read)
            await work.comments.add(comment)
            await work.commit()

    await asyncio.gather(*(remark(number) for number in range(6)))
    async with store.work(organization_id) as work:
        comments = await work.comments.page(ticket.id, after=0, limit=9, internal=True)
    assert sorted(comment.text for comment in comments) == list("012345")
    assert len({comment.sequence for comment in comments}) == 6


async def test_comments_and_history_come_in_order(store: Store, organization_id: str) -> None:
    ticket = await kept(store, organization_id)
    by = agent(organization_id)
    visibilities = (Visibility.PUBLIC, Visibility.INTERNAL, Visibility.INTERNAL, Visibility.PUBLIC)
    written = []
    async with store.work(organization_id) as work:
        read = await work.tickets.get(ticket.id, lock=True)
        for number, visibility in enumerate(visibilities):
            written.append(read.add_comment(new_id("cmt"), f"{number}", visibility, by=by, at=START))
        read.change(Changes(priority=Priority.LOW, tags=("a",)), by=by, at=START)
        events: Sequence[Event] = (*ticket.events, *read.events)
        await work.tickets.save(read)
        for comment in written:
            await work.comments.add(comment)
        await work.commit()
    public = [comment for comment in written if comment.visibility is Visibility.PUBLIC]
    async with store.work(organization_id) as work:
        assert await work.comments.get(written[2].id) == written[2]
        assert await work.comments.page(ticket.id, after=0, limit=9, internal=True) == written
        assert await work.comments.page(ticket.id, after=0, limit=9, internal=False) == public
        assert await work.comments.page(ticket.id, after=written[0].sequence, limit=2, internal=True) == written[1:3]
        history = await work.history.page(ticket.id, after=1, limit=9, internal=True)
        assert history == list(events)
        assert await work.history.page(ticket.id, after=4, limit=2, internal=True) == history[3:5]
        seen = await work.history.page(ticket.id, after=1, limit=9, internal=False)
        assert seen == [event for event in events if not event.is_internal]


KEYS: dict[Order, Callable[[Ticket], tuple[float, ...]]] = {
    Order.UPDATED_DESC: lambda ticket: (-ticket.updated_at.timestamp(), -ticket.number),
    Order.CREATED_DESC: lambda ticket: (-ticket.number,),
    Order.CREATED_ASC: lambda ticket: (ticket.number,),
    Order.PRIORITY_DESC: lambda ticket: (-ticket.content.priority, ticket.number),
    Order.DUE_ASC: lambda ticket: (
        (ticket.content.due_at or START + timedelta(days=1)).timestamp(),
        ticket.number,
    ),
}
# Half of the tickets have no due time, or one that others have too.
TERMS = {Priority.LOW: timedelta(hours=2), Priority.HIGH: timedelta(hours=1)}


def position(ticket: Ticket) -> Position:
    return Position(ticket.number, ticket.updated_at, ticket.content.priority, ticket.content.due_at)


@pytest.mark.parametrize("order", Order)
async def test_pages_tell_everything_once(store: Store, organization_id: str, order: Order) -> None:
    # Many equal times and priorities, so that the number has to decide.
    for number in range(12):
        at = START + timedelta(microseconds=number % 3)
        await kept(store, organization_id, at=at, priority=Priority(1 + number % 4), terms=TERMS)
    async with store.work(organization_id) as work:
        whole = await work.tickets.page(EVERY, order, None, 100)
        paged: list[Ticket] = []
        while page := await work.tickets.page(EVERY, order, position(paged[-1]) if paged else None, 5):
            paged += page
    assert paged == whole
    assert whole == sorted(whole, key=KEYS[order])
    assert len(whole) == 12


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (TicketFilter(), {1, 2, 3}),
        (TicketFilter(statuses=(Status.NEW,)), {2, 3}),
        (TicketFilter(statuses=(Status.OPEN, Status.NEW)), {1, 2, 3}),
        (TicketFilter(priorities=(Priority.URGENT, Priority.LOW)), {2}),
        (TicketFilter(assignee_id="usr_9"), {1}),
        (TicketFilter(assignee_id=""), {2, 3}),
        (TicketFilter(requester_id="usr_2"), {3}),
        (TicketFilter(conversation_id="cnv_1"), {2}),
        (TicketFilter(tags=("a",)), {1, 2}),
        (TicketFilter(tags=("a", "b")), {1}),
        (TicketFilter(tags=("A",)), set()),
        (TicketFilter(requester_id="usr_1", assignee_id=""), {2}),
        (TicketFilter(due_before=START), set()),
        (TicketFilter(due_before=START + timedelta(microseconds=1)), {1}),
    ],
)
async def test_filters(store: Store, organization_id: str, chosen: TicketFilter, expected: set[int]) -> None:
    async with store.work(organization_id) as work:
        first = await opened(work, organization_id, tags=("a", "b"))
        first.change(Changes(assignee_id="usr_9", due=Due(START)), by=agent(organization_id), at=START)
        await work.tickets.save(first)
        await opened(work, organization_id, tags=("a",), priority=Priority.URGENT, conversation_id="cnv_1")
        await opened(work, organization_id, requester_id="usr_2")
        found = await work.tickets.page(chosen, Order.CREATED_ASC, None, 9)
    assert {ticket.number for ticket in found} == expected


async def test_a_request_id_stands_for_one_thing(store: Store, organization_id: str) -> None:
    key = IdempotencyKey("request-1", "/service/Create", b"one")
    async with store.work(organization_id) as work:
        assert await work.requests.claim(key, "tkt_lost") is None
    async with store.work(organization_id) as work:
        assert await work.requests.claim(key, "tkt_1") is None
        await work.commit()
    async with store.work(organization_id) as work:
        assert await work.requests.claim(key, "tkt_2") == "tkt_1"
        with pytest.raises(RequestIdReused):
            await work.requests.claim(replace(key, fingerprint=b"other"), "tkt_2")
    async with store.work(organization_id) as work:
        assert await work.requests.claim(replace(key, method="/service/Other"), "tkt_3") is None
    async with store.work(new_id("org")) as work:
        assert await work.requests.claim(key, "tkt_4") is None


async def test_pending_links_are_taken_once_and_again_when_they_stay(store: Store) -> None:
    # Far ahead, so that no service that another test runs takes them.
    now = START + timedelta(days=365_000)
    lease = timedelta(minutes=1)
    tickets = []
    for number in range(3):
        organization_id = new_id("org")
        async with store.work(organization_id) as work:
            tickets.append(await opened(work, organization_id, conversation_id=f"cnv_{number}"))
            await work.links.add(tickets[-1], now + timedelta(seconds=number))
            await work.commit()
    expected = [
        Link(ticket.organization_id, ticket.id, 1, "The tent leaks", "usr_1", ticket.conversation_id, 1)
        for ticket in tickets
    ]
    assert await store.links.take(now - timedelta(seconds=1), lease=lease, limit=9) == []
    at = now + timedelta(seconds=1)
    assert sorted(await store.links.take(at, lease=lease, limit=9), key=lambda link: link.ticket_id) == expected[:2]
    assert await store.links.take(at, lease=lease, limit=9) == []
    await store.links.remove(expected[0])
    await store.links.postpone(expected[1], at + timedelta(seconds=5))
    assert await store.links.take(at + timedelta(seconds=5), lease=lease, limit=1) == [expected[2]]
    assert await store.links.take(at + timedelta(seconds=5), lease=lease, limit=9) == [replace(expected[1], attempts=2)]
    # The leases are over: whoever took the links is gone.
    left = await store.links.take(at + timedelta(minutes=2), lease=lease, limit=9)
    assert {link.ticket_id for link in left} == {tickets[1].id, tickets[2].id}
    for link in left:
        await store.links.remove(link)
    assert await store.links.take(at + timedelta(days=1), lease=lease, limit=9) == []


async def test_solved_tickets_are_found_across_organizations_longest_ago_first(store: Store) -> None:
    # Long ago, so that no other test's tickets are among them.
    began = datetime(1950, 1, 1, tzinfo=UTC)
    solved = []
    for day in (3, 1, 2):
        organization_id = new_id("org")
        ticket = await kept(store, organization_id)
        async with store.work(organization_id) as work:
            read = await work.tickets.get(ticket.id)
            read.change(Changes(status=Status.SOLVED), by=agent(organization_id), at=began + timedelta(days=day))
            await work.tickets.save(read)
            await work.commit()
        solved.append((organization_id, ticket.id))
    assert await store.solved.before(began + timedelta(days=1), 9) == []
    assert await store.solved.before(began + timedelta(days=3), 9) == [solved[1], solved[2]]
    assert await store.solved.before(began + timedelta(days=4), 2) == [solved[1], solved[2]]
    for organization_id, ticket_id in solved:
        async with store.work(organization_id) as work:
            read = await work.tickets.get(ticket_id, lock=True)
            read.close_by_itself(START)
            await work.tickets.save(read)
            await work.commit()
    assert await store.solved.before(began + timedelta(days=4), 9) == []


async def test_postgres_itself_keeps_organizations_apart(
    sessionmaker: async_sessionmaker[AsyncSession], organization_id: str
) -> None:
    work_for = partial(SqlTicketsWork, sessionmaker, nothing)
    store = Store(work_for, SqlLinkQueue(sessionmaker), SqlSolvedTickets(sessionmaker))
    ticket = await kept(store, organization_id)
    for table in ("tickets", "events", "counters"):
        for scope, expected in ((organization_id, 1), (new_id("org"), 0), ("", 0)):
            async with SqlUnitOfWork(sessionmaker, scope) as work:
                count = text(f"select count(*) from {table} where organization_id = :id")
                assert await work.session.scalar(count, {"id": organization_id}) == expected
    async with SqlUnitOfWork(sessionmaker, new_id("org")) as work:
        update = text("update tickets set subject = 'Mine' where id = :id")
        assert (await work.session.execute(update, {"id": ticket.id})).rowcount == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("statement", ["update events set actor_id = ''", "delete from events"])
async def test_history_cannot_be_changed(sessionmaker: async_sessionmaker[AsyncSession], statement: str) -> None:
    async with SqlUnitOfWork(sessionmaker, system=True) as work:
        with pytest.raises(DBAPIError, match="permission denied"):
            await work.session.execute(text(statement))

"""What the use cases ask of their neighbours, and what happens when those do not answer."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from services.common.context import IdempotencyKey
from services.common.errors import InvalidInput, RemoteError
from services.common.ids import new_id
from services.tickets.domain import Changes, Kind, Person, Priority, Status, Ticket
from services.tickets.errors import AssigneeNotAgent, ConversationNotFound, RequesterNotFound
from services.tickets.ports import Link
from services.tickets.usecases.linking import Linker, retry_at
from services.tickets.usecases.paging import MAXIMUM_PAGE_BYTES, cut
from services.tickets.usecases.tickets import FIRST_LINK_GRACE, ChangeTicket, OpenTicket, TicketDesk
from tests.contract.tickets.memory import MemoryStore

AGENT = Person("org_1", "usr_agent", is_agent=True)
CUSTOMER = Person("org_1", "usr_customer", is_agent=False)
TERMS = {priority: timedelta(hours=24 / priority) for priority in Priority}
DOWN = RemoteError(grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", "down")


@dataclass
class World:
    """The desk on a store in memory, with neighbours that do as they are told."""

    store: MemoryStore = field(default_factory=MemoryStore)
    now: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    customers: dict[str, str] = field(default_factory=dict)
    roles: dict[str, frozenset[str]] = field(default_factory=dict)
    linked: list[Link] = field(default_factory=list)
    asked: int = 0
    down: Exception | None = None

    def __post_init__(self) -> None:
        self.linker = Linker(self.store, self, self.clock, poll_seconds=0.001)
        self.desk = TicketDesk(self.store.of, self, self, self.linker, self.clock, TERMS)

    def clock(self) -> datetime:
        return self.now

    async def customer_of(self, conversation_id: str) -> str:
        self.asked += 1
        if conversation_id not in self.customers:
            raise ConversationNotFound
        return self.customers[conversation_id]

    async def link(self, link: Link) -> None:
        if self.down:
            raise self.down
        self.linked.append(link)

    async def roles_of(self, user_id: str) -> frozenset[str]:
        self.asked += 1
        if self.down:
            raise self.down
        return self.roles.get(user_id, frozenset())


@pytest.fixture
def world() -> World:
    return World()


def opening(by: Person = CUSTOMER, **values: object) -> OpenTicket:
    fields: dict[str, object] = {
        "by": by,
        "key": IdempotencyKey(new_id("req"), "/tickets/Create", b""),
        "subject": "Tent",
        "description": "",
        "priority": Priority.NORMAL,
        "kind": Kind.REQUEST,
        "conversation_id": "",
        "requester_id": "",
        "tags": (),
    }
    return OpenTicket(**(fields | values))  # type: ignore[arg-type]


async def test_a_plain_ticket_asks_nobody(world: World) -> None:
    ticket = await world.desk.open(opening())
    assert (ticket.requester_id, ticket.number, world.asked) == (CUSTOMER.user_id, 1, 0)
    assert ticket.content.due_at == world.now + TERMS[Priority.NORMAL]
    assert world.store.data.outbox == [("ticket.created", ticket.id)]
    assert world.store.data.links == {}


async def test_a_ticket_is_linked_at_once(world: World) -> None:
    world.customers["cnv_1"] = CUSTOMER.user_id
    ticket = await world.desk.open(opening(conversation_id="cnv_1"))
    assert [link.ticket_id for link in world.linked] == [ticket.id]
    assert world.store.data.links == {}


async def test_a_link_stays_pending_until_the_neighbour_answers(world: World) -> None:
    world.customers["cnv_1"] = CUSTOMER.user_id
    world.down = DOWN
    ticket = await world.desk.open(opening(conversation_id="cnv_1"))
    assert await world.linker.run_due() == 0
    world.now += FIRST_LINK_GRACE
    assert await world.linker.run_due() == 1
    assert await world.linker.run_due() == 0
    world.down = None
    world.now += timedelta(seconds=1)
    assert await world.linker.run_due() == 1
    assert [link.ticket_id for link in world.linked] == [ticket.id]
    assert world.store.data.links == {}


async def test_a_call_cut_off_after_its_commit_loses_no_link(world: World) -> None:
    world.customers["cnv_1"] = CUSTOMER.user_id
    world.down = asyncio.CancelledError()  # type: ignore[assignment]
    with pytest.raises(asyncio.CancelledError):
        await world.desk.open(opening(conversation_id="cnv_1"))
    world.down = None
    world.now += FIRST_LINK_GRACE
    assert await world.linker.run_due() == 1
    assert [link.ticket_number for link in world.linked] == [1]


async def test_a_conversation_that_is_gone_is_told_no_more(world: World) -> None:
    world.customers["cnv_1"] = CUSTOMER.user_id
    world.down = ConversationNotFound()
    await world.desk.open(opening(conversation_id="cnv_1"))
    assert world.store.data.links == {}


async def test_the_background_makes_links_until_it_is_stopped(world: World) -> None:
    world.customers["cnv_1"] = CUSTOMER.user_id
    world.down = DOWN
    await world.desk.open(opening(conversation_id="cnv_1"))
    world.down = None
    world.now += FIRST_LINK_GRACE
    async with world.linker:
        async with asyncio.timeout(5):
            while not world.linked:  # noqa: ASYNC110 - the linker tells nobody
                await asyncio.sleep(0.001)
    assert len(world.linked) == 1


async def test_the_background_outlives_a_store_that_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 0

    async def fail(*_: object, **__: object) -> list[Link]:
        nonlocal failures
        failures += 1
        raise ConnectionError

    monkeypatch.setattr(world.store, "take", fail)
    async with world.linker:
        async with asyncio.timeout(5):
            while failures < 3:  # noqa: ASYNC110 - the linker tells nobody
                await asyncio.sleep(0.001)


def test_pauses_between_attempts_grow_to_a_minute() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    pauses = [(retry_at(now, attempts) - now).total_seconds() for attempts in range(1, 10)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert retry_at(now, 10**6) - now == timedelta(minutes=1)


async def test_a_conversation_must_be_the_requesters(world: World) -> None:
    world.customers["cnv_1"] = "usr_other"
    for command, error in (
        (opening(conversation_id="cnv_none"), ConversationNotFound),
        (opening(AGENT, conversation_id="cnv_1"), InvalidInput),
    ):
        with pytest.raises(error):
            await world.desk.open(command)
    assert world.store.data.tickets == {}


async def test_an_agents_ticket_is_for_a_member(world: World) -> None:
    with pytest.raises(RequesterNotFound):
        await world.desk.open(opening(AGENT, requester_id=CUSTOMER.user_id))
    world.roles[CUSTOMER.user_id] = frozenset({"customer"})
    ticket = await world.desk.open(opening(AGENT, requester_id=CUSTOMER.user_id, priority=Priority.URGENT))
    assert ticket.requester_id == CUSTOMER.user_id


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (opening(requester_id="usr_other"), ["requester_id"]),
        (opening(priority=Priority.URGENT), ["priority"]),
        (opening(requester_id="usr_other", priority=Priority.URGENT), ["requester_id", "priority"]),
        (opening(Person("org_1", "", is_agent=True)), ["requester_id"]),
    ],
)
async def test_what_may_not_be_opened(world: World, command: OpenTicket, fields: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        await world.desk.open(command)
    assert [field for field, _ in caught.value.violations] == fields
    assert world.asked == 0


async def test_a_repeat_asks_nobody(world: World) -> None:
    world.customers["cnv_1"] = CUSTOMER.user_id
    command = opening(conversation_id="cnv_1")
    ticket = await world.desk.open(command)
    world.customers.clear()
    asked = world.asked
    assert await world.desk.open(command) == ticket
    assert world.asked == asked
    assert len(world.linked) == 1


def changing(ticket: Ticket, **values: object) -> ChangeTicket:
    return ChangeTicket(AGENT, ticket.id, ticket.etag, Changes(**values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("roles", "allowed"),
    [
        ({"agent"}, True),
        ({"customer", "supervisor"}, True),
        ({"admin"}, True),
        ({"owner"}, True),
        ({"customer"}, False),
        (set(), False),
    ],
)
async def test_who_can_be_given_tickets(world: World, roles: set[str], allowed: bool) -> None:
    ticket = await world.desk.open(opening())
    world.roles["usr_2"] = frozenset(roles)
    if allowed:
        changed = await world.desk.change(changing(ticket, assignee_id="usr_2"))
        assert (changed.content.assignee_id, changed.status) == ("usr_2", Status.OPEN)
    else:
        with pytest.raises(AssigneeNotAgent):
            await world.desk.change(changing(ticket, assignee_id="usr_2"))
        assert (await world.desk.get(AGENT, ticket.id)).content.assignee_id == ""


async def test_nothing_changes_while_nobody_can_say_who_is_an_agent(world: World) -> None:
    ticket = await world.desk.open(opening())
    world.down = DOWN
    with pytest.raises(RemoteError):
        await world.desk.change(changing(ticket, assignee_id="usr_2", subject="New"))
    assert await world.desk.get(AGENT, ticket.id) == ticket
    # Other fields do not depend on it.
    assert (await world.desk.change(changing(ticket, subject="New"))).content.subject == "New"


async def test_an_assignee_who_stays_or_goes_is_not_asked_about(world: World) -> None:
    ticket = await world.desk.open(opening())
    world.roles["usr_2"] = frozenset({"agent"})
    ticket = await world.desk.change(changing(ticket, assignee_id="usr_2"))
    asked = world.asked
    ticket = await world.desk.change(changing(ticket, assignee_id="usr_2", subject="New"))
    ticket = await world.desk.change(changing(ticket, assignee_id=""))
    assert (ticket.content.assignee_id, world.asked) == ("", asked)


async def test_who_makes_a_ticket_more_urgent_has_it_due_sooner(world: World) -> None:
    ticket = await world.desk.open(opening())
    world.now += timedelta(hours=2)
    changed = await world.desk.change(changing(ticket, priority=Priority.URGENT))
    assert changed.content.due_at == ticket.created_at + TERMS[Priority.URGENT]


def test_a_page_always_holds_something() -> None:
    size = MAXIMUM_PAGE_BYTES
    assert cut([size * 2, 1], 5, lambda row: row) == ([size * 2], True)
    assert cut([1, size, 1], 5, lambda row: row) == ([1], True)
    assert cut([1, 2, 3], 2, lambda row: row) == ([1, 2], True)
    assert cut([1, 2], 2, lambda row: row) == ([1, 2], False)
    assert cut([], 2, len) == ([], False)

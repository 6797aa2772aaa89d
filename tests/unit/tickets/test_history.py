"""Whatever happens to a ticket, its history tells it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import DomainError
from services.tickets.domain import (
    TRANSITIONS,
    Changes,
    CommentAdded,
    Due,
    Event,
    FieldChanged,
    Opened,
    Person,
    Priority,
    Status,
    Ticket,
    Visibility,
)
from services.tickets.errors import TicketClosed

START = datetime(2026, 3, 1, tzinfo=UTC)
AGENT = Person("org_1", "usr_agent", is_agent=True)
CUSTOMER = Person("org_1", "usr_customer", is_agent=False)

texts = st.text(max_size=20)
tags = st.lists(texts.filter(bool), max_size=3, unique=True).map(tuple)
dues = st.none() | st.builds(Due, st.none() | st.integers(0, 9).map(lambda hours: START + timedelta(hours=hours)))
TERMS = {priority: timedelta(hours=8 / priority) for priority in Priority}
people = st.sampled_from([AGENT, CUSTOMER])
changes = st.builds(
    Changes,
    subject=st.none() | texts,
    description=st.none() | texts,
    status=st.none() | st.sampled_from(Status),
    priority=st.none() | st.sampled_from(Priority),
    assignee_id=st.none() | st.sampled_from(["", "usr_agent", "usr_other"]),
    tags=st.none() | tags,
    due=dues,
)

Step = Callable[[Ticket, datetime], object]


def changing(wanted: Changes, by: Person) -> Step:
    return lambda ticket, at: ticket.change(wanted, by=by, at=at, terms=TERMS)


def commenting(visibility: Visibility, by: Person) -> Step:
    return lambda ticket, at: ticket.add_comment("cmt_1", "Hello", visibility, by=by, at=at)


steps = st.lists(
    st.builds(changing, changes, people) | st.builds(commenting, st.sampled_from(Visibility), people), max_size=25
)


def lived(what: list[Step], first_tags: tuple[str, ...]) -> tuple[Ticket, dict[str, str]]:
    """A ticket to which all this was tried, and what it said when it was opened."""
    ticket = Ticket.opened(
        ticket_id="tkt_1",
        number=1,
        by=CUSTOMER,
        at=START,
        requester_id=CUSTOMER.user_id,
        subject="Tent",
        tags=first_tags,
        terms=TERMS,
    )
    first = ticket.content.as_texts()
    for number, step in enumerate(what, start=1):
        before = (ticket.content, ticket.last_sequence, ticket.updated_at, ticket.solved_at, ticket.closed_at)
        try:
            step(ticket, START + timedelta(minutes=number))
        except DomainError:
            after = (ticket.content, ticket.last_sequence, ticket.updated_at, ticket.solved_at, ticket.closed_at)
            assert after == before
    return ticket, first


def replayed(first: dict[str, str], events: list[Event]) -> dict[str, str]:
    """What a ticket says after its history; every change must fit what was there before it."""
    said = dict(first)
    for event in events:
        if isinstance(event.happening, FieldChanged):
            change = event.happening
            assert said[change.field] == change.before != change.after
            said[change.field] = change.after
    return said


@given(steps, tags)
def test_history_replays_to_the_ticket(what: list[Step], first_tags: tuple[str, ...]) -> None:
    ticket, first = lived(what, first_tags)
    assert replayed(first, ticket.events) == ticket.content.as_texts()
    assert tuple(json.loads(ticket.content.as_texts()["tags"])) == ticket.content.tags
    assert [event.sequence for event in ticket.events] == list(range(1, ticket.last_sequence + 1))
    assert ticket.events[0].happening == Opened(Status.NEW, Priority.NORMAL)
    assert ticket.updated_at == ticket.events[-1].occurred_at


@given(steps, tags)
def test_the_status_goes_only_allowed_ways(what: list[Step], first_tags: tuple[str, ...]) -> None:
    ticket, _ = lived(what, first_tags)
    for event in ticket.events:
        if isinstance(event.happening, FieldChanged) and event.happening.field == "status":
            before, after = Status(event.happening.before), Status(event.happening.after)
            # Being given to an agent opens a new ticket on the way.
            assert after in TRANSITIONS[before] | (TRANSITIONS[Status.OPEN] if before is Status.NEW else frozenset())
    assert (ticket.solved_at is not None) == (ticket.status in (Status.SOLVED, Status.CLOSED))
    assert (ticket.closed_at is not None) == (ticket.status is Status.CLOSED)


@given(steps, tags)
def test_one_event_a_field_at_a_time(what: list[Step], first_tags: tuple[str, ...]) -> None:
    ticket, _ = lived(what, first_tags)
    changed = [
        (event.occurred_at, event.happening.field)
        for event in ticket.events
        if isinstance(event.happening, FieldChanged)
    ]
    assert len(set(changed)) == len(changed)


@given(steps, tags)
def test_customers_never_do_what_is_for_agents(what: list[Step], first_tags: tuple[str, ...]) -> None:
    ticket, _ = lived(what, first_tags)
    urgency = {event.occurred_at for event in ticket.events if _changes(event, "priority")}
    for event in ticket.events:
        if event.actor_id != CUSTOMER.user_id:
            continue
        match event.happening:
            case FieldChanged(field="assignee_id"):
                raise AssertionError("a customer gave a ticket to somebody")
            case FieldChanged(field="priority", after=after):
                assert after != "urgent"
            case FieldChanged(field="due_at"):
                assert event.occurred_at in urgency
            case FieldChanged(field="status", before=before, after=after):
                assert after == "solved" or (before, after) == ("solved", "open")
            case CommentAdded(visibility=visibility):
                assert visibility is Visibility.PUBLIC


def _changes(event: Event, field: str) -> bool:
    return isinstance(event.happening, FieldChanged) and event.happening.field == field


@given(steps, changes, people)
def test_nothing_changes_a_closed_ticket(what: list[Step], wanted: Changes, by: Person) -> None:
    ticket, _ = lived([*what, changing(Changes(status=Status.SOLVED), AGENT)], ())
    if ticket.status is not Status.CLOSED:
        ticket.change(Changes(status=Status.CLOSED), by=AGENT, at=START + timedelta(days=1))
    before = (ticket.content, ticket.last_sequence)
    for step in (changing(wanted, by), commenting(Visibility.PUBLIC, by)):
        try:
            step(ticket, START + timedelta(days=2))
        except TicketClosed as error:
            assert error.metadata["from"] == "TICKET_STATUS_CLOSED"
        assert (ticket.content, ticket.last_sequence) == before

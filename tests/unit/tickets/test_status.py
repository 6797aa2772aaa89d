"""The status machine, every pair of it."""

from datetime import UTC, datetime

import pytest

from services.common.errors import InvalidInput
from services.tickets.domain import Changes, Person, Status, Ticket, Visibility, must_allow
from services.tickets.errors import TicketClosed, TransitionNotAllowed

NEW, OPEN, PENDING, ON_HOLD, SOLVED, CLOSED = Status
AT = datetime(2026, 3, 1, tzinfo=UTC)
AGENT = Person("org_1", "usr_agent", is_agent=True)
CUSTOMER = Person("org_1", "usr_customer", is_agent=False)

ALLOWED = {
    (NEW, OPEN),
    (NEW, SOLVED),
    (OPEN, PENDING),
    (OPEN, ON_HOLD),
    (OPEN, SOLVED),
    (PENDING, OPEN),
    (PENDING, ON_HOLD),
    (PENDING, SOLVED),
    (ON_HOLD, OPEN),
    (ON_HOLD, PENDING),
    (ON_HOLD, SOLVED),
    (SOLVED, OPEN),
    (SOLVED, CLOSED),
}
# How a ticket gets to each status.
WAYS = {
    NEW: (),
    OPEN: (OPEN,),
    PENDING: (OPEN, PENDING),
    ON_HOLD: (OPEN, ON_HOLD),
    SOLVED: (SOLVED,),
    CLOSED: (SOLVED, CLOSED),
}


def ticket_in(status: Status) -> Ticket:
    """The customer's ticket, brought to a status by an agent, with nothing left to save."""
    ticket = Ticket.opened(
        ticket_id="tkt_1", number=1, by=CUSTOMER, at=AT, requester_id=CUSTOMER.user_id, subject="Tent"
    )
    for step in WAYS[status]:
        ticket.change(Changes(status=step), by=AGENT, at=AT)
    ticket.events.clear()
    return ticket


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
def test_every_pair(before: Status, after: Status) -> None:
    ticket = ticket_in(before)
    if before is after:
        ticket.change(Changes(status=after), by=AGENT, at=AT)
        assert ticket.events == []
    elif (before, after) in ALLOWED:
        ticket.change(Changes(status=after), by=AGENT, at=AT)
        assert ticket.status is after
        assert len(ticket.events) == 1
    else:
        expected = TicketClosed if before is CLOSED else TransitionNotAllowed
        with pytest.raises(expected) as caught:
            ticket.change(Changes(status=after), by=AGENT, at=AT)
        assert caught.value.metadata == {
            "from": f"TICKET_STATUS_{before.name}",
            "to": f"TICKET_STATUS_{after.name}",
        }
        assert (ticket.status, ticket.events) == (before, [])


@pytest.mark.parametrize("status", Status)
def test_a_status_may_always_stay(status: Status) -> None:
    must_allow(status, status)


@pytest.mark.parametrize(
    ("person", "visibility", "before", "after"),
    [
        (AGENT, Visibility.PUBLIC, NEW, OPEN),
        (AGENT, Visibility.INTERNAL, NEW, OPEN),
        (AGENT, Visibility.PUBLIC, PENDING, PENDING),
        (AGENT, Visibility.PUBLIC, SOLVED, SOLVED),
        (CUSTOMER, Visibility.PUBLIC, NEW, NEW),
        (CUSTOMER, Visibility.PUBLIC, PENDING, PENDING),
        (CUSTOMER, Visibility.PUBLIC, ON_HOLD, ON_HOLD),
        (CUSTOMER, Visibility.PUBLIC, SOLVED, OPEN),
    ],
)
def test_what_a_comment_does(person: Person, visibility: Visibility, before: Status, after: Status) -> None:
    ticket = ticket_in(before)
    ticket.add_comment("cmt_1", "Hello", visibility, by=person, at=AT)
    assert ticket.status is after
    assert len(ticket.events) == (1 if before is after else 2)


@pytest.mark.parametrize("person", [AGENT, CUSTOMER])
def test_nobody_comments_on_a_closed_ticket(person: Person) -> None:
    ticket = ticket_in(CLOSED)
    with pytest.raises(TicketClosed):
        ticket.add_comment("cmt_1", "Hello", Visibility.PUBLIC, by=person, at=AT)
    assert ticket.events == []


def test_an_agent_who_asked_opens_their_solved_ticket_again() -> None:
    ticket = Ticket.opened(ticket_id="tkt_1", number=1, by=AGENT, at=AT, requester_id=AGENT.user_id, subject="Chair")
    ticket.change(Changes(status=SOLVED), by=AGENT, at=AT)
    ticket.add_comment("cmt_1", "Note", Visibility.INTERNAL, by=AGENT, at=AT)
    assert ticket.status is SOLVED
    ticket.add_comment("cmt_2", "Still broken", Visibility.PUBLIC, by=AGENT, at=AT)
    assert (ticket.status, ticket.solved_at) == (OPEN, None)


@pytest.mark.parametrize(
    ("wanted", "after"),
    [(None, OPEN), (NEW, OPEN), (OPEN, OPEN), (PENDING, PENDING), (ON_HOLD, ON_HOLD), (SOLVED, SOLVED)],
)
def test_giving_a_new_ticket_to_an_agent_opens_it_first(wanted: Status | None, after: Status) -> None:
    ticket = ticket_in(NEW)
    ticket.change(Changes(status=wanted, assignee_id="usr_2"), by=AGENT, at=AT)
    assert ticket.status is after
    # One event a field, also where two steps were taken at once.
    assert len(ticket.events) == 2


@pytest.mark.parametrize("before", [OPEN, PENDING, ON_HOLD, SOLVED])
def test_giving_any_other_ticket_to_an_agent_leaves_its_status(before: Status) -> None:
    ticket = ticket_in(before)
    ticket.change(Changes(assignee_id="usr_2"), by=AGENT, at=AT)
    assert ticket.status is before


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
def test_what_a_customer_may_set(before: Status, after: Status) -> None:
    ticket = ticket_in(before)
    if before is after:
        ticket.change(Changes(status=after), by=CUSTOMER, at=AT)
    elif (before, after) not in ALLOWED:
        with pytest.raises((TransitionNotAllowed, TicketClosed)):
            ticket.change(Changes(status=after), by=CUSTOMER, at=AT)
    elif after is SOLVED or (before, after) == (SOLVED, OPEN):
        ticket.change(Changes(status=after), by=CUSTOMER, at=AT)
        assert ticket.status is after
        return
    else:
        with pytest.raises(InvalidInput) as caught:
            ticket.change(Changes(status=after), by=CUSTOMER, at=AT)
        assert [field for field, _ in caught.value.violations] == ["status"]
    assert ticket.status is before

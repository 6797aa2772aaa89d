"""When a ticket should be solved by, and who may say so."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.errors import InvalidInput
from services.tickets.domain import Changes, Due, FieldChanged, Person, Priority, Status, Ticket

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = AT + timedelta(hours=5)
AGENT = Person("org_1", "usr_agent", is_agent=True)
CUSTOMER = Person("org_1", "usr_customer", is_agent=False)
TERMS = {
    Priority.LOW: timedelta(days=7),
    Priority.NORMAL: timedelta(days=3),
    Priority.HIGH: timedelta(days=1),
    Priority.URGENT: timedelta(hours=4),
}
LONGER = {priority: 2 * term for priority, term in TERMS.items()}


def opened(priority: Priority = Priority.NORMAL) -> Ticket:
    ticket = Ticket.opened(
        ticket_id="tkt_1",
        number=1,
        by=CUSTOMER,
        at=AT,
        requester_id=CUSTOMER.user_id,
        subject="Tent",
        priority=priority,
        terms=TERMS,
    )
    ticket.events.clear()
    return ticket


@pytest.mark.parametrize("priority", Priority)
def test_it_is_due_by_its_priority(priority: Priority) -> None:
    assert opened(priority).content.due_at == AT + TERMS[priority]


@pytest.mark.parametrize("by", [AGENT, CUSTOMER])
def test_it_follows_the_priority_and_the_history_tells_both(by: Person) -> None:
    ticket = opened()
    ticket.change(Changes(priority=Priority.HIGH), by=by, at=LATER, terms=TERMS)
    assert ticket.content.due_at == AT + TERMS[Priority.HIGH]
    assert [event.happening for event in ticket.events] == [
        FieldChanged("priority", "normal", "high"),
        FieldChanged("due_at", "2026-03-04T12:00:00Z", "2026-03-02T12:00:00Z"),
    ]


@pytest.mark.parametrize("due", [AT + timedelta(days=30), None])
def test_what_an_agent_said_stays(due: datetime | None) -> None:
    ticket = opened()
    ticket.change(Changes(due=Due(due)), by=AGENT, at=LATER, terms=TERMS)
    assert ticket.content.due_at == due
    ticket.change(Changes(priority=Priority.URGENT), by=AGENT, at=LATER, terms=TERMS)
    assert ticket.content.due_at == due
    # Also when both are said at once.
    other = opened()
    other.change(Changes(priority=Priority.URGENT, due=Due(due)), by=AGENT, at=LATER, terms=TERMS)
    assert other.content.due_at == due


def test_new_terms_move_no_ticket_that_has_a_time() -> None:
    ticket = opened()
    ticket.change(Changes(priority=Priority.HIGH), by=AGENT, at=LATER, terms=LONGER)
    assert ticket.content.due_at == AT + TERMS[Priority.NORMAL]


def test_a_customer_does_not_say_when() -> None:
    ticket = opened()
    for wanted in (Changes(due=Due(LATER)), Changes(due=Due(None)), Changes(priority=Priority.HIGH, due=Due(LATER))):
        with pytest.raises(InvalidInput) as caught:
            ticket.change(wanted, by=CUSTOMER, at=LATER, terms=TERMS)
        assert [field for field, _ in caught.value.violations] == ["due_at"]
    assert (ticket.content.due_at, ticket.events) == (AT + TERMS[Priority.NORMAL], [])
    # Saying what is so already is no change.
    ticket.change(Changes(due=Due(ticket.content.due_at)), by=CUSTOMER, at=LATER, terms=TERMS)
    assert ticket.events == []


def test_solving_and_opening_again_leave_it() -> None:
    ticket = opened()
    for status in (Status.SOLVED, Status.OPEN):
        ticket.change(Changes(status=status), by=CUSTOMER, at=LATER, terms=TERMS)
    assert ticket.content.due_at == AT + TERMS[Priority.NORMAL]

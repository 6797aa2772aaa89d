"""Comments on tickets and the history of what happened to them."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.ids import new_id
from services.tickets.domain import Comment, Event, FieldChanged, Person, Ticket, Visibility
from services.tickets.ports import UnitOfWorkFactory
from services.tickets.usecases.paging import cut, page_size, sequence, sequence_filters, sequence_token


@dataclass(frozen=True, slots=True)
class AddComment:
    """A remark to write on a ticket."""

    by: Person
    key: IdempotencyKey
    ticket_id: str
    text: str
    visibility: Visibility


@dataclass(frozen=True, slots=True)
class OfTicket:
    """A page of what belongs to one ticket, oldest first."""

    by: Person
    ticket_id: str
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class CommentPage:
    """Comments, and the token of what follows; empty at the end."""

    comments: Sequence[Comment]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, and the token of what follows; empty at the end."""

    events: Sequence[Event]
    next_page_token: str


class Correspondence:
    """What is said on a ticket and what became of it."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def add(self, command: AddComment) -> tuple[Comment, Ticket]:
        """Write a comment; the same request_id gives the same comment.

        Raises TicketNotFound, TicketClosed, RequestIdReused, and InvalidInput for an internal comment of a customer.
        """
        async with self._unit_of_work(command.by.organization_id) as work:
            ticket = await work.tickets.get(command.ticket_id, lock=True)
            ticket.must_be_known_to(command.by)
            comment_id = new_id("cmt")
            if made_before := await work.requests.claim(command.key, comment_id):
                return await work.comments.get(made_before), ticket
            comment = ticket.add_comment(comment_id, command.text, command.visibility, by=command.by, at=self._clock())
            status_changed = any(isinstance(event.happening, FieldChanged) for event in ticket.events)
            await work.tickets.save(ticket)
            await work.comments.add(comment)
            await work.outbox.ticket_commented(ticket, comment)
            if status_changed:
                await work.outbox.ticket_updated(ticket)
            await work.commit()
        return comment, ticket

    async def list(self, query: OfTicket) -> CommentPage:
        """A page of comments, without internal ones for customers. Raises TicketNotFound, InvalidPageToken."""
        filters = sequence_filters("comments", query.ticket_id, query.by)
        after, size = sequence(query.page_token, filters), page_size(query.page_size)
        async with self._unit_of_work(query.by.organization_id) as work:
            (await work.tickets.get(query.ticket_id)).must_be_known_to(query.by)
            found = await work.comments.page(query.ticket_id, after=after, limit=size + 1, internal=query.by.is_agent)
        comments, more = cut(found, size, lambda comment: len(comment.text.encode()))
        return CommentPage(comments, sequence_token(comments[-1].sequence, filters) if more else "")

    async def list_events(self, query: OfTicket) -> EventPage:
        """A page of history, without internal comments for customers. Raises TicketNotFound, InvalidPageToken."""
        filters = sequence_filters("events", query.ticket_id, query.by)
        after, size = sequence(query.page_token, filters), page_size(query.page_size)
        async with self._unit_of_work(query.by.organization_id) as work:
            (await work.tickets.get(query.ticket_id)).must_be_known_to(query.by)
            found = await work.history.page(query.ticket_id, after=after, limit=size + 1, internal=query.by.is_agent)
        events, more = cut(found, size, _weight)
        return EventPage(events, sequence_token(events[-1].sequence, filters) if more else "")


def _weight(event: Event) -> int:
    happening = event.happening
    if isinstance(happening, FieldChanged):
        return len(happening.before.encode()) + len(happening.after.encode())
    return 0

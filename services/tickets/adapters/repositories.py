"""Tickets, comments and history in Postgres, for one organization."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, insert, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.tickets import tables
from services.tickets.domain import (
    Comment,
    CommentAdded,
    Content,
    Event,
    FieldChanged,
    Happening,
    Kind,
    Opened,
    Priority,
    Status,
    Ticket,
    Visibility,
)
from services.tickets.errors import StaleEtag, TicketNotFound
from services.tickets.ports import Order, Position, TicketFilter

_counters = tables.counters
_tickets = tables.tickets
_comments = tables.comments
_events = tables.events

OPENED, FIELD_CHANGED, COMMENT_ADDED = "opened", "field_changed", "comment_added"

_ORDERS: dict[Order, tuple[ColumnElement[Any], ...]] = {
    Order.UPDATED_DESC: (_tickets.c.updated_at.desc(), _tickets.c.number.desc()),
    Order.CREATED_DESC: (_tickets.c.number.desc(),),
    Order.CREATED_ASC: (_tickets.c.number,),
    Order.PRIORITY_DESC: (_tickets.c.priority.desc(), _tickets.c.number),
    # Postgres puts those without one last.
    Order.DUE_ASC: (_tickets.c.due_at, _tickets.c.number),
}


class SqlTickets:
    """The tickets of one organization."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def next_number(self) -> int:
        """The number of the next ticket; others wait for theirs until this transaction ends."""
        first = upsert(_counters).values(organization_id=self._organization_id, last_number=1)
        statement = first.on_conflict_do_update(
            index_elements=[_counters.c.organization_id], set_={"last_number": _counters.c.last_number + 1}
        )
        number: int = (await self._session.execute(statement.returning(_counters.c.last_number))).scalar_one()
        return number

    async def add(self, ticket: Ticket) -> None:
        """Keep a new ticket and its events."""
        await self._session.execute(insert(_tickets).values(_ticket_row(ticket)))
        await self._add_events(ticket)

    async def get(self, ticket_id: str, *, lock: bool = False) -> Ticket:
        """One ticket; `lock` keeps others from changing it meanwhile. Raises TicketNotFound."""
        statement = self._select().where(_tickets.c.id == ticket_id)
        if lock:
            statement = statement.with_for_update()
        row = (await self._session.execute(statement)).one_or_none()
        if row is None:
            raise TicketNotFound(resource_name=ticket_id)
        return _ticket(row)

    async def save(self, ticket: Ticket) -> None:
        """Keep changes and new events as the next version. Raises StaleEtag when the ticket is not as it was read."""
        read = ticket.version
        saved = await self._session.execute(
            update(_tickets)
            .where(
                _tickets.c.id == ticket.id,
                _tickets.c.organization_id == self._organization_id,
                _tickets.c.version == read,
            )
            .values(_ticket_row(ticket) | {"version": read + 1})
            .returning(_tickets.c.version)
        )
        if saved.one_or_none() is None:
            raise StaleEtag
        ticket.version = read + 1
        await self._add_events(ticket)

    async def page(self, chosen: TicketFilter, order: Order, after: Position | None, limit: int) -> list[Ticket]:
        """At most `limit` tickets that follow a position."""
        statement = self._select().where(*_conditions(chosen))
        if after is not None:
            statement = statement.where(_follows(order, after))
        rows = await self._session.execute(statement.order_by(*_ORDERS[order]).limit(limit))
        return [_ticket(row) for row in rows]

    def _select(self) -> Select[Any]:
        return select(_tickets).where(_tickets.c.organization_id == self._organization_id)

    async def _add_events(self, ticket: Ticket) -> None:
        if ticket.events:
            await self._session.execute(insert(_events), [_event_row(ticket, event) for event in ticket.events])
            ticket.events.clear()


class SqlComments:
    """The comments of one organization."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, comment: Comment) -> None:
        """Keep a new comment."""
        row = asdict(comment) | {"organization_id": self._organization_id}
        await self._session.execute(insert(_comments).values(row))

    async def get(self, comment_id: str) -> Comment:
        """One that is known to exist."""
        return _comment((await self._session.execute(self._select().where(_comments.c.id == comment_id))).one())

    async def page(self, ticket_id: str, *, after: int, limit: int, internal: bool) -> list[Comment]:
        """At most `limit` comments after a sequence, oldest first."""
        columns = _comments.c
        statement = self._select().where(columns.ticket_id == ticket_id, columns.sequence > after)
        if not internal:
            statement = statement.where(columns.visibility == Visibility.PUBLIC)
        rows = await self._session.execute(statement.order_by(columns.sequence).limit(limit))
        return [_comment(row) for row in rows]

    def _select(self) -> Select[Any]:
        return select(_comments).where(_comments.c.organization_id == self._organization_id)


class SqlHistory:
    """What happened to one organization's tickets."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def page(self, ticket_id: str, *, after: int, limit: int, internal: bool) -> list[Event]:
        """At most `limit` events after a sequence, oldest first."""
        columns = _events.c
        statement = select(_events).where(
            columns.organization_id == self._organization_id,
            columns.ticket_id == ticket_id,
            columns.sequence > after,
        )
        if not internal:
            statement = statement.where(columns.visibility == Visibility.PUBLIC)
        rows = await self._session.execute(statement.order_by(columns.sequence).limit(limit))
        return [Event(row.sequence, row.actor_id, row.occurred_at, _happening(row)) for row in rows]


def _conditions(chosen: TicketFilter) -> list[ColumnElement[bool]]:
    columns = _tickets.c
    conditions: list[ColumnElement[bool]] = []
    if chosen.statuses:
        conditions.append(columns.status.in_(chosen.statuses))
    if chosen.priorities:
        conditions.append(columns.priority.in_(chosen.priorities))
    if chosen.assignee_id is not None:
        conditions.append(columns.assignee_id == chosen.assignee_id)
    if chosen.requester_id is not None:
        conditions.append(columns.requester_id == chosen.requester_id)
    if chosen.conversation_id is not None:
        # The index holds only tickets with a conversation, and is used when the statement says so too.
        conditions += [columns.conversation_id == chosen.conversation_id, columns.conversation_id != ""]
    if chosen.tags:
        conditions.append(columns.tags.contains(list(chosen.tags)))
    if chosen.due_before is not None:
        conditions.append(columns.due_at < chosen.due_before)
    return conditions


def _follows(order: Order, after: Position) -> ColumnElement[bool]:
    columns = _tickets.c
    match order:
        case Order.UPDATED_DESC:
            return tuple_(columns.updated_at, columns.number) < tuple_(after.updated_at, after.number)
        case Order.CREATED_DESC:
            return columns.number < after.number
        case Order.CREATED_ASC:
            return columns.number > after.number
        case Order.PRIORITY_DESC:
            same = and_(columns.priority == after.priority, columns.number > after.number)
            return or_(columns.priority < after.priority, same)
        case Order.DUE_ASC if after.due_at is None:
            return and_(columns.due_at.is_(None), columns.number > after.number)
        case Order.DUE_ASC:
            later = tuple_(columns.due_at, columns.number) > tuple_(after.due_at, after.number)
            return or_(later, columns.due_at.is_(None))


def _ticket_row(ticket: Ticket) -> dict[str, Any]:
    content = ticket.content
    return {
        "id": ticket.id,
        "organization_id": ticket.organization_id,
        "number": ticket.number,
        "kind": ticket.kind,
        "requester_id": ticket.requester_id,
        "conversation_id": ticket.conversation_id,
        "subject": content.subject,
        "description": content.description,
        "status": content.status,
        "priority": content.priority,
        "assignee_id": content.assignee_id,
        "tags": list(content.tags),
        "version": ticket.version,
        "last_sequence": ticket.last_sequence,
        "created_at": ticket.created_at,
        "updated_at": ticket.updated_at,
        "solved_at": ticket.solved_at,
        "closed_at": ticket.closed_at,
        "due_at": content.due_at,
    }


def _ticket(row: Row[Any]) -> Ticket:
    return Ticket(
        id=row.id,
        organization_id=row.organization_id,
        number=row.number,
        kind=Kind(row.kind),
        requester_id=row.requester_id,
        conversation_id=row.conversation_id,
        content=Content(
            subject=row.subject,
            description=row.description,
            status=Status(row.status),
            priority=Priority(row.priority),
            assignee_id=row.assignee_id,
            tags=tuple(row.tags),
            due_at=row.due_at,
        ),
        created_at=row.created_at,
        updated_at=row.updated_at,
        solved_at=row.solved_at,
        closed_at=row.closed_at,
        version=row.version,
        last_sequence=row.last_sequence,
    )


def _comment(row: Row[Any]) -> Comment:
    return Comment(
        id=row.id,
        ticket_id=row.ticket_id,
        sequence=row.sequence,
        author_id=row.author_id,
        text=row.text,
        visibility=Visibility(row.visibility),
        created_at=row.created_at,
    )


def _event_row(ticket: Ticket, event: Event) -> dict[str, Any]:
    match event.happening:
        case Opened(status, priority):
            kind, details = OPENED, {"status": status.value, "priority": priority.value}
        case FieldChanged(name, before, after):
            kind, details = FIELD_CHANGED, {"field": name, "before": before, "after": after}
        case CommentAdded(comment_id, visibility):
            kind, details = COMMENT_ADDED, {"comment_id": comment_id, "visibility": visibility.value}
    return {
        "ticket_id": ticket.id,
        "sequence": event.sequence,
        "organization_id": ticket.organization_id,
        "actor_id": event.actor_id,
        "occurred_at": event.occurred_at,
        "kind": kind,
        "visibility": Visibility.INTERNAL if event.is_internal else Visibility.PUBLIC,
        "details": details,
    }


def _happening(row: Row[Any]) -> Happening:
    details = row.details
    if row.kind == OPENED:
        return Opened(Status(details["status"]), Priority(details["priority"]))
    if row.kind == FIELD_CHANGED:
        return FieldChanged(details["field"], details["before"], details["after"])
    return CommentAdded(details["comment_id"], Visibility(details["visibility"]))

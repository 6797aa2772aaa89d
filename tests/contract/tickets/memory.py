"""The ports of the tickets service in memory, for tests of what stands above them."""

import asyncio
import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from services.common.context import IdempotencyKey
from services.common.errors import RequestIdReused
from services.tickets.domain import Comment, Event, Priority, Status, Ticket, Visibility
from services.tickets.errors import StaleEtag, TicketNotFound
from services.tickets.ports import Link, Order, Position, TicketFilter
from services.tickets.usecases.linking import link_of


@dataclass
class Data:
    """What is kept."""

    numbers: dict[str, int] = field(default_factory=dict)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    comments: dict[str, Comment] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    requests: dict[tuple[str, str, str], tuple[bytes, str]] = field(default_factory=dict)
    outbox: list[tuple[str, str]] = field(default_factory=list)
    links: dict[str, tuple[datetime, int]] = field(default_factory=dict)


class MemoryStore:
    """What was committed; one transaction writes at a time."""

    def __init__(self) -> None:
        self.data = Data()
        self.writing = asyncio.Lock()

    def of(self, organization_id: str) -> "MemoryUnitOfWork":
        return MemoryUnitOfWork(self, organization_id)

    async def take(self, at: datetime, *, lease: timedelta, limit: int) -> list[Link]:
        links = self.data.links
        due = sorted((due_at, key) for key, (due_at, _) in links.items() if due_at <= at)
        taken = []
        for _, key in due[:limit]:
            attempts = links[key][1] + 1
            links[key] = (at + lease, attempts)
            taken.append(replace(link_of(self.data.tickets[key]), attempts=attempts))
        return taken

    async def postpone(self, link: Link, until: datetime) -> None:
        if link.ticket_id in self.data.links:
            self.data.links[link.ticket_id] = (until, self.data.links[link.ticket_id][1])

    async def remove(self, link: Link) -> None:
        self.data.links.pop(link.ticket_id, None)

    async def before(self, moment: datetime, limit: int) -> list[tuple[str, str]]:
        found = [
            (ticket.solved_at, ticket.organization_id, ticket.id)
            for ticket in self.data.tickets.values()
            if ticket.status is Status.SOLVED and ticket.solved_at is not None and ticket.solved_at < moment
        ]
        return [(organization_id, ticket_id) for _, organization_id, ticket_id in sorted(found)[:limit]]


class MemoryUnitOfWork:
    """Reads what was committed until it first writes; from then on it works on a copy that no other may write."""

    def __init__(self, store: MemoryStore, organization_id: str) -> None:
        self._store = store
        self._copy: Data | None = None
        self.organization_id = organization_id
        self.tickets = MemoryTickets(self)
        self.comments = MemoryComments(self)
        self.history = MemoryHistory(self)
        self.requests = MemoryRequests(self)
        self.outbox = MemoryOutbox(self)
        self.links = MemoryPendingLinks(self)

    @property
    def data(self) -> Data:
        return self._copy or self._store.data

    async def write(self) -> Data:
        if self._copy is None:
            await self._store.writing.acquire()
            self._copy = copy.deepcopy(self._store.data)
        return self._copy

    async def commit(self) -> None:
        if self._copy is not None:
            self._store.data, self._copy = self._copy, None
            self._store.writing.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._copy is not None:
            self._copy = None
            self._store.writing.release()


class MemoryTickets:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def next_number(self) -> int:
        numbers = (await self._work.write()).numbers
        numbers[self._work.organization_id] = numbers.get(self._work.organization_id, 0) + 1
        return numbers[self._work.organization_id]

    async def add(self, ticket: Ticket) -> None:
        _keep(await self._work.write(), ticket)

    async def get(self, ticket_id: str, *, lock: bool = False) -> Ticket:
        data = await self._work.write() if lock else self._work.data
        ticket = data.tickets.get(ticket_id)
        if ticket is None or ticket.organization_id != self._work.organization_id:
            raise TicketNotFound(resource_name=ticket_id)
        return copy.deepcopy(ticket)

    async def save(self, ticket: Ticket) -> None:
        data = await self._work.write()
        if data.tickets[ticket.id].version != ticket.version:
            raise StaleEtag
        ticket.version += 1
        _keep(data, ticket)

    async def page(self, chosen: TicketFilter, order: Order, after: Position | None, limit: int) -> list[Ticket]:
        tickets = [
            ticket
            for ticket in self._work.data.tickets.values()
            if ticket.organization_id == self._work.organization_id
            and _passes(ticket, chosen)
            and (after is None or _key(order, _position(ticket)) > _key(order, after))
        ]
        tickets.sort(key=lambda ticket: _key(order, _position(ticket)))
        return copy.deepcopy(tickets[:limit])


class MemoryComments:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def add(self, comment: Comment) -> None:
        (await self._work.write()).comments[comment.id] = comment

    async def get(self, comment_id: str) -> Comment:
        return self._work.data.comments[comment_id]

    async def page(self, ticket_id: str, *, after: int, limit: int, internal: bool) -> list[Comment]:
        found = [
            comment
            for comment in self._work.data.comments.values()
            if comment.ticket_id == ticket_id
            and comment.sequence > after
            and (internal or comment.visibility is Visibility.PUBLIC)
            and _is_here(self._work, ticket_id)
        ]
        return sorted(found, key=lambda comment: comment.sequence)[:limit]


class MemoryHistory:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def page(self, ticket_id: str, *, after: int, limit: int, internal: bool) -> list[Event]:
        if not _is_here(self._work, ticket_id):
            return []
        events = self._work.data.events[ticket_id]
        return [event for event in events if event.sequence > after and (internal or not event.is_internal)][:limit]


class MemoryRequests:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        requests = (await self._work.write()).requests
        name = (self._work.organization_id, key.method, key.request_id)
        if name not in requests:
            requests[name] = (key.fingerprint, resource_id)
            return None
        fingerprint, made = requests[name]
        if fingerprint != key.fingerprint:
            raise RequestIdReused
        return made


class MemoryOutbox:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def ticket_created(self, ticket: Ticket) -> None:
        await self._add("ticket.created", ticket)

    async def ticket_updated(self, ticket: Ticket) -> None:
        await self._add("ticket.updated", ticket)

    async def ticket_commented(self, ticket: Ticket, comment: Comment) -> None:
        await self._add("ticket.commented", ticket)

    async def _add(self, topic: str, ticket: Ticket) -> None:
        (await self._work.write()).outbox.append((topic, ticket.id))


class MemoryPendingLinks:
    def __init__(self, work: MemoryUnitOfWork) -> None:
        self._work = work

    async def add(self, ticket: Ticket, due_at: datetime) -> None:
        (await self._work.write()).links[ticket.id] = (due_at, 0)


def _keep(data: Data, ticket: Ticket) -> None:
    data.events.setdefault(ticket.id, []).extend(ticket.events)
    ticket.events.clear()
    data.tickets[ticket.id] = copy.deepcopy(ticket)


def _is_here(work: MemoryUnitOfWork, ticket_id: str) -> bool:
    ticket = work.data.tickets.get(ticket_id)
    return ticket is not None and ticket.organization_id == work.organization_id


def _passes(ticket: Ticket, chosen: TicketFilter) -> bool:
    content = ticket.content
    return (
        (not chosen.statuses or content.status in chosen.statuses)
        and (not chosen.priorities or content.priority in chosen.priorities)
        and chosen.assignee_id in (None, content.assignee_id)
        and chosen.requester_id in (None, ticket.requester_id)
        and chosen.conversation_id in (None, ticket.conversation_id)
        and set(chosen.tags) <= set(content.tags)
        and (chosen.due_before is None or (content.due_at is not None and content.due_at < chosen.due_before))
    )


def _position(ticket: Ticket) -> Position:
    return Position(ticket.number, ticket.updated_at, ticket.content.priority, ticket.content.due_at)


def _key(order: Order, at: Position) -> tuple[float, ...]:
    match order:
        case Order.UPDATED_DESC:
            return (-at.updated_at.timestamp(), -at.number)
        case Order.CREATED_DESC:
            return (-at.number,)
        case Order.CREATED_ASC:
            return (at.number,)
        case Order.PRIORITY_DESC:
            return (-Priority(at.priority), at.number)
        case Order.DUE_ASC:
            return ((at.due_at or datetime.max.replace(tzinfo=UTC)).timestamp(), at.number)

"""What the use cases need from outside, in the domain's words."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from services.common.context import IdempotencyKey
from services.tickets.domain import Comment, Event, Priority, Status, Ticket


class Order(StrEnum):
    """Order of a list; the ticket's number decides between equals, so every order is total."""

    UPDATED_DESC = "updated_desc"
    CREATED_DESC = "created_desc"
    CREATED_ASC = "created_asc"
    PRIORITY_DESC = "priority_desc"
    DUE_ASC = "due_asc"


@dataclass(frozen=True, slots=True)
class TicketFilter:
    """Which tickets to list; an empty or None field lets all pass. An `assignee_id` of "" means nobody has it."""

    statuses: tuple[Status, ...] = ()
    priorities: tuple[Priority, ...] = ()
    assignee_id: str | None = None
    requester_id: str | None = None
    conversation_id: str | None = None
    tags: tuple[str, ...] = ()
    due_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: after the ticket with these values."""

    number: int
    updated_at: datetime
    priority: Priority
    due_at: datetime | None = None


class Tickets(Protocol):
    """The tickets of one organization."""

    async def next_number(self) -> int:
        """The next ticket's number; others wait for theirs until this transaction ends. A rollback gives it back."""

    async def add(self, ticket: Ticket) -> None:
        """Keep a new ticket and its events."""

    async def get(self, ticket_id: str, *, lock: bool = False) -> Ticket:
        """One ticket; `lock` keeps others from changing it meanwhile. Raises TicketNotFound."""

    async def save(self, ticket: Ticket) -> None:
        """Keep changes and new events as the next version. Raises StaleEtag when the ticket is not as it was read."""

    async def page(self, chosen: TicketFilter, order: Order, after: Position | None, limit: int) -> list[Ticket]:
        """At most `limit` tickets that follow a position."""


class Comments(Protocol):
    """The comments of one organization."""

    async def add(self, comment: Comment) -> None:
        """Keep a new comment."""

    async def get(self, comment_id: str) -> Comment:
        """One that is known to exist."""

    async def page(self, ticket_id: str, *, after: int, limit: int, internal: bool) -> list[Comment]:
        """At most `limit` comments after a sequence, oldest first; internal ones only if asked for."""


class History(Protocol):
    """What happened to one organization's tickets; events get there by saving a ticket."""

    async def page(self, ticket_id: str, *, after: int, limit: int, internal: bool) -> list[Event]:
        """At most `limit` events after a sequence, oldest first; internal ones only if asked for."""


class Requests(Protocol):
    """The request_ids seen."""

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        """None if the key is new; else what it made before. Raises RequestIdReused."""


class Outbox(Protocol):
    """Changes that other services are told of, after the commit and at least once."""

    async def ticket_created(self, ticket: Ticket) -> None:
        """A ticket was opened."""

    async def ticket_updated(self, ticket: Ticket) -> None:
        """Fields of a ticket changed."""

    async def ticket_commented(self, ticket: Ticket, comment: Comment) -> None:
        """Somebody wrote a comment."""


class PendingLinks(Protocol):
    """Tickets whose conversations are still to be told of them."""

    async def add(self, ticket: Ticket, due_at: datetime) -> None:
        """Have the ticket's conversation told, by whoever finds it due."""


class UnitOfWork(Protocol):
    """One transaction of one organization; leaving it without commit undoes everything."""

    @property
    def tickets(self) -> Tickets: ...
    @property
    def comments(self) -> Comments: ...
    @property
    def history(self) -> History: ...
    @property
    def requests(self) -> Requests: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def links(self) -> PendingLinks: ...

    async def commit(self) -> None: ...


UnitOfWorkFactory = Callable[[str], AbstractAsyncContextManager[UnitOfWork]]


@dataclass(frozen=True, slots=True)
class Link:
    """A conversation that is to be told of a ticket. `attempts` counts how often that was taken up."""

    organization_id: str
    ticket_id: str
    ticket_number: int
    subject: str
    requester_id: str
    conversation_id: str
    attempts: int = 0


class LinkQueue(Protocol):
    """The pending links of all organizations."""

    async def take(self, at: datetime, *, lease: timedelta, limit: int) -> list[Link]:
        """At most `limit` due links, longest due first. Nobody else gets them until the lease ends."""

    async def postpone(self, link: Link, until: datetime) -> None:
        """Have a link that was taken tried again then."""

    async def remove(self, link: Link) -> None:
        """The link is made, or never can be."""


class SolvedTickets(Protocol):
    """The solved tickets of all organizations."""

    async def before(self, moment: datetime, limit: int) -> list[tuple[str, str]]:
        """Organization and identifier of at most `limit` tickets solved before that, longest ago first."""


class Conversations(Protocol):
    """The conversations that tickets come from."""

    async def customer_of(self, conversation_id: str) -> str:
        """Whose it is. Raises ConversationNotFound when the person being served may not know of it."""

    async def link(self, link: Link) -> None:
        """Tell a conversation of its ticket; again changes nothing. Raises ConversationNotFound, RemoteError."""


class Members(Protocol):
    """The people of the organization of the person being served."""

    async def roles_of(self, user_id: str) -> frozenset[str]:
        """The roles somebody holds; none if they are not a member."""

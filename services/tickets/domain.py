"""A ticket and what can happen to it. Every change becomes an event of its history; knows neither gRPC nor SQL."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import TypeVar

from services.common.errors import InvalidInput, Violation
from services.tickets.errors import StaleEtag, TicketClosed, TicketNotFound, TransitionNotAllowed

T = TypeVar("T")

URGENT_VIOLATION: Violation = ("priority", "only agents may set URGENT")


class Status(StrEnum):
    """Where a ticket stands."""

    NEW = "new"
    OPEN = "open"
    PENDING = "pending"
    ON_HOLD = "on_hold"
    SOLVED = "solved"
    CLOSED = "closed"


class Priority(IntEnum):
    """How urgent a ticket is; more is more urgent."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


# How long after its opening a ticket of each priority should be solved by.
Terms = Mapping[Priority, timedelta]
NO_TERMS: Terms = MappingProxyType({})


class Kind(StrEnum):
    """Why a ticket was opened."""

    REQUEST = "request"
    HANDOFF = "handoff"


class Visibility(StrEnum):
    """Who may read a comment: everybody on the ticket, or agents only."""

    PUBLIC = "public"
    INTERNAL = "internal"


TRANSITIONS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.NEW: frozenset({Status.OPEN, Status.SOLVED}),
        Status.OPEN: frozenset({Status.PENDING, Status.ON_HOLD, Status.SOLVED}),
        Status.PENDING: frozenset({Status.OPEN, Status.ON_HOLD, Status.SOLVED}),
        Status.ON_HOLD: frozenset({Status.OPEN, Status.PENDING, Status.SOLVED}),
        Status.SOLVED: frozenset({Status.OPEN, Status.CLOSED}),
        Status.CLOSED: frozenset(),
    }
)


def must_allow(before: Status, after: Status) -> None:
    """Let a status stay or go where the machine allows. Raises TransitionNotAllowed, or TicketClosed from CLOSED."""
    if after is before or after in TRANSITIONS[before]:
        return
    if before is Status.CLOSED:
        raise TicketClosed(_wire_name(before), _wire_name(after))
    raise TransitionNotAllowed(_wire_name(before), _wire_name(after))


def _wire_name(status: Status) -> str:
    return f"TICKET_STATUS_{status.name}"


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts. Agents see and change every ticket of their organization, others only what they asked for."""

    organization_id: str
    user_id: str
    is_agent: bool


@dataclass(frozen=True, slots=True)
class Content:
    """What can be changed about a ticket. `assignee_id` is empty when nobody has it, `due_at` None for never."""

    subject: str
    description: str
    status: Status
    priority: Priority
    assignee_id: str
    tags: tuple[str, ...]
    due_at: datetime | None = None

    def as_texts(self) -> dict[str, str]:
        """Each field as history keeps it: enum values by their lower-case name, tags as JSON, times as in RFC 3339."""
        return {
            "subject": self.subject,
            "description": self.description,
            "status": self.status.value,
            "priority": self.priority.name.lower(),
            "assignee_id": self.assignee_id,
            "tags": json.dumps(self.tags, ensure_ascii=False),
            "due_at": self.due_at.astimezone(UTC).isoformat().replace("+00:00", "Z") if self.due_at else "",
        }


@dataclass(frozen=True, slots=True)
class Due:
    """A due time that is wanted; None for none at all."""

    at: datetime | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Wanted values; None leaves a field as it is."""

    subject: str | None = None
    description: str | None = None
    status: Status | None = None
    priority: Priority | None = None
    assignee_id: str | None = None
    tags: tuple[str, ...] | None = None
    due: Due | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The ticket was opened."""

    status: Status
    priority: Priority


@dataclass(frozen=True, slots=True)
class FieldChanged:
    """One field got another value; both as in `Content.as_texts`."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class CommentAdded:
    """A comment was written."""

    comment_id: str
    visibility: Visibility


Happening = Opened | FieldChanged | CommentAdded


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, at its place in the ticket's history. `actor_id` is empty for the system."""

    sequence: int
    actor_id: str
    occurred_at: datetime
    happening: Happening

    @property
    def is_internal(self) -> bool:
        """True when customers may not know of it."""
        return isinstance(self.happening, CommentAdded) and self.happening.visibility is Visibility.INTERNAL


@dataclass(frozen=True, slots=True)
class Comment:
    """A remark; `sequence` is that of the event that added it."""

    id: str
    ticket_id: str
    sequence: int
    author_id: str
    text: str
    visibility: Visibility
    created_at: datetime


@dataclass(slots=True)
class Ticket:
    """Something an organization owes a customer an answer on.

    `version` is that of the record as it was read; saving raises it. `events` are those that happened since; saving
    writes them with the rest in one transaction.
    """

    id: str
    organization_id: str
    number: int
    kind: Kind
    requester_id: str
    conversation_id: str
    content: Content
    created_at: datetime
    updated_at: datetime
    solved_at: datetime | None = None
    closed_at: datetime | None = None
    version: int = 1
    last_sequence: int = 0
    events: list[Event] = field(default_factory=list)

    @classmethod
    def opened(
        cls,
        *,
        ticket_id: str,
        number: int,
        by: Person,
        at: datetime,
        requester_id: str,
        subject: str,
        description: str = "",
        priority: Priority = Priority.NORMAL,
        kind: Kind = Kind.REQUEST,
        conversation_id: str = "",
        tags: tuple[str, ...] = (),
        terms: Terms = NO_TERMS,
    ) -> "Ticket":
        """A new ticket that nobody has looked at; due as the terms say."""
        due_at = at + terms[priority] if priority in terms else None
        ticket = cls(
            id=ticket_id,
            organization_id=by.organization_id,
            number=number,
            kind=kind,
            requester_id=requester_id,
            conversation_id=conversation_id,
            content=Content(subject, description, Status.NEW, priority, "", tags, due_at),
            created_at=at,
            updated_at=at,
        )
        ticket._record(Opened(Status.NEW, priority), by.user_id, at)
        return ticket

    @property
    def status(self) -> Status:
        """Where it stands."""
        return self.content.status

    @property
    def etag(self) -> str:
        """Names the version that was read."""
        return str(self.version)

    def must_be_known_to(self, person: Person) -> None:
        """Raises TicketNotFound for a customer who did not ask for it."""
        if not person.is_agent and person.user_id != self.requester_id:
            raise TicketNotFound(resource_name=self.id)

    def must_match(self, etag: str) -> None:
        """Raises StaleEtag when the ticket changed since `etag` was read."""
        if etag != self.etag:
            raise StaleEtag

    def change(self, changes: Changes, *, by: Person, at: datetime, terms: Terms = NO_TERMS) -> None:
        """Take over the wanted values: one event a field that really changes, none when nothing does.

        Giving a new ticket to an agent opens it. With another priority it is due as the terms say of that, unless
        somebody has set the time. Raises TransitionNotAllowed, TicketClosed, and InvalidInput for what a
        customer may not do.
        """
        before = self.content
        after = replace(
            before,
            subject=_or(changes.subject, before.subject),
            description=_or(changes.description, before.description),
            status=self._status_after(changes),
            priority=_or(changes.priority, before.priority),
            assignee_id=_or(changes.assignee_id, before.assignee_id),
            tags=_or(changes.tags, before.tags),
            due_at=self._due_after(changes, terms),
        )
        if after == before:
            return
        if before.status is Status.CLOSED:
            raise TicketClosed(_wire_name(before.status), _wire_name(after.status))
        if not by.is_agent and (violations := _not_for_customers(before, after, changes)):
            raise InvalidInput(violations=violations)
        self._become(after, by, at)

    def add_comment(self, comment_id: str, text: str, visibility: Visibility, *, by: Person, at: datetime) -> Comment:
        """Write a remark. An agent's opens a new ticket, a customer's opens a solved one again.

        Raises TicketClosed, and InvalidInput when a customer writes an internal one.
        """
        if self.status is Status.CLOSED:
            raise TicketClosed(_wire_name(self.status), _wire_name(self.status))
        if visibility is Visibility.INTERNAL and not by.is_agent:
            raise InvalidInput(violations=[("visibility", "customers write public comments only")])
        self._record(CommentAdded(comment_id, visibility), by.user_id, at)
        comment = Comment(comment_id, self.id, self.last_sequence, by.user_id, text, visibility, at)
        from_customer = by.user_id == self.requester_id and visibility is Visibility.PUBLIC
        starts = self.status is Status.NEW and by.is_agent
        starts_again = self.status is Status.SOLVED and from_customer
        if starts or starts_again:
            self._become(replace(self.content, status=Status.OPEN), by, at)
        self.updated_at = at
        return comment

    def close_by_itself(self, at: datetime) -> None:
        """Close for good what was solved and not opened again since. Raises TransitionNotAllowed."""
        must_allow(self.status, Status.CLOSED)
        system = Person(self.organization_id, "", is_agent=True)
        self._become(replace(self.content, status=Status.CLOSED), system, at)

    def _due_after(self, changes: Changes, terms: Terms) -> datetime | None:
        before = self.content
        if changes.due is not None:
            return changes.due.at
        if changes.priority is None or before.priority not in terms or changes.priority not in terms:
            return before.due_at
        follows = before.due_at == self.created_at + terms[before.priority]
        return self.created_at + terms[changes.priority] if follows else before.due_at

    def _status_after(self, changes: Changes) -> Status:
        now = self.status
        # A ticket that is being given to an agent counts as open already.
        start = Status.OPEN if now is Status.NEW and changes.assignee_id else now
        if changes.status is None or changes.status is now:
            return start
        must_allow(start, changes.status)
        return changes.status

    def _become(self, after: Content, by: Person, at: datetime) -> None:
        before, self.content = self.content, after
        if after.status is not before.status:
            self._set_times(after.status, at)
        texts = after.as_texts()
        for name, text in before.as_texts().items():
            if text != texts[name]:
                self._record(FieldChanged(name, text, texts[name]), by.user_id, at)
        self.updated_at = at

    def _set_times(self, status: Status, at: datetime) -> None:
        if status is Status.CLOSED:
            self.closed_at = at
        else:
            self.solved_at = at if status is Status.SOLVED else None

    def _record(self, happening: Happening, actor_id: str, at: datetime) -> None:
        self.last_sequence += 1
        self.events.append(Event(self.last_sequence, actor_id, at, happening))


def must_be_allowed_to_open(person: Person, *, requester_id: str, priority: Priority) -> None:
    """Customers open tickets for themselves, and none as urgent. Raises InvalidInput."""
    violations: list[Violation] = []
    if not requester_id:
        violations.append(("requester_id", "is required when nobody is signed in"))
    elif requester_id != person.user_id and not person.is_agent:
        violations.append(("requester_id", "only agents may open a ticket for somebody else"))
    if priority is Priority.URGENT and not person.is_agent:
        violations.append(URGENT_VIOLATION)
    if violations:
        raise InvalidInput(violations=violations)


def _not_for_customers(before: Content, after: Content, changes: Changes) -> list[Violation]:
    violations: list[Violation] = []
    # One that moves with the priority is not of their choice.
    if changes.due is not None and changes.due.at != before.due_at:
        violations.append(("due_at", "only agents may say when a ticket is due"))
    if after.assignee_id != before.assignee_id:
        violations.append(("assignee_id", "only agents may give a ticket to somebody"))
    if after.priority is Priority.URGENT and before.priority is not Priority.URGENT:
        violations.append(URGENT_VIOLATION)
    reopens = before.status is Status.SOLVED and after.status is Status.OPEN
    if after.status is not before.status and after.status is not Status.SOLVED and not reopens:
        violations.append(("status", "customers may set SOLVED, and OPEN again after that"))
    return violations


def _or(wanted: T | None, current: T) -> T:
    return current if wanted is None else wanted

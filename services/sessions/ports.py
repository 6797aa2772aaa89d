"""What the use cases need from outside, in the domain's words."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from services.common.context import IdempotencyKey
from services.sessions.domain import Author, Conversation, Message, State, StoredEvent


@dataclass(frozen=True, slots=True)
class ConversationCursor:
    """The last conversation of a page, in the order of listing: last active first."""

    last_activity_at: datetime
    conversation_id: str


class Conversations(Protocol):
    """The conversations of one organization."""

    async def add(self, conversation: Conversation) -> None:
        """Keep a new conversation and its entries."""

    async def find(self, conversation_id: str) -> Conversation | None:
        """Read without locking."""

    async def lock(self, conversation_id: str) -> Conversation | None:
        """Read and hold against every other writer until the unit of work ends."""

    async def lock_idle(self, at: datetime, limit: int) -> list[Conversation]:
        """Lock at most `limit` open conversations of any organization whose time is up, passing over locked ones."""

    async def save(self, conversation: Conversation) -> None:
        """Write a locked conversation and the entries that happened since."""

    async def page(
        self, *, customer_id: str | None, state: State | None, after: ConversationCursor | None, limit: int
    ) -> list[Conversation]:
        """At most `limit` conversations, last active first; of all customers if `customer_id` is None."""


class Messages(Protocol):
    """The messages of one organization."""

    async def add(self, message: Message) -> None:
        """Keep a new message."""

    async def find(self, message_id: str) -> Message | None:
        """Read one."""

    async def save_rating(self, message: Message) -> None:
        """Write the rating of a message."""

    async def page(self, conversation_id: str, *, after_offset: int, limit: int) -> list[Message]:
        """At most `limit` messages added after an offset, oldest first."""

    async def newest(self, conversation_id: str, *, before_offset: int | None, limit: int) -> list[Message]:
        """At most `limit` messages added before an offset, newest first."""

    async def token_counts(self, message_ids: Sequence[str], model: str) -> dict[str, int]:
        """The counts that are known, by message."""

    async def keep_token_counts(self, counts: Mapping[str, int], model: str) -> None:
        """Keep counts, by message; those kept already stay."""


class Events(Protocol):
    """The logs of one organization's conversations; entries get there by saving a conversation."""

    async def after(self, conversation_id: str, offset: int, limit: int) -> list[StoredEvent]:
        """At most `limit` entries that follow an offset, in order and without gaps."""

    async def open_proposal(self, conversation_id: str) -> int | None:
        """Offset of the newest proposed action, if nothing settled it since."""


class Idempotency(Protocol):
    """What request_ids stood for."""

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        """Take the key for a resource; the resource that has it already, or None. Raises RequestIdReused."""


class Outbox(Protocol):
    """Changes that other services are told of, after the commit and at least once."""

    async def conversation_closed(self, conversation: Conversation) -> None:
        """Tell that a conversation closed."""

    async def message_rated(self, conversation: Conversation, message: Message) -> None:
        """Tell that an answer was rated."""


class UnitOfWork(Protocol):
    """One transaction for one organization; leaving without commit rolls back."""

    @property
    def conversations(self) -> Conversations: ...
    @property
    def messages(self) -> Messages: ...
    @property
    def events(self) -> Events: ...
    @property
    def idempotency(self) -> Idempotency: ...
    @property
    def outbox(self) -> Outbox: ...

    async def commit(self) -> None:
        """Make it last, then announce the new entries to whoever watches."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class UnitsOfWork(Protocol):
    """Begins units of work."""

    def of(self, organization_id: str) -> UnitOfWork:
        """One that sees one organization."""

    def of_system(self) -> UnitOfWork:
        """One that sees all organizations, for work that belongs to none."""


class EventLog(Protocol):
    """The logs of all organizations, for the one reader of this process."""

    async def missing(self, positions: Mapping[str, int], limit: int) -> list[StoredEvent]:
        """At most `limit` entries of each conversation that follow its position, ordered by conversation and offset."""


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody types, or stopped. `user_id` is empty for the assistant."""

    conversation_id: str
    author: Author
    user_id: str
    typing: bool


@dataclass(frozen=True, slots=True)
class Appended:
    """Entries that were committed to one conversation, without gaps."""

    events: tuple[StoredEvent, ...]


@dataclass(frozen=True, slots=True)
class Listening:
    """From here on notices are heard; those announced before may have been missed."""


Notice = Appended | Typing


class Announcer(Protocol):
    """Tells every process what happened, as well as it can: never waits, never fails, may lose."""

    def announce(self, notice: Notice) -> None: ...


class Notices(Protocol):
    """What the announcers of all processes tell; some may be missing, late or out of order."""

    def listen(self) -> AsyncIterator[Notice | Listening]:
        """Notices, after each time that listening began, until the connection is lost, which raises ConnectionError."""


class TokenCounter(Protocol):
    """The tokenizers of the models. Every method raises TokenizerUnavailable."""

    async def default_model(self) -> str:
        """Name of the model that counts when none is asked for."""

    async def count(self, model: str, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""

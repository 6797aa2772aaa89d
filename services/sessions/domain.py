"""A conversation and what can happen in it. Everything that happens becomes an entry of its log."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from services.sessions.errors import AuthorNotAllowed, ConversationClosed, NotAnAnswer

DEFAULT_IDLE_TIMEOUT = timedelta(minutes=30)
TITLE_LENGTH = 80


class State(StrEnum):
    """Where a conversation stands."""

    OPEN = "open"
    CLOSED = "closed"
    EXPIRED = "expired"


class Responder(StrEnum):
    """Who answers the customer."""

    ASSISTANT = "assistant"
    HUMAN = "human"


class Author(StrEnum):
    """Who wrote a message."""

    CUSTOMER = "customer"
    ASSISTANT = "assistant"
    AGENT = "agent"
    SYSTEM = "system"


class Rating(StrEnum):
    """What a customer thinks of an answer."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that an answer rests on."""

    article_id: str
    title: str
    passage: str
    url: str
    passage_id: str
    article_version: int
    heading: str


@dataclass(slots=True)
class Message:
    """One message; only its rating ever changes. `offset` is that of the entry that added it."""

    id: str
    conversation_id: str
    author: Author
    user_id: str
    text: str
    citations: tuple[Citation, ...]
    turn_id: str
    rating: Rating | None
    created_at: datetime
    offset: int


@dataclass(frozen=True, slots=True)
class MessageAdded:
    """A message is whole."""

    kind: ClassVar[str] = "message_added"

    message: Message


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """Something the orchestrator tells of a turn; `body` is its wire form, which only the mapping reads."""

    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class TicketLinked:
    """A ticket was linked."""

    kind: ClassVar[str] = "ticket_linked"

    ticket_id: str
    ticket_number: int
    subject: str


@dataclass(frozen=True, slots=True)
class ResponderChanged:
    """Another answers from now on."""

    kind: ClassVar[str] = "responder_changed"

    responder: Responder


@dataclass(frozen=True, slots=True)
class MessageRated:
    """A message was rated; None takes the rating back."""

    kind: ClassVar[str] = "message_rated"

    message_id: str
    rating: Rating | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The conversation closed, by somebody or by itself."""

    kind: ClassVar[str] = "conversation_closed"

    expired: bool


ACTION_PROPOSED = "action_proposed"
PROPOSAL_RESOLVED = "proposal_resolved"

Event = MessageAdded | TurnEvent | TicketLinked | ResponderChanged | MessageRated | Closed


@dataclass(frozen=True, slots=True)
class Entry:
    """An event at its place in the log of a conversation."""

    offset: int
    occurred_at: datetime
    turn_id: str
    event: Event


# Identity, not content, makes two of these equal: one object is shared by every stream that sends it.
@dataclass(frozen=True, slots=True, eq=False)
class StoredEvent:
    """An entry as it is kept and sent: `payload` is its wire form, `closes` says that live streams end after it."""

    conversation_id: str
    offset: int
    payload: bytes
    closes: bool


@dataclass
class Conversation:
    """A conversation between a customer and an organization, held under its lock while it changes.

    `entries` are those that happened since it was loaded; saving writes them with the rest in one transaction.
    """

    id: str
    organization_id: str
    customer_id: str
    title: str
    state: State
    responder: Responder
    ticket_ids: tuple[str, ...]
    idle_timeout: timedelta
    last_offset: int
    created_at: datetime
    last_activity_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        *,
        conversation_id: str,
        organization_id: str,
        customer_id: str,
        title: str,
        idle_timeout: timedelta | None,
        at: datetime,
    ) -> "Conversation":
        """A new, open conversation that the assistant answers."""
        timeout = idle_timeout or DEFAULT_IDLE_TIMEOUT
        return cls(
            id=conversation_id,
            organization_id=organization_id,
            customer_id=customer_id,
            title=title,
            state=State.OPEN,
            responder=Responder.ASSISTANT,
            ticket_ids=(),
            idle_timeout=timeout,
            last_offset=0,
            created_at=at,
            last_activity_at=at,
            expires_at=at + timeout,
            closed_at=None,
        )

    @property
    def is_open(self) -> bool:
        """True while messages may be added."""
        return self.state is State.OPEN

    def add_message(
        self,
        *,
        message_id: str,
        author: Author,
        user_id: str,
        text: str,
        at: datetime,
        citations: tuple[Citation, ...] = (),
        turn_id: str = "",
    ) -> Message:
        """Add a whole message. An agent who writes takes the conversation over. Raises ConversationClosed."""
        self.must_be_open()
        if author is Author.CUSTOMER and user_id != self.customer_id:
            raise AuthorNotAllowed("the acting person is not the customer of this conversation")
        message = Message(
            id=message_id,
            conversation_id=self.id,
            author=author,
            user_id=user_id if author in (Author.CUSTOMER, Author.AGENT) else "",
            text=text,
            citations=citations,
            turn_id=turn_id,
            rating=None,
            created_at=at,
            offset=self.last_offset + 1,
        )
        self.title = self.title or title_of(text)
        self.last_activity_at = at
        self._stay_alive(at)
        self._record(MessageAdded(message), at, turn_id)
        if author is Author.AGENT:
            self.answer_by(Responder.HUMAN, at=at)
        return message

    def add_turn_events(self, events: list[tuple[str, TurnEvent]], *, at: datetime) -> None:
        """Add events of a turn, each with the turn's identifier. Raises ConversationClosed."""
        self.must_be_open()
        self._stay_alive(at)
        for turn_id, event in events:
            self._record(event, at, turn_id)

    def answer_by(self, responder: Responder, *, at: datetime) -> None:
        """Set who answers; nothing happens when they do already. Raises ConversationClosed."""
        self.must_be_open()
        if responder is not self.responder:
            self.responder = responder
            self._record(ResponderChanged(responder), at)

    def link_ticket(self, ticket: TicketLinked, *, at: datetime) -> None:
        """Link a ticket, once; also after the conversation closed, because a ticket may be opened from it later."""
        if ticket.ticket_id not in self.ticket_ids:
            self.ticket_ids = (*self.ticket_ids, ticket.ticket_id)
            self._record(ticket, at)

    def rate(self, message: Message, rating: Rating | None, *, at: datetime) -> bool:
        """Rate an answer; also after closing. True if that changed anything. Raises NotAnAnswer."""
        if message.author is not Author.ASSISTANT:
            raise NotAnAnswer
        if message.rating is rating:
            return False
        message.rating = rating
        self._record(MessageRated(message.id, rating), at)
        return True

    def close(self, *, at: datetime, expired: bool = False) -> bool:
        """Close; True if it was open."""
        if not self.is_open:
            return False
        self.state = State.EXPIRED if expired else State.CLOSED
        self.closed_at = at
        self._record(Closed(expired=expired), at)
        return True

    def must_be_open(self) -> None:
        """Raises ConversationClosed."""
        if not self.is_open:
            raise ConversationClosed

    def _stay_alive(self, at: datetime) -> None:
        self.expires_at = at + self.idle_timeout

    def _record(self, event: Event, at: datetime, turn_id: str = "") -> None:
        self.last_offset += 1
        self.entries.append(Entry(self.last_offset, at, turn_id, event))


def title_of(text: str) -> str:
    """The start of a message, on one line, cut at a word where there is one."""
    line = " ".join(text.split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    return (cut.rpartition(" ")[0] or cut) + "…"

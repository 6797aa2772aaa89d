"""What the orchestrator needs from outside, in the domain's words."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from services.common.context import IdempotencyKey
from services.common.spending import Granted, Usage
from services.orchestrator.answering.passages import Passage
from services.orchestrator.answering.ranking import Vector
from services.orchestrator.domain import (
    CallFigures,
    Citation,
    Conversation,
    Message,
    Outcome,
    Proposal,
    ProposalState,
    Responder,
    Step,
    Turn,
    TurnState,
    UsageReport,
)


class Turns(Protocol):
    """The turns of one organization."""

    async def add(self, turn: Turn) -> None:
        """Keep a new turn. Raises TurnInProgress when the conversation has one that has not ended."""

    async def attach_message(self, turn_id: str, message: Message) -> None:
        """Remember the message that the turn answers."""

    async def get(self, turn_id: str) -> Turn:
        """Read one with its steps. Raises TurnNotFound."""

    async def begin_streaming(self, turn_id: str, worker: str) -> bool:
        """Mark that pieces may reach the customer. False when the worker does not hold the turn any more."""

    async def conclude(self, turn_id: str, worker: str, outcome: Outcome) -> bool:
        """Keep what the turn came to; from here on it cannot be cancelled. False when the worker lost the turn."""

    async def end(self, turn_id: str, worker: str, ending: "Ending") -> bool:
        """End a turn that the worker holds, with its steps. False when it does not hold it any more."""

    async def cancel(self, turn_id: str, at: datetime) -> bool:
        """Cancel a turn that waits or runs and has come to nothing yet; False when there is no such turn."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ended."""

    state: TurnState
    at: datetime
    total: float
    steps: tuple[Step, ...]
    error_reason: str = ""
    outcome: Outcome | None = None


class Proposals(Protocol):
    """The proposals of one organization."""

    async def add(self, proposal: Proposal) -> None:
        """Keep a new one; an open one of the same conversation is overtaken."""

    async def find_open(self, conversation_id: str) -> Proposal | None:
        """The one that waits for the customer's word."""

    async def settle(self, proposal_id: str, state: ProposalState) -> None:
        """Close one; settling it again changes nothing."""


class UsageReports(Protocol):
    """What turns of one organization used, until the ledger has it."""

    async def add(self, report: UsageReport, due_at: datetime) -> None:
        """Publish it once the transaction is committed, and keep it; adding it again changes nothing."""


class Figures(Protocol):
    """What turns of one organization showed of models, for whoever judges these."""

    async def add(self, turn_id: str, calls: Sequence[CallFigures], *, shadow: bool = False) -> None:
        """Publish it once the transaction is committed. `shadow`: of calls that were repeated, and shown to nobody."""


class Requests(Protocol):
    """The request_ids seen."""

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        """None if the key is new; else the resource it stood for already. Raises RequestIdReused."""


class Work(Protocol):
    """One transaction; leaving without commit rolls back."""

    @property
    def turns(self) -> Turns: ...

    @property
    def proposals(self) -> Proposals: ...

    @property
    def requests(self) -> Requests: ...

    @property
    def reports(self) -> UsageReports: ...

    @property
    def figures(self) -> Figures: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def commit(self) -> None: ...


class WorkFor(Protocol):
    """Begins a unit of work for an organization."""

    def __call__(self, organization_id: str) -> Work: ...


class UnsentReports(Protocol):
    """The reports of all organizations that the ledger has not confirmed."""

    async def take(self, at: datetime, *, lease_until: datetime, limit: int) -> list[UsageReport]:
        """At most `limit` due ones, longest due first; nobody else gets them until the lease ends."""

    async def postpone(self, reports: Sequence[UsageReport], until: datetime) -> None:
        """Have reports that were taken sent then."""

    async def remove(self, reports: Sequence[UsageReport]) -> None:
        """The ledger has them."""


class Budgets(Protocol):
    """The usage service; every call acts for the person in the calling context."""

    async def reserve(self, reservation_id: str, turn: Turn, model: str, lease_seconds: float) -> Granted:
        """Hold what a turn may use. Raises BudgetExceeded, DependencyUnavailable."""

    async def extend(self, reservation_id: str, wanted: int, lease_seconds: float) -> int:
        """Hold more, as a whole; returns what is held. Raises BudgetExceeded, DependencyUnavailable."""

    async def settle(self, reservation_id: str, report: UsageReport | None) -> None:
        """End a reservation, with what was used. Raises DependencyUnavailable."""

    async def record(self, report: UsageReport) -> None:
        """Add a report to the ledger; again changes nothing. Raises DependencyUnavailable."""


class TurnQueue(Protocol):
    """The turns of all organizations that wait for a worker."""

    async def claim(self, worker: str, now: datetime, lease_until: datetime) -> Turn | None:
        """Take up the oldest turn that waits or whose worker let its lease run out; `attempt` is counted up."""

    async def renew(self, turn_id: str, worker: str, lease_until: datetime) -> bool:
        """Hold the turn longer; False when it was cancelled or another worker has it."""

    async def waiting(self) -> int:
        """How many turns wait for a worker."""


class Sessions(Protocol):
    """Conversations; every call acts for the person in the calling context."""

    async def conversation(self, conversation_id: str) -> Conversation:
        """Raises ConversationNotFound."""

    async def append_customer_message(self, request_id: str, conversation_id: str, text: str, turn_id: str) -> Message:
        """Record what the customer wrote. Raises ConversationNotFound, ConversationClosed."""

    async def append_answer(
        self, request_id: str, conversation_id: str, text: str, citations: Sequence[Citation], turn_id: str
    ) -> Message:
        """Record the assistant's whole answer."""

    async def append_events(
        self, request_id: str, conversation_id: str, turn_id: str, events: Sequence["TurnEvent"]
    ) -> None:
        """Record events of a turn, all or none."""

    async def context(self, conversation_id: str, maximum_tokens: int) -> list[Message]:
        """The newest messages that fit, oldest first."""

    async def messages(self, conversation_id: str, limit: int) -> list[Message]:
        """The first messages, oldest first."""

    async def set_typing(self, conversation_id: str, *, typing: bool) -> None:
        """Tell whether the assistant types."""

    async def set_responder(self, conversation_id: str, responder: Responder) -> None:
        """Say who answers from now on."""

    async def link_ticket(self, conversation_id: str, ticket: "OpenedTicket") -> None:
        """Link a ticket; linking it again changes nothing."""

    def watch(self, conversation_id: str, from_offset: int, turn_id: str) -> AsyncGenerator["TurnEvent", None]:
        """The events of one turn after an offset, as they happen; the caller closes the iterator."""


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """A worker took the turn up."""

    message_id: str


@dataclass(frozen=True, slots=True)
class TextWritten:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class PassageCited:
    """The answer cites a passage; `number` counts the markers in the text from 1."""

    number: int
    citation: Citation


@dataclass(frozen=True, slots=True)
class TicketProposed:
    """A ticket waits for the customer's word."""

    proposal_id: str
    subject: str


@dataclass(frozen=True, slots=True)
class ProposalSettled:
    """The customer's word was carried out."""

    proposal_id: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class TurnConcluded:
    """The turn ended well."""

    message_id: str
    decision: str


@dataclass(frozen=True, slots=True)
class TurnBroken:
    """The turn ended without an answer."""

    reason: str
    retryable: bool
    retry_after_seconds: float


TurnEvent = TurnBegan | TextWritten | PassageCited | TicketProposed | ProposalSettled | TurnConcluded | TurnBroken


@dataclass(frozen=True, slots=True)
class OpenedTicket:
    """A ticket that was opened."""

    id: str
    number: int
    subject: str


class Tickets(Protocol):
    """Tickets; every call acts for the person in the calling context."""

    async def open(
        self, request_id: str, conversation_id: str, subject: str, description: str, *, handoff: bool
    ) -> OpenedTicket:
        """Open a ticket; the same request_id opens it once."""

    async def due(self, conversation_id: str) -> datetime | None:
        """When the first of the conversation's unsolved tickets is due, if any is. Raises DependencyUnavailable."""


class Knowledge(Protocol):
    """The help centre."""

    async def search(self, query: str, limit: int) -> list[Passage]:
        """The passages nearest to a query, best first."""


class Embedder(Protocol):
    """Turns texts into vectors of length one, by two models whose vectors cannot be compared."""

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector a text, in order."""

    async def embed_for_search(self, texts: Sequence[str], questions: bool) -> list[Vector]:
        """One vector a text, in order, by a model trained to find answers to questions."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a turn's calls of the model go."""

    model: str
    replica: str
    reason: str
    # What it waited for room, and the place in the router's queue at which it began; 0 for none.
    waited_seconds: float = 0.0
    place: int = 0
    # Set when a better model may be asked next: below this mean log probability of its tokens an answer is a guess.
    escalate_below: float | None = None
    # Seconds without a word after which a second replica may be asked; 0 for none.
    hedge_after_seconds: float = 0.0
    # In the engine's queue lower goes first.
    priority: int = 0
    # Version of the model there; empty when it is not known.
    version: str = ""
    # Of 100 turns so many are repeated for a version of the model that is in the shadow.
    shadow_percent: int = 0
    # Whether no other replica may be asked in its place.
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Mean natural-log probability of each target after its context, and what asking took."""

    scores: tuple[float, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that the model wrote since the piece before; the last has the usage of the call."""

    text: str
    usage: Usage | None = None
    tokens: int = 0
    # Natural-log probabilities of its tokens, if the route wants to know how sure the model is.
    log_probabilities: tuple[float, ...] = ()
    # Who wrote it, and the version of the model there.
    replica: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked. `schema` is a JSON schema that its answer must follow, as JSON; empty for free text."""

    system: str
    user: str
    maximum_tokens: int
    schema: str = ""


class Ability(StrEnum):
    """What a turn wants of a model."""

    RANK = "rank"
    WORD = "word"


@dataclass(frozen=True, slots=True)
class Need:
    """What a call asks of its model, for the router; empty fields ask for nothing.

    With a `prompt`, prompts that begin alike are sent where that beginning is in the cache. `maximum_cost` is of prompt
    and longest answer, in the currency of the inference application's file; `within_seconds` for the whole answer.
    """

    organization_id: str = ""
    conversation_id: str = ""
    ability: Ability | None = None
    prompt: Prompt | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    within_seconds: float | None = None
    maximum_cost: float | None = None
    # The model whose answer was not good enough; only better ones come into question.
    escalate_from: str = ""
    # Rather than be refused, it waits for room until its time is over.
    may_wait: bool = False
    # Lower is served first, in the router's queue and in the engine's.
    priority: int = 0


class Models(Protocol):
    """Language models behind the router."""

    async def route(self, need: Need) -> Route:
        """Choose model and replica. Raises ModelOverloaded, ModelUnavailable, ModelNotFound."""

    async def score(self, route: Route, pairs: Sequence[tuple[str, str]]) -> Likelihoods:
        """How likely each target is after its context. Raises ModelOverloaded, ModelUnavailable."""

    def write(self, route: Route, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Write an answer piece by piece; closing the iterator frees the engine's slot.

        A replica that is slow to begin, or fails before it has, is made up for by another one of the same model.
        Raises ModelOverloaded, ModelUnavailable.
        """

    def shadow(self, route: Route, seconds: float) -> AsyncGenerator[Route, None]:
        """Where what went along this route may be repeated, within `seconds`, for the version that is in the shadow.

        The iterator has one route, and ends when the repetition must end, as customers wait or the version has left the
        shadow; the caller closes it. Raises ModelOverloaded, ModelUnavailable.
        """

"""Turns, their steps and proposals. Knows neither gRPC nor SQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.common.spending import Usage


class TurnState(StrEnum):
    """Where a turn stands."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True when nothing changes the turn any more."""
        return self in (TurnState.FINISHED, TurnState.FAILED, TurnState.CANCELLED)


class Decision(StrEnum):
    """What a turn does."""

    ANSWER = "answer"
    CLARIFY = "clarify"
    TICKET = "ticket"
    HANDOFF = "handoff"


class Responder(StrEnum):
    """Who answers a conversation."""

    ASSISTANT = "assistant"
    HUMAN = "human"


class ProposalState(StrEnum):
    """Where a proposal stands; one conversation has at most one that is open."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    OVERTAKEN = "overtaken"


@dataclass(frozen=True, slots=True)
class Person:
    """The customer a turn acts for, and the API key by which a program spoke for them; empty without one."""

    organization_id: str
    user_id: str
    roles: tuple[str, ...]
    key_id: str = ""


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


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, as sessions keeps it; `author` is "customer", "assistant", "agent" or "system"."""

    id: str
    conversation_id: str
    author: str
    user_id: str
    text: str
    turn_id: str
    created_at: datetime
    offset: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a turn must know of its conversation."""

    id: str
    customer_id: str
    responder: Responder
    open: bool
    # The newest ticket that it is about; empty when none.
    ticket_id: str = ""


@dataclass(frozen=True, slots=True)
class ProposalReply:
    """The customer's word on a proposal."""

    proposal_id: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """A ticket that would be opened after the customer's word."""

    id: str
    conversation_id: str
    turn_id: str
    ticket_subject: str
    state: ProposalState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a model as its step saw it."""

    # Of the model; empty when it is not known.
    version: str
    # Seconds until its first token, or its scores; None when none came.
    first_token: float | None = None
    # After the first; 0 when there was but one.
    tokens_per_second: float = 0.0
    # Whether what came of it rests on the passages; None while that is not known.
    grounded: bool | None = None


@dataclass(frozen=True, slots=True)
class CallFigures:
    """A call with its step and model, why it failed and what it took, for whoever judges models."""

    step: str
    model: str
    call: Call
    error_reason: str = ""
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a turn; times in seconds, `started_after` counted from when the message came. `call` is not kept."""

    name: str
    started_after: float
    elapsed: float
    model: str = ""
    usage: Usage | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    error_reason: str = ""
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What a step of a try of a turn used of a model, for the ledger; `elapsed` in seconds."""

    id: str
    occurred_at: datetime
    user_id: str
    key_id: str
    conversation_id: str
    ticket_id: str
    turn_id: str
    step: str
    model: str
    usage: Usage
    elapsed: float
    reservation_id: str


@dataclass(frozen=True, slots=True)
class UsageReport:
    """All that one try of a turn used; it reaches the ledger whole and once. The same identifier for every try."""

    id: str
    organization_id: str
    user_id: str
    lines: tuple[UsageLine, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a turn came to, before it is told: with it in the store, a dead worker's turn is only told again.

    `resolved` is the word on an earlier proposal that this turn carried out.
    """

    decision: Decision
    text: str
    citations: tuple[Citation, ...] = ()
    proposal: Proposal | None = None
    resolved: ProposalReply | None = None
    ticket_id: str = ""
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    # Seconds from the message to the first piece of text; None until it is told.
    first_token: float | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The work on one message. `attempt` counts the workers that took it up."""

    id: str
    conversation_id: str
    customer: Person
    text: str
    state: TurnState
    created_at: datetime
    trace_id: str
    traceparent: str = ""
    # The ticket that its conversation is about; empty when none.
    ticket_id: str = ""
    message_id: str = ""
    message_offset: int = 0
    reply: ProposalReply | None = None
    attempt: int = 0
    # True when a piece of the answer may have reached the customer without the whole being in the store.
    streaming: bool = False
    outcome: Outcome | None = None
    steps: tuple[Step, ...] = ()
    total: float | None = None
    error_reason: str = ""
    ended_at: datetime | None = None


def derived_id(turn_id: str, purpose: str) -> str:
    """A request_id for a call that the turn makes; the same for every worker that makes it."""
    return f"{turn_id}:{purpose}"

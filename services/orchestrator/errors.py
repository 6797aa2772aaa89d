"""What can go wrong with turns, as callers are told."""

from services.common.errors import (
    Cancelled,
    DomainError,
    Exhausted,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from services.common.spending import BudgetExceeded


class TurnNotFound(NotFound):
    """There is none, or it is another person's or tenant's."""

    reason = "TURN_NOT_FOUND"
    message = "There is no such turn."
    resource_type = "turn"


class NotTheCustomer(InvalidInput):
    """Staff may read the conversation, but what is sent here speaks for its customer."""

    def __init__(self) -> None:
        super().__init__(
            violations=[("conversation_id", "is another customer's conversation; staff write to it by AppendMessage")]
        )


class TurnInProgress(PreconditionFailed):
    """One turn a conversation at a time."""

    reason = "TURN_IN_PROGRESS"
    message = "The assistant is still answering; cancel that or wait for it."


class ProposalNotFound(NotFound):
    """There is no such proposal in the conversation, or it is settled already."""

    reason = "PROPOSAL_NOT_FOUND"
    message = "There is no such open proposal."
    resource_type = "proposal"


class TurnLost(Unavailable):
    """Its worker died after the customer had seen a part of the answer, or it died again and again."""

    reason = "TURN_LOST"
    message = "The answer was interrupted; please send the message again."


class TurnCancelled(Cancelled):
    """Somebody stopped the turn."""

    reason = "TURN_CANCELLED"
    message = "The turn was cancelled."


class TurnTimedOut(Unavailable):
    """The turn or one of its steps took longer than it may."""

    reason = "DEADLINE_EXCEEDED"
    message = "The answer took too long; please send the message again."


class ModelOverloaded(Exhausted):
    """Every place in the model's queue, or in the queue of turns before it, is taken."""

    reason = "MODEL_OVERLOADED"
    message = "The assistant is busy; try again in a moment."


class ModelUnavailable(Unavailable):
    """No replica of the model is ready."""

    reason = "MODEL_UNAVAILABLE"
    message = "The assistant's model is not ready; try again in a moment."


class PromptQuarantined(PreconditionFailed):
    """The model failed twice on this prompt, and is not given it again."""

    reason = "PROMPT_QUARANTINED"
    message = "The assistant cannot answer this message; put it in other words."


class ModelNotFound(Unavailable):
    """No model can do what is asked, at that length and cost; a turn does without."""

    reason = "MODEL_NOT_FOUND"
    message = "No model of the assistant can do that."


class ConversationNotFound(NotFound):
    """There is none, or it is another person's or tenant's."""

    reason = "CONVERSATION_NOT_FOUND"
    message = "There is no such conversation."
    resource_type = "conversation"


class ConversationClosed(PreconditionFailed):
    """Nothing can be written any more."""

    reason = "CONVERSATION_CLOSED"
    message = "The conversation is closed; start a new one."


class DependencyUnavailable(Unavailable):
    """A service that the turn needs does not answer."""


_BY_REASON: dict[str, type[DomainError]] = {
    kind.reason: kind
    for kind in (
        TurnLost,
        TurnCancelled,
        TurnTimedOut,
        ModelOverloaded,
        ModelUnavailable,
        ModelNotFound,
        PromptQuarantined,
        ConversationNotFound,
        ConversationClosed,
        BudgetExceeded,
        DependencyUnavailable,
    )
}

RETRY_AFTER_SECONDS = 2.0


def knows(reason: str) -> bool:
    """True when the reason of another service's failure means something to a turn."""
    return reason in _BY_REASON


def by_reason(reason: str, retry_after_seconds: float | None = None) -> DomainError:
    """The failure a turn ended with, to be raised to who follows it."""
    kind = _BY_REASON.get(reason, DomainError)
    if issubclass(kind, Exhausted | Unavailable):
        return kind(retry_after_seconds=retry_after_seconds or RETRY_AFTER_SECONDS)
    return kind()


def is_retryable(error: DomainError) -> bool:
    """True when sending the message again may help."""
    return isinstance(error, Exhausted | Unavailable)

"""What comes back from models, in plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.common.spending import Usage


@dataclass(frozen=True, slots=True)
class Token:
    """A token as text, its natural-log probability, and the likeliest ones in its place."""

    text: str
    log_probability: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that was written since the piece before; the first of an answer is empty."""

    text: str
    tokens: int = 0
    log_probabilities: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool; the arguments are JSON text."""

    name: str
    arguments: str


class FinishReason(StrEnum):
    """Why an answer ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class End:
    """The end of an answer."""

    reason: FinishReason
    usage: Usage
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the requests of one call go; how long it waited for room, and the place it began at, 0 when it did not."""

    model: str
    replica: str
    waited_seconds: float = 0.0
    queued_at: int = 0


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors in the order of the texts, and the tokens of all of them."""

    model: str
    vectors: Sequence[Sequence[float]]
    tokens: int


@dataclass(frozen=True, slots=True)
class Line:
    """One use of a model, for the ledger; `elapsed` in seconds."""

    step: str
    model: str
    usage: Usage
    elapsed: float

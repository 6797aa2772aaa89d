"""The interface of engines, in plain values: no protobuf, no vLLM."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Role(StrEnum):
    """Who speaks in a prompt."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the answer must look like: exactly one is set."""

    json_schema: str | None = None
    regex: str | None = None
    grammar: str | None = None
    choice: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything one answer needs. `priority`: lower goes first. `answer_prefix` is put into the model's mouth.

    `log_probabilities`: how many alternatives are wanted beside each token's own; None for none at all. `ignore_end`:
    write on until `max_tokens`.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_end: bool = False
    constraint: Constraint | None = None
    priority: int = 0
    answer_prefix: str = ""
    adapter: str = ""
    log_probabilities: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogProbability:
    """A token as text, its natural-log probability, and the likeliest ones in its place."""

    token: str
    log_probability: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the model sees it: text with its special tokens, and their number."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """Text written since the delta before; `text` may be empty while a character is incomplete."""

    text: str
    tokens: int
    log_probabilities: tuple[TokenLogProbability, ...] = ()


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call; the cached ones are among the prompt's."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer."""

    reason: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True)
class Pair:
    """A target whose likelihood after a context is asked for."""

    context: str
    target: str


@dataclass(frozen=True, slots=True)
class Score:
    """Mean natural-log probability of the target's tokens, and their number."""

    mean_log_probability: float
    target_tokens: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores in the order of the pairs."""

    scores: tuple[Score, ...]
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Requests the engine works on and those waiting in it; share of its KV cache in use, 0 to 1; `degraded` while it
    cannot be relied on."""

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    degraded: bool = False


class EngineDead(Exception):
    """The engine cannot answer any more; its replica must be replaced."""


class Engine(Protocol):
    """A model that writes. Every method but `start` needs a started engine."""

    async def start(self) -> None:
        """Load the model; takes from seconds to minutes."""

    def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Deltas as they are written, then one Finished. Closing the generator frees the engine's slot.

        Raises PromptTooLong, ModelNotFound for an unknown adapter, InvalidInput for a constraint that cannot be
        compiled or for what this engine cannot do, EngineDead.
        """

    async def score(self, pairs: Sequence[Pair], *, priority: int) -> Scores:
        """Score all pairs. Raises PromptTooLong, EngineDead."""

    def render(self, prompt: Prompt) -> Rendered:
        """The prompt that `generate` would make. Raises InvalidInput where the template is not known."""

    async def set_adapters(self, adapters: Mapping[str, Path]) -> Mapping[str, str]:
        """Load the LoRA adapters there are from now on, by name, and let go of others; answers being written with those
        that stay are not touched. Returns those that cannot be used, with why; they count as not there."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""

    def load(self) -> EngineLoad:
        """The load now; takes no time."""

    async def check_health(self) -> None:
        """Raise EngineDead if the engine cannot answer."""

    async def stop(self) -> None:
        """End the engine and every process it started."""

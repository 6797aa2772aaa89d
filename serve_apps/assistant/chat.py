"""One answer, from prompt to frames: an engine's deltas, and calls of tools checked on their way."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace

from serve_apps.assistant.engines.base import (
    Delta,
    Engine,
    Finished,
    FinishReason,
    Message,
    Prompt,
    Role,
    TokenLogProbability,
    Usage,
)
from serve_apps.assistant.errors import ToolCallInvalid
from serve_apps.assistant.tools import REPAIR, NotACall, Toolbox, ToolCall, may_become_call


@dataclass(frozen=True, slots=True)
class Started:
    """The engine works on it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end: why, what it took, and the calls of tools if there are any."""

    reason: FinishReason
    usage: Usage
    calls: tuple[ToolCall, ...] = ()
    repaired: bool = False


Frame = Started | Delta | Ended


async def answer(engine: Engine, prompt: Prompt) -> AsyncGenerator[Frame, None]:
    """Frames of an answer without tools: Started, Deltas with text, Ended."""
    pending = _Pending()
    async with aclosing(engine.generate(prompt)) as frames:
        async for frame in _after_start(frames):
            match frame:
                case Started():
                    yield frame
                case Delta():
                    if joined := pending.join(frame):
                        yield joined
                case Finished():
                    yield Ended(frame.reason, frame.usage)


async def answer_with_tools(
    engine: Engine, prompt: Prompt, tools: Toolbox, *, required: bool
) -> AsyncGenerator[Frame, None]:
    """As `answer`, but for a call of tools Ended carries it and no Delta comes. Raises ToolCallInvalid when a second
    attempt fails, too."""
    first = replace(prompt, messages=tools.instruct(prompt.messages))
    if required:
        first = replace(first, constraint=tools.constraint())
    written, usage, reason, is_call = "", Usage(), FinishReason.STOP, True
    pending = _Pending()
    async with aclosing(engine.generate(first)) as frames:
        async for frame in _after_start(frames):
            match frame:
                case Started():
                    yield frame
                case Delta():
                    written += frame.text
                    joined = pending.join(replace(frame, text="") if is_call else frame)
                    if is_call and not (required or may_become_call(written)):
                        # Words after all: what was held back goes out at once.
                        is_call, joined = False, pending.join(Delta(written, 0))
                    if joined:
                        yield joined
                case Finished():
                    usage, reason = frame.usage, frame.reason
    if not is_call or not written.strip():
        yield Ended(reason, usage)
        return
    try:
        yield Ended(FinishReason.TOOL_CALLS, usage, tools.read(written))
    except NotACall as problem:
        calls, second = await _repaired(engine, first, tools, written, str(problem))
        yield Ended(FinishReason.TOOL_CALLS, _sum(usage, second), calls, repaired=True)


async def _repaired(
    engine: Engine, prompt: Prompt, tools: Toolbox, written: str, problem: str
) -> tuple[tuple[ToolCall, ...], Usage]:
    asked = (
        *prompt.messages,
        Message(Role.ASSISTANT, written),
        Message(Role.USER, REPAIR.format(problem=problem)),
    )
    again, usage = "", Usage()
    second = replace(prompt, messages=asked, constraint=tools.constraint(), answer_prefix="")
    async with aclosing(engine.generate(second)) as frames:
        async for frame in frames:
            match frame:
                case Delta(text=text):
                    again += text
                case Finished():
                    usage = frame.usage
    try:
        return tools.read(again), usage
    except NotACall as problem_left:
        raise ToolCallInvalid(metadata={"problem": str(problem_left)}) from None


async def _after_start(frames: AsyncIterator[Delta | Finished]) -> AsyncIterator[Started | Delta | Finished]:
    started = False
    async for frame in frames:
        if not started:
            started = True
            yield Started()
        yield frame


class _Pending:
    """Holds back tokens without text, as of half a character, until there is text to send them with."""

    def __init__(self) -> None:
        self._tokens = 0
        self._log_probabilities: tuple[TokenLogProbability, ...] = ()

    def join(self, delta: Delta) -> Delta | None:
        """The delta with what was held back before it, or None if it has no text itself."""
        self._tokens += delta.tokens
        self._log_probabilities += delta.log_probabilities
        if not delta.text:
            return None
        joined = Delta(delta.text, self._tokens, self._log_probabilities)
        self._tokens, self._log_probabilities = 0, ()
        return joined


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.cached_prompt_tokens + other.cached_prompt_tokens,
        one.completion_tokens + other.completion_tokens,
    )

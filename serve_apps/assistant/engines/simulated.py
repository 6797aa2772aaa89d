"""An engine without a model: words at a fixed pace, for load tests only. Its model's name starts with `simulated-`."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

from serve_apps.assistant.engines.base import (
    Delta,
    EngineLoad,
    Finished,
    FinishReason,
    Pair,
    Prompt,
    Rendered,
    Score,
    Scores,
    Usage,
)
from serve_apps.assistant.errors import PromptTooLong


class SimulatedEngine:
    """`max_running` answers at once; the first token after one time, the others after another, in seconds."""

    def __init__(
        self, *, context_length: int, max_running: int, first_token_seconds: float, token_seconds: float
    ) -> None:
        self._context_length = context_length
        self._max_running = max_running
        self._first = first_token_seconds
        self._next = token_seconds
        self._slots = asyncio.Semaphore(max_running)
        self._running = 0
        self._waiting = 0

    async def start(self) -> None:
        """There is nothing to load."""

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """`max_tokens` words that say what they are."""
        prompt_tokens = sum(self.count_tokens([message.content for message in prompt.messages]))
        if prompt_tokens + prompt.max_tokens > self._context_length:
            raise PromptTooLong(prompt_tokens, prompt.max_tokens, self._context_length)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            await _pause(self._first)
            yield Delta("simulated", 1)
            for number in range(1, prompt.max_tokens):
                await _pause(self._next)
                yield Delta(f" {number}", 1)
        finally:
            self._running -= 1
            self._slots.release()
        yield Finished(FinishReason.LENGTH, Usage(prompt_tokens, 0, prompt.max_tokens))

    async def score(self, pairs: Sequence[Pair], *, priority: int) -> Scores:  # noqa: ARG002 - part of the interface
        """Nothing is likely here: every score is zero."""
        counts = self.count_tokens([pair.target for pair in pairs])
        return Scores(tuple(Score(0.0, count) for count in counts), Usage(prompt_tokens=sum(counts)))

    def render(self, prompt: Prompt) -> Rendered:
        """The contents, a line each, as it has no template."""
        text = "\n".join(message.content for message in prompt.messages)
        return Rendered(text, len(text.split()))

    async def set_adapters(self, adapters: Mapping[str, Path]) -> Mapping[str, str]:
        """It takes none."""
        return dict.fromkeys(adapters, "a simulated engine has no adapters")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words, as it has no tokenizer."""
        return [len(text.split()) for text in texts]

    def load(self) -> EngineLoad:
        """The load now."""
        return EngineLoad(self._running, self._waiting, self._running / self._max_running)

    async def check_health(self) -> None:
        """It cannot die."""

    async def stop(self) -> None:
        """There is nothing to end."""


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)

"""An engine without a model: words at a fixed pace, for load tests only. Its model's name starts with `simulated-`."""

import asyncio
from collections import OrderedDict
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

# Words in a block of the cache.
BLOCK_TOKENS = 16


class SimulatedEngine:
    """`max_running` answers at once; the first token after one time, the others after another, in seconds.

    With `prefill_rate`, in tokens a second, a prompt takes time before that, one prompt after the other, but for its
    beginning that is among the last `cache_tokens` tokens seen.
    """

    def __init__(
        self,
        *,
        context_length: int,
        max_running: int,
        first_token_seconds: float,
        token_seconds: float,
        prefill_rate: float | None = None,
        cache_tokens: int = 0,
    ) -> None:
        self._prefill_rate = prefill_rate
        self._prefill = asyncio.Lock()
        self._cache = PrefixCache(cache_tokens // BLOCK_TOKENS)
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
            cached = await self._compute(prompt)
            await _pause(self._first)
            yield Delta("simulated", 1)
            for number in range(1, prompt.max_tokens):
                await _pause(self._next)
                yield Delta(f" {number}", 1)
        finally:
            self._running -= 1
            self._slots.release()
        yield Finished(FinishReason.LENGTH, Usage(prompt_tokens, cached, prompt.max_tokens))

    async def _compute(self, prompt: Prompt) -> int:
        """Spend the time that the prompt takes; how many of its tokens came from the cache."""
        if self._prefill_rate is None:
            return 0
        words = [word for message in prompt.messages for word in message.content.split()]
        async with self._prefill:
            cached = self._cache.look_up(words)
            await _pause((len(words) - cached) / self._prefill_rate)
        return cached

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


class PrefixCache:
    """Blocks of words, each known by all that stands before its end; the oldest are dropped."""

    def __init__(self, blocks: int) -> None:
        self._most = blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def look_up(self, words: Sequence[str]) -> int:
        """Words of the beginning that were there; all whole blocks are there afterwards."""
        prefixes = [hash(tuple(words[:end])) for end in range(BLOCK_TOKENS, len(words) + 1, BLOCK_TOKENS)]
        known = next((place for place, one in enumerate(prefixes) if one not in self._blocks), len(prefixes))
        for prefix in reversed(prefixes):
            self._blocks[prefix] = None
            self._blocks.move_to_end(prefix)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        return known * BLOCK_TOKENS


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)

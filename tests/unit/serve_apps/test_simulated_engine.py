"""The simulated engine's prefix cache."""

import asyncio
import time

from serve_apps.assistant.engines.base import Finished, Message, Prompt, Role
from serve_apps.assistant.engines.simulated import BLOCK_TOKENS, PrefixCache, SimulatedEngine

WORDS = [f"word{number}" for number in range(4 * BLOCK_TOKENS + 5)]


def test_a_beginning_is_found_up_to_its_last_whole_block() -> None:
    cache = PrefixCache(100)
    assert cache.look_up(WORDS) == 0
    assert cache.look_up(WORDS) == 4 * BLOCK_TOKENS
    assert cache.look_up([*WORDS[: 2 * BLOCK_TOKENS], "other", *WORDS[2 * BLOCK_TOKENS :]]) == 2 * BLOCK_TOKENS
    assert cache.look_up(["other", *WORDS]) == 0


def test_the_oldest_is_dropped() -> None:
    cache = PrefixCache(4)
    cache.look_up(WORDS)
    cache.look_up(["new", *WORDS])
    assert cache.look_up(WORDS) == 0
    assert PrefixCache(0).look_up(WORDS) == PrefixCache(0).look_up(WORDS) == 0


async def test_what_is_cached_takes_no_time() -> None:
    engine = SimulatedEngine(
        context_length=1000,
        max_running=4,
        first_token_seconds=0,
        token_seconds=0,
        prefill_rate=len(WORDS) / 0.2,
        cache_tokens=1000,
    )
    prompt = Prompt((Message(Role.USER, " ".join(WORDS)),), max_tokens=1)

    async def asked() -> tuple[float, int]:
        started = time.monotonic()
        frames = [frame async for frame in engine.generate(prompt)]
        assert isinstance(frames[-1], Finished)
        return time.monotonic() - started, frames[-1].usage.cached_prompt_tokens

    first, cached = await asked()
    assert (first >= 0.2, cached) == (True, 0)
    (again, cached), _ = await asyncio.gather(asked(), asked())
    assert cached == 4 * BLOCK_TOKENS
    assert again < first

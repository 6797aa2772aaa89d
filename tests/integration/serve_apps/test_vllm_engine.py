"""vLLM itself behind the engine interface: what the simulated engine cannot show.

One small engine for all tests, in a process of its own below this one; the model is that of the model cache.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.engines.base import Delta, Finished, Message, Prompt, Role
from serve_apps.assistant.engines.vllm import VllmEngine, environment
from serve_apps.assistant.errors import PromptTooLong
from serve_apps.assistant.models import cache_folder
from serve_apps.assistant.prepare_models import MODEL, prepare, unpack

CONFIG = VllmEngineConfig(
    kind="vllm",
    dtype="float32",
    compiled=False,
    # One place, so that a second request waits for the first to leave.
    max_running=1,
    kv_cache_mebibytes=96,
    max_batched_tokens=512,
    threads=1,
    max_adapters=1,
    max_adapter_rank=8,
)
CONTEXT = 1024
# vLLM's and torch's own, at their import.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest_asyncio.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VllmEngine]:
    folder = cache_folder() / MODEL
    await asyncio.to_thread(prepare, folder, unpack)
    before = dict(os.environ)
    os.environ |= environment(CONFIG, tmp_path_factory.mktemp("vllm"), loopback=True)
    engine = VllmEngine(str(folder), CONFIG, context_length=CONTEXT)
    try:
        await engine.start()
        yield engine
        await engine.stop()
    finally:
        os.environ.clear()
        os.environ.update(before)


def prompt(text: str, max_tokens: int = 8, **more: object) -> Prompt:
    return Prompt((Message(Role.USER, text),), max_tokens=max_tokens, **more)  # type: ignore[arg-type]


async def written(engine: VllmEngine, asked: Prompt) -> tuple[str, list[Delta], Finished]:
    frames = [frame async for frame in engine.generate(asked)]
    deltas = [frame for frame in frames if isinstance(frame, Delta)]
    assert isinstance(frames[-1], Finished)
    return "".join(delta.text for delta in deltas), deltas, frames[-1]


async def until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < 10
        await asyncio.sleep(0.01)


async def test_every_token_comes_with_its_probability(engine: VllmEngine) -> None:
    _, deltas, _ = await written(engine, prompt("Name a fruit.", log_probabilities=2))
    tokens = [token for delta in deltas for token in delta.log_probabilities]
    assert len(tokens) == sum(delta.tokens for delta in deltas)
    for token in tokens:
        assert token.log_probability <= 0
        assert len(token.alternatives) >= 2
        assert token.token in [text for text, _ in token.alternatives]
        # Greedy: what was drawn is the likeliest.
        assert token.log_probability == pytest.approx(max(value for _, value in token.alternatives), abs=1e-6)
    _, plain, _ = await written(engine, prompt("Name a fruit."))
    assert all(delta.log_probabilities == () for delta in plain)


async def test_a_seed_makes_chance_repeatable(engine: VllmEngine) -> None:
    def drawn(seed: int) -> Prompt:
        return prompt("Write a story.", 16, temperature=1.5, seed=seed)

    first, again, other = [(await written(engine, drawn(seed)))[0] for seed in (1, 1, 2)]
    assert first == again
    assert first != other


async def test_a_prompt_that_is_too_long_is_told_the_numbers(engine: VllmEngine) -> None:
    with pytest.raises(PromptTooLong) as raised:
        await written(engine, prompt("word " * 1200, 20))
    assert int(raised.value.metadata["prompt_tokens"]) > 1200
    assert raised.value.metadata["completion_tokens"] == "20"
    assert raised.value.metadata["context_length"] == str(CONTEXT)


async def test_the_prompt_is_shown_as_the_engine_sees_it(engine: VllmEngine) -> None:
    asked = prompt("Hello", answer_prefix="Dear")
    rendered = engine.render(asked)
    assert rendered.text.endswith("<|im_start|>assistant\nDear")
    _, _, end = await written(engine, asked)
    assert end.usage.prompt_tokens == rendered.tokens


async def test_a_cached_prefix_is_counted(engine: VllmEngine) -> None:
    long = "The tent stands by the lake. " * 30
    await written(engine, prompt(long, 1))
    _, _, end = await written(engine, prompt(long, 1))
    assert end.usage.prompt_tokens > end.usage.cached_prompt_tokens >= 128


async def test_a_waiting_request_that_is_more_urgent_goes_first(engine: VllmEngine) -> None:
    order: list[str] = []

    async def ask(name: str, priority: int) -> None:
        await written(engine, prompt(f"Say {name}.", 4, priority=priority))
        order.append(name)

    running = asyncio.create_task(written(engine, prompt("Tell a long story.", 40)))
    await until(lambda: engine.load().running > 0)
    later = [asyncio.create_task(ask(name, priority)) for name, priority in (("low", 5), ("high", -5), ("mid", 0))]
    await asyncio.gather(running, *later)
    assert order == ["high", "mid", "low"]

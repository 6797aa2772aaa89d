"""vLLM itself behind the engine interface: what the simulated engine cannot show.

One small engine for all tests, in a process of its own below this one; the model is that of the model cache.
"""

import asyncio
import json
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.engines.base import Constraint, Delta, EngineDead, Finished, Message, Prompt, Role
from serve_apps.assistant.engines.heartbeat import engine_processes
from serve_apps.assistant.engines.vllm import VllmEngine, environment
from serve_apps.assistant.errors import ModelNotFound, PromptTooLong
from serve_apps.assistant.models import cache_folder
from serve_apps.assistant.prepare_models import MODEL, prepare, unpack
from tests.support.lora import write_adapter

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


async def first_token_seconds(engine: VllmEngine, asked: Prompt) -> float:
    started = time.perf_counter()
    stream = engine.generate(asked)
    await anext(stream)
    took = time.perf_counter() - started
    await stream.aclose()
    return took


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


async def test_a_cancelled_request_leaves_the_engine_within_100_ms(engine: VllmEngine) -> None:
    """There is one place: the next request gets its first token when the one before has left, and no sooner.

    What that takes beyond a first token in an idle engine is how long the leaving took; the median, since the machine
    may be doing other things.
    """
    alone = [await first_token_seconds(engine, prompt(f"Say {number}.")) for number in range(5)]
    left, steps = [], []
    for number in range(7):
        stream = engine.generate(prompt("Tell a very long story.", 900))
        await anext(stream)
        began = time.perf_counter()
        for _ in range(4):
            await anext(stream)
        steps.append((time.perf_counter() - began) / 4)
        waiting = asyncio.create_task(first_token_seconds(engine, prompt(f"Say {number}!")))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        cancelled = time.perf_counter()
        await stream.aclose()
        await waiting
        left.append(time.perf_counter() - cancelled - statistics.median(alone))
    step = statistics.median(steps)
    # A request leaves between two steps of the engine. On an idle machine a step takes 50 ms; on a busy one it takes
    # what it takes, and nothing can leave in less.
    assert statistics.median(left) < max(0.1, 1.5 * step)


async def test_an_adapter_is_loaded_while_it_runs_and_changes_the_answer(engine: VllmEngine, tmp_path: Path) -> None:
    asked = prompt("What is the capital of France?", 12)
    plain, _, _ = await written(engine, asked)
    with pytest.raises(ModelNotFound):
        await written(engine, prompt("Hello", adapter="polite"))
    config = json.loads((cache_folder() / MODEL / "config.json").read_text())
    assert await engine.set_adapters({"polite": write_adapter(tmp_path / "polite", config, rank=8, seed=1)}) == {}
    adapted, _, _ = await written(engine, prompt("What is the capital of France?", 12, adapter="polite"))
    assert adapted != plain
    assert (await written(engine, asked))[0] == plain
    # Another under the same name takes its place, and one that is gone is no more.
    assert await engine.set_adapters({"polite": write_adapter(tmp_path / "other", config, rank=8, seed=2)}) == {}
    other, _, _ = await written(engine, prompt("What is the capital of France?", 12, adapter="polite"))
    assert other not in (adapted, plain)
    await engine.set_adapters({})
    with pytest.raises(ModelNotFound):
        await written(engine, prompt("Hello", adapter="polite"))


async def test_an_adapter_that_does_not_fit_harms_nobody(engine: VllmEngine, tmp_path: Path) -> None:
    config = json.loads((cache_folder() / MODEL / "config.json").read_text())
    refused = await engine.set_adapters({"large": write_adapter(tmp_path / "large", config, rank=64, seed=1)})
    assert "rank is 64" in refused["large"]
    # Those that only the engine finds out about: of a larger model, and cut off in the middle of its file.
    crooked = write_adapter(tmp_path / "crooked", config | {"hidden_size": 2 * config["hidden_size"]}, rank=8, seed=1)
    cut = write_adapter(tmp_path / "cut", config, rank=8, seed=1)
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for folder in (crooked, cut):
        refused = await engine.set_adapters({folder.name: folder})
        assert refused == {folder.name: "the engine could not load it; the log says why"}
    with pytest.raises(ModelNotFound):
        await written(engine, prompt("Hello", adapter="large"))
    await engine.check_health()
    assert (await written(engine, prompt("Hello", 2)))[2].usage.completion_tokens == 2


async def test_a_tool_call_can_be_forced(engine: VllmEngine) -> None:
    schema = {"type": "object", "properties": {"name": {"const": "status"}}, "required": ["name"]}
    constraint = Constraint(json_schema=json.dumps({"anyOf": [schema | {"additionalProperties": False}]}))
    text, _, _ = await written(engine, prompt("Call it.", 24, constraint=constraint))
    assert json.loads(text) == {"name": "status"}


async def test_a_hung_engine_is_noticed_within_five_seconds_and_its_callers_are_told(engine: VllmEngine) -> None:
    """The last test: the engine does not live on."""
    stream = engine.generate(prompt("Tell a very long story.", 900))
    await anext(stream)

    async def rest() -> None:
        async for _ in stream:
            pass

    reading = asyncio.create_task(rest())
    (core,) = [process for process in engine_processes() if process.status() != psutil.STATUS_ZOMBIE]
    os.kill(core.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    noticed = None
    while noticed is None:
        assert time.monotonic() - stopped < 15
        await asyncio.sleep(1.0)
        try:
            await engine.check_health()
        except EngineDead:
            noticed = time.monotonic() - stopped
    with pytest.raises(EngineDead):
        async with asyncio.timeout(5):
            await reading
    assert noticed < 5.0 + 1.0

"""The small model with eight-bit weights against float32: tokens a second, memory, and whether it still says the same.

Two engines stand side by side and work in turns; which kernels serve eight bits depends on the processor (AMX, AVX-512
with VNNI), so the ratio holds for this machine only.
"""

import asyncio
import os
import statistics
import time
from pathlib import Path

import psutil

from benchmarks.harness import alternate, compare, report
from serve_apps.assistant.config import CacheSource, ModelConfig, load_config
from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.engines import vllm
from serve_apps.assistant.engines.base import Delta, Message, Pair, Prompt, Role
from serve_apps.assistant.engines.heartbeat import engine_processes
from serve_apps.assistant.engines.vllm import VllmEngine
from serve_apps.assistant.models import cache_folder
from serve_apps.assistant.prepare_models import MAKERS, prepare
from serve_apps.assistant.settings import CONFIGS

STREAMS = (1, 8, 32)
TOKENS = 32
QUESTIONS = (
    "What is the capital of France?",
    "How do I wash a wool sweater?",
    "Name three kinds of tents.",
    "What does a warranty cover?",
    "Why is the sky blue?",
    "How long does glue take to dry?",
    "What is a good gift for a hiker?",
    "Explain what a refund is.",
)
PASSAGE = "You can return goods within 30 days of delivery in their original packaging."
TARGETS = (" How long do I have to return something?", " Do gift cards expire?", " Are the boots waterproof?")


async def engine_of(model: ModelConfig) -> tuple[VllmEngine, int]:
    """The engine of a model, started, and the mebibytes that its process holds."""
    assert isinstance(model.engine, VllmEngineConfig)
    assert isinstance(model.source, CacheSource)
    folder: Path = cache_folder() / model.source.folder
    prepare(folder, MAKERS[model.source.folder])
    before = {process.pid for process in engine_processes()}
    engine = VllmEngine(str(folder), model.engine, context_length=model.context_length)
    await engine.start()
    own = [process for process in engine_processes() if process.pid not in before]
    return engine, sum(psutil.Process(process.pid).memory_full_info().pss for process in own) >> 20


async def write(engine: VllmEngine, question: str, tokens: int = TOKENS) -> tuple[str, int]:
    text, count = "", 0
    async for frame in engine.generate(Prompt((Message(Role.USER, question),), max_tokens=tokens)):
        if isinstance(frame, Delta):
            text, count = text + frame.text, count + frame.tokens
    return text, count


async def rate(engine: VllmEngine, streams: int, turn: int) -> float:
    """Tokens a second of so many streams at once, with prompts that nobody sent before."""
    started = time.perf_counter()
    asked = [f"Story {turn}-{number}: write a very long story about a sailor." for number in range(streams)]
    written = await asyncio.gather(*(write(engine, one) for one in asked))
    return sum(count for _, count in written) / (time.perf_counter() - started)


async def main() -> None:
    full, small = load_config(CONFIGS / "laptop-two.yaml").models
    assert isinstance(full.engine, VllmEngineConfig)
    os.environ |= vllm.environment(full.engine, cache_folder().parent / "vllm", loopback=True)
    (exact, exact_memory), (rounded, rounded_memory) = await engine_of(full), await engine_of(small)
    details = {
        "mebibytes": rounded_memory,
        "mebibytes_float32": exact_memory,
        **await agreement(exact, rounded),
    }
    turns = 0

    async def one(engine: VllmEngine, streams: int) -> float:
        nonlocal turns
        turns += 1
        return await rate(engine, streams, turns)

    for streams in STREAMS:
        pairs = await alternate(lambda n=streams: one(rounded, n), lambda n=streams: one(exact, n))  # type: ignore[misc]
        report(compare(f"int8_weights_{streams}_streams", "tokens/s", pairs, streams=streams, **details))
    await exact.stop()
    await rounded.stop()


async def agreement(exact: VllmEngine, rounded: VllmEngine) -> dict[str, object]:
    """How much of the answers is the same, and how far the likelihoods of targets lie apart."""
    shares = []
    for question in QUESTIONS:
        (one, _), (other, _) = await write(exact, question), await write(rounded, question)
        words = list(zip(one.split(), other.split(), strict=False))
        differ = next((place for place, (a, b) in enumerate(words) if a != b), len(words))
        shares.append(differ / max(len(one.split()), 1))
    pairs = [Pair(PASSAGE, target) for target in TARGETS]
    scored = [(await engine.score(pairs, priority=0)).scores for engine in (exact, rounded)]
    apart = [abs(a.mean_log_probability - b.mean_log_probability) for a, b in zip(*scored, strict=True)]
    return {
        "share_of_words_before_the_first_difference": round(statistics.fmean(shares), 3),
        "log_likelihoods_apart": round(statistics.fmean(apart), 4),
    }


if __name__ == "__main__":
    asyncio.run(main())

"""P7: prefix affinity against power-of-two, on two replicas whose caches each hold a little over half of the prefixes.

Envoy, router and replicas are real; the engine is the simulated one with a prefix cache and a prefill at 4,000 tokens a
second, or with the argument `vllm` the laptop's model twice, a core each.

Both sides send the same kind of load to the same replicas through the same router, in turns, each time with prefixes
that nobody has seen: first every prefix once, unmeasured, then questions about them in random order. With affinity the
caller tells the router the hashes of its prompt's blocks; without it the router takes the idler of two.
"""

import asyncio
import hashlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.harness import MINIMUM_PAIRS, Result, machine, report
from benchmarks.support.models import REPLICA_METADATA, Models, running_models
from deskmesh.inference.v1 import chat_pb2, inference_service_pb2
from serve_apps.assistant.settings import CONFIGS

PREFIXES = 16
# About 800 tokens, which are seven blocks of vLLM's cache on a CPU: sixteen of them overflow a cache of 448 MiB (79
# blocks of 128 tokens at 45 KiB), eight and what is asked about them do not.
WORDS = 760
QUESTIONS = 48
# As many as engines take at once: who finds its prefix waits all the same for the prompts before it that do not.
AT_ONCE = 8
TOKENS = 4
CACHE_MEBIBYTES = 448
CONTEXT = 2048
# In words, which are the simulated engine's tokens.
CACHE_TOKENS = 7800
ROUNDS = MINIMUM_PAIRS
BLOCK_CHARACTERS = 400


@dataclass(frozen=True)
class Measured:
    """One side's turn."""

    # The median is of those that find their prefix on both sides; the mean has what the others wait as well.
    first_token_seconds: float
    mean_first_token_seconds: float
    requests_per_second: float
    hit_share: float


def prefix(turn: str, number: int) -> str:
    """A policy document that shares nothing with others from its first word on."""
    draw = random.Random(f"{turn}-{number}")
    words = ("return", "parcel", "refund", "order", "tent", "boots", "card", "shop", "delivery", "warranty", "days")
    return f"Document {turn} {number}. " + " ".join(draw.choice(words) for _ in range(WORDS))


def blocks(text: str) -> list[int]:
    """A hash for each block of the text, over everything up to its end."""
    running, found = hashlib.blake2b(digest_size=8), []
    for start in range(0, len(text) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS):
        running.update(text[start : start + BLOCK_CHARACTERS].encode())
        found.append(int.from_bytes(running.digest(), "big"))
    return found


async def ask(models: Models, document: str, question: str, *, affinity: bool) -> tuple[float, chat_pb2.Usage]:
    """Seconds to the first text, and the tokens used."""
    started = time.perf_counter()
    name, replica = await models.route(prefix_blocks=blocks(document) if affinity else ())
    request = inference_service_pb2.ChatRequest(
        model=name,
        messages=[
            chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_SYSTEM, content=document),
            chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content=question),
        ],
        sampling=chat_pb2.Sampling(max_tokens=TOKENS),
    )
    first, usage = 0.0, chat_pb2.Usage()
    async for frame in models.inference.Chat(request, metadata=((REPLICA_METADATA, replica),)):
        if not first and frame.HasField("delta"):
            first = time.perf_counter() - started
        if frame.HasField("finished"):
            usage = frame.finished.usage
    return first, usage


async def turn(models: Models, name: str, *, affinity: bool) -> Measured:
    documents = [prefix(name, number) for number in range(PREFIXES)]
    draw = random.Random(name)
    asked = [(draw.choice(documents), f"What about item {number}?") for number in range(QUESTIONS)]
    places = asyncio.Semaphore(AT_ONCE)

    async def one(document: str, question: str) -> tuple[float, chat_pb2.Usage]:
        async with places:
            return await ask(models, document, question, affinity=affinity)

    await asyncio.gather(*(one(document, "Say yes.") for document in documents))
    started = time.perf_counter()
    answers = await asyncio.gather(*(one(*what) for what in asked))
    seconds = time.perf_counter() - started
    # On a CPU the cache's blocks have 128 tokens: of a prompt some 800 long six can be found.
    hits = [usage.cached_prompt_tokens > 0.5 * usage.prompt_tokens for _, usage in answers]
    firsts = [first for first, _ in answers]
    return Measured(statistics.median(firsts), statistics.fmean(firsts), QUESTIONS / seconds, sum(hits) / len(hits))


def two_replicas(*, real: bool) -> dict[str, object]:
    """The model twice, and the router with prefix affinity."""
    if real:
        model = yaml.safe_load((CONFIGS / "laptop.yaml").read_text())["models"][0]
        model["engine"] |= {"threads": 1, "kv_cache_mebibytes": CACHE_MEBIBYTES, "max_running": 8}
    else:
        engine = {
            "kind": "simulated",
            "max_running": 8,
            "token_milliseconds": 5,
            "prefill_tokens_per_second": 4000,
            "cache_tokens": CACHE_TOKENS,
        }
        model = {"name": "simulated-words", "application": "llm", "engine": engine}
    model |= {"context_length": CONTEXT, "autoscaling": {"min_replicas": 2, "max_replicas": 2}}
    policies = [{"kind": "prefix_affinity", "slack": 8, "least_share": 0.5}, {"kind": "power_of_two"}]
    return {"router": {"replica_policies": policies}, "models": [model]}


async def main() -> None:
    pairs: list[tuple[Measured, Measured]] = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "two.yaml"
        config.write_text(yaml.safe_dump(two_replicas(real="vllm" in sys.argv[1:])))
        async with running_models(config, replicas=2) as models:
            for number in range(ROUNDS):
                own = await turn(models, f"affinity-{number}", affinity=True)
                plain = await turn(models, f"plain-{number}", affinity=False)
                pairs.append((own, plain))
    ratios = sorted(own.first_token_seconds / plain.first_token_seconds for own, plain in pairs)
    report(
        Result(
            name="P7_prefix_affinity_vllm" if "vllm" in sys.argv[1:] else "P7_prefix_affinity",
            value=round(statistics.median(own.first_token_seconds for own, _ in pairs), 4),
            unit="s to the first token",
            baseline=round(statistics.median(plain.first_token_seconds for _, plain in pairs), 4),
            ratio=round(statistics.median(ratios), 4),
            n=len(pairs),
            spread=(round(ratios[0], 4), round(ratios[-1], 4)),
            machine=machine(),
            details={
                "first_token_mean_ratio": round(
                    statistics.median(
                        own.mean_first_token_seconds / plain.mean_first_token_seconds for own, plain in pairs
                    ),
                    3,
                ),
                "throughput_ratio": round(
                    statistics.median(own.requests_per_second / plain.requests_per_second for own, plain in pairs), 3
                ),
                "hit_share": _median([own.hit_share for own, _ in pairs]),
                "hit_share_of_power_of_two": _median([plain.hit_share for _, plain in pairs]),
            },
        )
    )


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 4)


if __name__ == "__main__":
    asyncio.run(main())

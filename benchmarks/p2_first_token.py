"""P2: time to the first token that the path adds: Envoy (mTLS), the router and a replica, over the engine alone.

The engine is the simulated one, here and in the replica, so that a model's noise is out of it. Two ways are measured in
turns: with the router asked before every request, and as the orchestrator asks, which uses a route again as long as its
lease holds (a conversation's first request asks, the others within the lease do not). The value is the latter; the
other stands beside it. Beside the times stands the processor's time a request took, part by part, with what the parts
take while only the engine alone is asked.
"""

import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import aclosing
from pathlib import Path

import yaml

from benchmarks.harness import Result, machine, report
from benchmarks.support.models import REPLICA_METADATA, Models, running_models
from benchmarks.support.parts import cpu_by_part
from deskmesh.inference.v1 import chat_pb2, inference_service_pb2
from serve_apps.assistant.engines.base import Message, Prompt, Role
from serve_apps.assistant.engines.simulated import SimulatedEngine

ROUNDS = 40
CALLS = 25
# A turn asks for scores and for an answer; a conversation's turns follow one another.
REQUESTS_A_LEASE = 5
FIRST_TOKEN_MILLISECONDS = 20.0
QUESTION = "How long do I have to send something back?"
CONFIG = {
    "models": [
        {
            "name": "simulated-words",
            "application": "llm",
            "context_length": 4096,
            "engine": {
                "kind": "simulated",
                "first_token_milliseconds": FIRST_TOKEN_MILLISECONDS,
                "token_milliseconds": 1.0,
            },
        }
    ]
}


Leases = dict[str, tuple[str, str]]


async def through_the_path(models: Models, conversation: str, leases: Leases) -> tuple[float, float]:
    """Milliseconds to the first text: from asking the router, and from sending the request it led to."""
    started = time.perf_counter()
    name, replica = leases[conversation] if conversation in leases else await models.route(conversation)
    leases[conversation] = name, replica
    routed = time.perf_counter()
    request = inference_service_pb2.ChatRequest(
        model=name,
        messages=[chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content=QUESTION)],
        sampling=chat_pb2.Sampling(max_tokens=4),
    )
    first = 0.0
    async for frame in models.inference.Chat(request, metadata=((REPLICA_METADATA, replica),)):
        if not first and frame.HasField("delta"):
            first = time.perf_counter()
    return (first - started) * 1000, (first - routed) * 1000


async def engine_alone(engine: SimulatedEngine) -> float:
    """Milliseconds from the call to the first text, in this process."""
    started = time.perf_counter()
    first = 0.0
    async with aclosing(engine.generate(Prompt((Message(Role.USER, QUESTION),), max_tokens=4))) as frames:
        async for _ in frames:
            first = first or time.perf_counter() - started
    return first * 1000


async def main() -> None:
    engine = SimulatedEngine(
        context_length=4096,
        max_running=256,
        first_token_seconds=FIRST_TOKEN_MILLISECONDS / 1000,
        token_seconds=0.001,
    )
    asked: list[tuple[float, float]] = []
    leased: list[tuple[float, float]] = []
    alone: list[float] = []
    # CPU seconds by part.
    on_the_path: dict[str, float] = defaultdict(float)
    beside_it: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "simulated.yaml"
        config.write_text(yaml.safe_dump(CONFIG))
        async with running_models(config) as models:
            for _ in range(CALLS):
                await through_the_path(models, "warm-up", {})
            for turn in range(ROUNDS):
                asked += [await through_the_path(models, f"asked-{turn}", {}) for _ in range(CALLS)]
                leases: Leases = {}
                before = cpu_by_part()
                # Conversations of five requests within one lease.
                leased += [
                    await through_the_path(models, f"leased-{turn}-{number // REQUESTS_A_LEASE}", leases)
                    for number in range(CALLS)
                ]
                between = cpu_by_part()
                alone += [await engine_alone(engine) for _ in range(CALLS)]
                _add(on_the_path, before, between)
                _add(beside_it, between, cpu_by_part())
    baseline = statistics.median(alone)
    whole = [total for total, _ in leased]
    added = _percentiles(whole, baseline)
    report(
        Result(
            name="P2_first_token",
            value=added["p50"],
            unit="ms added",
            baseline=round(baseline, 3),
            ratio=round(statistics.median(whole) / baseline, 4),
            n=len(leased),
            spread=(added["p0"], added["p100"]),
            machine=machine(),
            details={
                "added_with_leases": added,
                "requests_a_lease": REQUESTS_A_LEASE,
                "added_with_the_routers_call_each_time": _percentiles([total for total, _ in asked], baseline),
                "added_by_the_stream_alone": _percentiles([stream for _, stream in asked], baseline),
                "engine_alone": _percentiles(alone, baseline),
                "cpu_milliseconds_a_request": {
                    part: {"with_leases": _each(on_the_path[part]), "engine_alone": _each(beside_it[part])}
                    for part in sorted(on_the_path)
                },
            },
        )
    )


def _add(used: dict[str, float], before: dict[str, float], after: dict[str, float]) -> None:
    for part, seconds in after.items():
        used[part] += seconds - before.get(part, 0.0)


def _each(seconds: float) -> float:
    return round(seconds / (ROUNDS * CALLS) * 1000, 2)


def _percentiles(values: list[float], baseline: float) -> dict[str, float]:
    added = sorted(value - baseline for value in values)
    return {f"p{share}": round(added[min(len(added) * share // 100, len(added) - 1)], 3) for share in (0, 50, 99, 100)}


if __name__ == "__main__":
    asyncio.run(main())

"""A second replica for what is slow to begin, on replicas of which now and then one stalls."""

import random
from collections import Counter
from dataclasses import dataclass

from serve_apps.assistant.board import Report
from serve_apps.assistant.errors import ModelOverloaded
from serve_apps.assistant.hedging import Hedging
from serve_apps.assistant.pace import Pace
from serve_apps.assistant.routing import Query, ReplicaState, pick
from serve_apps.assistant.routing_config import HedgingConfig, RouterConfig


@dataclass(frozen=True, slots=True)
class Stalls:
    """`replicas` of which each stalls in `share` of the seconds: a first token takes `factor` times as long then.

    Otherwise it takes a log-normal time around `usual_seconds`.
    """

    replicas: int = 1000
    requests: int = 100_000
    share: float = 0.02
    factor: float = 20.0
    usual_seconds: float = 0.1
    # Between two requests, over all replicas.
    pause_seconds: float = 0.001


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds to the first token, and the share of the requests that were sent twice."""

    p50: float
    p99: float
    p999: float
    twice: float


def run(config: HedgingConfig | None, stalls: Stalls, seed: int = 1) -> Outcome:
    """The real picking, measuring and budget in front of replicas that cost nothing but time."""
    draw = random.Random(seed)  # noqa: S311 - chance that can be repeated
    router, hedging = RouterConfig(), Hedging(config)
    states = [ReplicaState(f"host:{number}", 0, 8) for number in range(stalls.replicas)]
    paces = {state.replica: Pace() for state in states}
    stalled: set[str] = set()
    firsts: list[float] = []
    counts: Counter[str] = Counter()
    a_second = max(round(1 / stalls.pause_seconds), 1)

    def first_token(replica: str) -> float:
        usual = draw.lognormvariate(0.0, 0.3) * stalls.usual_seconds
        seconds = usual * (stalls.factor if replica in stalled else 1.0)
        paces[replica].answered(seconds, seconds, 1)
        return seconds

    for number in range(stalls.requests):
        if number % a_second == 0:
            stalled = {state.replica for state in states if draw.random() < stalls.share}
            hedging.learn([_report(name, pace) for name, pace in paces.items()])
        hedging.note(second=False)
        one, _ = pick(router, states, Query(), draw)
        first, after = first_token(one.replica), hedging.after("model")
        if after and first > after:
            try:
                hedging.note(second=True)
            except ModelOverloaded:
                counts["refused"] += 1
            else:
                counts["twice"] += 1
                other, _ = pick(router, [state for state in states if state is not one], Query(), draw)
                first = min(first, after + first_token(other.replica))
        firsts.append(first)
    firsts.sort()
    p50, p99, p999 = (firsts[int(len(firsts) * share)] for share in (0.5, 0.99, 0.999))
    return Outcome(p50, p99, p999, counts["twice"] / len(firsts))


def _report(replica: str, pace: Pace) -> Report:
    return Report(
        "llm",
        replica,
        "model",
        draining=False,
        running=0,
        waiting=0,
        kv_cache_usage=0.0,
        capacity=8,
        sequence=0,
        slow_first_token_seconds=pace.slow_first_token_seconds,
    )

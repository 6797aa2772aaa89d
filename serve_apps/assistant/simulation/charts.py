"""`python -m serve_apps.assistant.simulation.charts [replicas [load …]]`: the charts of docs/scaling.md, for Mermaid.

Those by load, slack, flood, budget and rate, or by what is named. With a thousand replicas they take some minutes.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from serve_apps.assistant.routing_config import (
    HedgingConfig,
    PowerOfTwo,
    PrefixAffinity,
    ReplicaPolicy,
    RouterConfig,
    SessionAffinity,
)
from serve_apps.assistant.simulation import cascade, hedging
from serve_apps.assistant.simulation.hedging import Stalls
from serve_apps.assistant.simulation.queueing import WITHIN, Flood
from serve_apps.assistant.simulation.queueing import Simulation as Queueing
from serve_apps.assistant.simulation.routing import Outcome, Scenario, Simulation

TWO = PowerOfTwo(kind="power_of_two")
SESSION = SessionAffinity(kind="session_affinity", slack=8)
# Of what the replicas can compute when nothing comes from a cache.
LOADS = (0.25, 0.5, 0.75, 1.0)
LOAD = 0.75
SLACKS = (0, 2, 4, 8, 16, 32)
FLOODS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
BUDGETS = (0.0, 0.01, 0.02, 0.05, 0.1)
# Questions a second for each accelerator, and the share of them that the large model has.
RATES = (0.4, 0.8, 1.2, 1.6, 2.0)
WAYS = {"the large model alone": 1.0, "the cascade": 0.6, "the small model alone": 0.0}


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over the same places on the x axis; values of a line stand for those places in turn."""

    title: str
    x: tuple[str, Sequence[float]]
    y: str
    lines: Mapping[str, Sequence[float]]

    def text(self) -> str:
        """A sentence that names the lines, for the chart has no legend; the chart; and nothing that needs a picture."""
        highest = max(value for line in self.lines.values() for value in line)
        named = "; ".join(f"{name} ({', '.join(_short(value) for value in line)})" for name, line in self.lines.items())
        label, places = self.x
        drawn = [f"    line [{', '.join(_short(value) for value in line)}]" for line in self.lines.values()]
        block = [
            "```mermaid",
            "xychart-beta",
            f'    title "{self.title}"',
            f'    x-axis "{label}" [{", ".join(_short(place) for place in places)}]',
            f'    y-axis "{self.y}" 0 --> {_short(highest * 1.05)}',
            *drawn,
            "```",
        ]
        return f"Lines, in the order in which they are drawn: {named}.\n\n" + "\n".join(block) + "\n"


def by_load(replicas: int, seconds: float = 2.0) -> Iterator[Chart]:
    """What prefix affinity is worth at each load."""
    ways: dict[str, tuple[ReplicaPolicy, ...]] = {
        "power of two": (TWO,),
        "prefix affinity, session affinity, power of two": (_prefix(8), SESSION, TWO),
    }
    scenario = Scenario(replicas=replicas, seconds=seconds, tenants=max(replicas // 2, 1))
    found = {
        name: [Simulation(RouterConfig(replica_policies=policies), scenario.at_load(load)).run() for load in LOADS]
        for name, policies in ways.items()
    }
    x = ("load, of what the replicas compute without caches", LOADS)
    shares: dict[str, Callable[[Outcome], float]] = {
        "p50": lambda one: one.first_token_p50,
        "p99": lambda one: one.first_token_p99,
    }
    for share, pick in shares.items():
        lines = {name: [pick(one) * 1000 for one in outcomes] for name, outcomes in found.items()}
        yield Chart(f"First token, {share}, {replicas} replicas", x, "milliseconds", lines)


def by_slack(replicas: int, seconds: float = 2.0) -> Iterator[Chart]:
    """How far a prompt may go out of its way for its prefix."""
    scenario = Scenario(replicas=replicas, seconds=seconds, tenants=max(replicas // 2, 1)).at_load(LOAD)
    found = [
        Simulation(RouterConfig(replica_policies=(_prefix(slack), TWO)), scenario).run().hit_share for slack in SLACKS
    ]
    yield Chart(
        f"Prompt tokens found in caches, {replicas} replicas",
        ("slack of prefix affinity, requests", SLACKS),
        "percent",
        {"found": [share * 100 for share in found]},
    )


def by_flood(_: int) -> Iterator[Chart]:
    """What a flood of one tenant does to the others."""
    lines: dict[str, list[float]] = {}
    for name, fair in (("the project's order", True), ("first come, first served", False)):
        lines[name] = []
        for factor in FLOODS:
            fates = Queueing(Flood(factor=factor), fair=fair).run()
            quiet = [fates["quiet", within] for within in WITHIN]
            lines[name].append(100 * sum(fate.in_time for fate in quiet) / sum(fate.came for fate in quiet))
    x = ("what one tenant asks for, of all that can be served", FLOODS)
    yield Chart("Requests of the fifteen others begun in time", x, "percent", lines)


def by_budget(replicas: int) -> Iterator[Chart]:
    """What a second try is worth for each share of requests that may have one."""
    stalls = Stalls(replicas=replicas, requests=30_000, pause_seconds=0.2 / replicas)
    found = [hedging.run(HedgingConfig(share=share, least_seconds=0.02), stalls) for share in BUDGETS]
    yield Chart(
        f"First token with second tries, {replicas} replicas that stall in 2 of 100 seconds",
        ("share of requests that may be sent twice, percent", [share * 100 for share in BUDGETS]),
        "milliseconds",
        {"p99.9": [one.p999 * 1000 for one in found], "p99": [one.p99 * 1000 for one in found]},
    )


def by_rate(accelerators: int, seconds: float = 5.0) -> Iterator[Chart]:
    """A cascade against either of its models alone."""
    found = {
        name: [
            cascade.Simulation(accelerators, share, cascade.Questions(rate=accelerators * rate, seconds=seconds)).run()
            for rate in RATES
        ]
        for name, share in WAYS.items()
    }
    x = ("questions a second, for each accelerator", RATES)
    shown: dict[tuple[str, str], Callable[[cascade.Outcome], float]] = {
        ("Answered well", "percent"): lambda one: one.good * 100,
        ("First sentence, p99", "seconds"): lambda one: one.first_sentence_p99,
        ("Cost, of the large model's", "percent"): lambda one: one.cost * 100,
    }
    for (title, y), pick in shown.items():
        lines = {name: [pick(one) for one in outcomes] for name, outcomes in found.items()}
        yield Chart(f"{title}, {accelerators} accelerators", x, y, lines)


def _prefix(slack: int) -> PrefixAffinity:
    return PrefixAffinity(kind="prefix_affinity", slack=slack, remembered_blocks=4096)


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


BY: Mapping[str, Callable[[int], Iterator[Chart]]] = {
    "load": by_load,
    "slack": by_slack,
    "flood": by_flood,
    "budget": by_budget,
    "rate": by_rate,
}


def main() -> None:
    """Print them as they are found."""
    replicas = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for name in sys.argv[2:] or BY:
        for chart in BY[name](replicas):
            sys.stdout.write(f"{chart.text()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

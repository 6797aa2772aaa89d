"""`python -m serve_apps.assistant.simulation [replicas]`: the router's policies against one another, as a table."""

import sys
from dataclasses import replace

from serve_apps.assistant.routing_config import (
    LeastLoaded,
    PowerOfTwo,
    PrefixAffinity,
    ReplicaPolicy,
    RouterConfig,
    SessionAffinity,
)
from serve_apps.assistant.simulation.routing import Scenario, Simulation

TWO = PowerOfTwo(kind="power_of_two")
SESSION = SessionAffinity(kind="session_affinity", slack=8)
PREFIX = PrefixAffinity(kind="prefix_affinity", slack=8, remembered_blocks=4096)
WAYS: dict[str, tuple[ReplicaPolicy, ...]] = {
    "power of two": (TWO,),
    "least loaded": (LeastLoaded(kind="least_loaded"),),
    "session, then power of two": (SESSION, TWO),
    "prefix, session, then power of two": (PREFIX, SESSION, TWO),
}
# What Ray Serve brings along: replicas are asked before each decision, the prefix's replica whatever its load.
RAYS: dict[str, tuple[ReplicaPolicy, ...]] = {
    "Ray's default: power of two, replicas asked each time": (TWO,),
    "as Ray's prefix routing: no fallback by load": (
        PrefixAffinity(kind="prefix_affinity", slack=1_000_000, remembered_blocks=4096, least_share=0.1),
        TWO,
    ),
}
COLUMNS = "taken | refused | lost | first token p50 | p99 | from the cache | fullest/mean | a decision"


def main() -> None:
    """Print the table."""
    replicas = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    # Three quarters of what the replicas can compute when nothing comes from a cache.
    normal = Scenario(replicas=replicas, seconds=6.0, tenants=replicas // 2).at_load(0.75)
    cases = {"steady": normal, "a tenth of the replicas lost halfway": replace(normal, lost_share=0.1)}
    for case, scenario in cases.items():
        sys.stdout.write(f"\n{replicas} replicas, {scenario.rate:.0f} requests/s, {case}\n\n| policies | {COLUMNS} |\n")
        for name, policies in (WAYS | RAYS).items():
            exact = replace(scenario, exact=name in RAYS)
            found = Simulation(RouterConfig(replica_policies=policies), exact).run()
            sys.stdout.write(
                f"| {name} | {found.served} | {found.refused} | {found.lost} | {found.first_token_p50 * 1000:.0f} ms | "
                f"{found.first_token_p99 * 1000:.0f} ms | {found.hit_share:.1%} | {found.imbalance:.2f} | "
                f"{found.decision_microseconds:.0f} µs |\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()

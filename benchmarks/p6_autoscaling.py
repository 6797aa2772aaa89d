"""P6: a load that jumps eightfold, under the project's autoscaling policy and under Ray Serve's default.

Both run for real, the default with its delays and its reports of every ten seconds averaged over thirty, on replicas
and a clock that are simulated: what is compared are the policies, and a laptop has no sixteen replicas. Both aim at the
same number of requests a replica. Lower is better, so the ratio is ours over the default's.
"""

import asyncio
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from unittest import mock

from benchmarks.harness import MINIMUM_PAIRS, Result, machine, report
from serve_apps.assistant.autoscaling import Bounds, Demand
from serve_apps.assistant.simulation.scaling import Outcome, Policy, QueueDepth, Simulation, Step

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ray.serve import autoscaling_policy
    from ray.serve.config import AutoscalingConfig

STEP = Step()
TARGET = 12
RUNS = 5
# As the simulated engine starts, and as a small model on a GPU does.
STARTS = (5.0, 30.0)


def ours() -> Policy:
    """The project's policy with the pace it ships with."""
    return QueueDepth(Bounds(1, STEP.most, TARGET, upscale_delay_seconds=0.5, downscale_delay_seconds=120.0))


class RayDefault:
    """Ray Serve's default policy as its controller calls it."""

    def __init__(self) -> None:
        self._config = AutoscalingConfig(min_replicas=1, max_replicas=STEP.most, target_ongoing_requests=TARGET)
        self._policy = autoscaling_policy._apply_autoscaling_config(
            autoscaling_policy.replica_queue_length_autoscaling_policy
        )
        self._state: dict[str, object] = {}

    def __call__(self, now: float, current: int, demands: Sequence[Demand]) -> int:
        context = mock.Mock(
            config=self._config,
            current_num_replicas=len(demands),
            target_num_replicas=current,
            total_num_requests=sum(one.running + one.waiting for one in demands),
            capacity_adjusted_min_replicas=1,
            capacity_adjusted_max_replicas=STEP.most,
            policy_state=self._state,
        )
        with mock.patch.object(autoscaling_policy.time, "time", return_value=now):
            wanted, self._state = self._policy(context)
        # The controller holds it to the bounds, after the policy.
        return max(1, min(STEP.most, int(wanted)))


def _pair(step: Step, seed: int) -> tuple[Outcome, Outcome]:
    slow = replace(step, report_seconds=10.0, look_back_seconds=30.0)
    return Simulation(ours(), step, seed).run(), Simulation(RayDefault(), slow, seed).run()


def _ratios(pairs: Sequence[tuple[Outcome, Outcome]]) -> list[float]:
    return sorted(own.misses / max(default.misses, 1) for own, default in pairs)


async def main() -> None:
    assert RUNS >= MINIMUM_PAIRS
    pairs, slow_start = (
        [_pair(replace(STEP, start_seconds=seconds), seed) for seed in range(RUNS)] for seconds in STARTS
    )
    ratios = _ratios(pairs)
    report(
        Result(
            name="P6_autoscaling",
            value=statistics.median(own.misses for own, _ in pairs),
            unit="first tokens later than 2 s after an eightfold step",
            baseline=statistics.median(default.misses for _, default in pairs),
            ratio=round(statistics.median(ratios), 4),
            n=len(pairs),
            spread=(round(ratios[0], 4), round(ratios[-1], 4)),
            machine=machine(),
            details={
                "seconds_to_the_decision": statistics.median(own.decided_after for own, _ in pairs),
                "seconds_to_the_defaults_decision": statistics.median(default.decided_after for _, default in pairs),
                "ratio_when_a_start_takes_30_s": round(statistics.median(_ratios(slow_start)), 4),
                "ours": asdict(pairs[0][0]),
                "default": asdict(pairs[0][1]),
            },
        )
    )


if __name__ == "__main__":
    asyncio.run(main())

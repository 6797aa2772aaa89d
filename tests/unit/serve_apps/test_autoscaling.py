"""The autoscaling policy: right in the plain cases, calm at the edges, never out of bounds and never raising."""

import math
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from serve_apps.assistant.autoscaling import Bounds, Demand, Memory, QueueDepthPolicy, decide, metrics, wanted
from serve_apps.assistant.scaling_log import KEPT, Decision, ScalingLog
from tests.integration.serve_apps.conftest import MemoryStore

BOUNDS = Bounds(
    min_replicas=1, max_replicas=8, target_running=16, upscale_delay_seconds=1.0, downscale_delay_seconds=60.0
)


def test_an_idle_application_keeps_its_minimum() -> None:
    assert wanted(BOUNDS, 1, [Demand(0, 0, 0.0)]) == 1


def test_an_eightfold_step_asks_for_eight_replicas_at_once() -> None:
    assert wanted(BOUNDS, 1, [Demand(16, 112, 0.5)]) == 8


def test_a_full_cache_with_a_queue_asks_for_one_more() -> None:
    assert wanted(BOUNDS, 1, [Demand(4, 2, 0.95)]) == 2
    assert wanted(BOUNDS, 1, [Demand(4, 0, 0.95)]) == 1


def test_more_replicas_are_granted_only_after_the_delay_without_a_break() -> None:
    busy, idle = [Demand(16, 16, 0.5)], [Demand(1, 0, 0.1)]
    target, memory = decide(BOUNDS, 1, busy, Memory(), now=100.0)
    assert target == 1
    target, memory = decide(BOUNDS, 1, idle, memory, now=100.5)
    target, memory = decide(BOUNDS, 1, busy, memory, now=101.0)
    assert (target, memory.up_since) == (1, 101.0)
    target, memory = decide(BOUNDS, 1, busy, memory, now=102.0)
    assert (target, memory) == (2, Memory())


def test_replicas_go_one_at_a_time_and_late() -> None:
    idle = [Demand(0, 0, 0.0)] * 4
    target, memory = decide(BOUNDS, 4, idle, Memory(), now=0.0)
    assert target == 4
    target, memory = decide(BOUNDS, 4, idle, memory, now=59.0)
    assert target == 4
    target, memory = decide(BOUNDS, 4, idle, memory, now=60.0)
    assert (target, memory) == (3, Memory())


def test_a_load_just_below_the_target_does_not_take_a_replica_away() -> None:
    # 30 requests are under 2 × 16; one replica less would be at once overfull.
    assert wanted(BOUNDS, 2, [Demand(15, 0, 0.4), Demand(15, 0, 0.4)]) == 2


def test_bounds_that_changed_hold_at_once() -> None:
    assert decide(BOUNDS, 20, [], Memory(), now=0.0)[0] == 8
    assert decide(BOUNDS, 0, [], Memory(), now=0.0)[0] == 1


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
DEMANDS = st.lists(st.builds(Demand, NUMBERS, NUMBERS, NUMBERS), max_size=20)
MEMORIES = st.builds(Memory, st.none() | st.floats(0, 1e9), st.none() | st.floats(0, 1e9))


@given(st.integers(-5, 50), DEMANDS, MEMORIES, st.floats(0, 1e9))
def test_never_raises_and_stays_in_bounds(current: int, demands: list[Demand], memory: Memory, now: float) -> None:
    target, _ = decide(BOUNDS, current, demands, memory, now)
    assert BOUNDS.min_replicas <= target <= BOUNDS.max_replicas


@given(st.integers(1, 8), st.lists(st.builds(Demand, st.integers(0, 100), st.integers(0, 100), st.floats(0, 1))))
def test_more_demand_never_means_fewer_replicas(current: int, demands: list[Demand]) -> None:
    more = [Demand(one.running + 1, one.waiting + 1, one.kv_cache_usage) for one in demands]
    assert wanted(BOUNDS, current, more) >= wanted(BOUNDS, current, demands)


@given(st.integers(1, 8), st.integers(0, 400))
def test_a_steady_load_settles(start: int, load: int) -> None:
    """Whatever it starts from, the number of replicas stops changing and holds the load."""
    current, memory, now = start, Memory(), 0.0
    history = []
    for _ in range(60):
        demands = [Demand(load / current, 0, 0.1)] * current
        current, memory = decide(BOUNDS, current, demands, memory, now)
        history.append(current)
        now += 30.0
    assert len(set(history[-10:])) == 1
    assert current >= min(BOUNDS.max_replicas, math.ceil(load / BOUNDS.target_running))


def context(target: int, reported: dict[str, dict[str, float]] | None, now: float, state: object) -> SimpleNamespace:
    return SimpleNamespace(
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=4,
        target_num_replicas=target,
        policy_state=state,
        aggregated_metrics=reported,
        current_time=now,
    )


def policy(log: ScalingLog) -> QueueDepthPolicy:
    return QueueDepthPolicy(
        "small", target_running=16, upscale_delay_seconds=1.0, downscale_delay_seconds=60.0, log=log
    )


def reported(*, running: int, waiting: int) -> dict[str, dict[str, float]]:
    return {name: {"replica-a": value} for name, value in metrics(running, waiting, 0.5).items()}


def test_the_policy_object_reads_what_replicas_report_and_tells_what_it_decides_by() -> None:
    log = ScalingLog(MemoryStore())
    decides = policy(log)
    busy = reported(running=16, waiting=40)
    target, state = decides(context(1, busy, 10.0, None))
    assert (target, state) == (1, {"up_since": 10.0, "down_since": None})
    assert log.read() == []
    assert decides(context(1, busy, 11.0, state))[0] == 4
    (up,) = log.read()
    assert (up.model, up.from_replicas, up.to_replicas) == ("small", 1, 4)
    assert (up.running, up.waiting, up.kv_cache_usage, up.wanted_for_seconds) == (16, 40, 0.5, 1.0)
    assert up.reason == "56 requests are more than 1 × 16"

    idle = reported(running=0, waiting=0)
    _, state = decides(context(4, idle, 20.0, state))
    assert decides(context(4, idle, 80.0, state))[0] == 3
    assert "idle" in log.read()[1].reason


def test_a_policy_without_any_report_changes_nothing() -> None:
    assert policy(ScalingLog(MemoryStore()))(context(2, None, 0.0, {}))[0] == 2


def test_a_log_that_cannot_be_written_changes_no_decision() -> None:
    class Away(MemoryStore):
        def put(self, key: str, value: bytes) -> None:
            raise ConnectionError

    decides = policy(ScalingLog(Away()))
    _, state = decides(context(1, reported(running=16, waiting=40), 10.0, None))
    assert decides(context(1, reported(running=16, waiting=40), 11.0, state))[0] == 4


def test_only_the_last_decisions_are_kept() -> None:
    store = MemoryStore()
    log = ScalingLog(store)
    for number in range(KEPT + 5):
        log.add(Decision(number, "small", 1, 2, 0, 0, 0, 0, ""))
        log.add(Decision(number, "large", 1, 2, 0, 0, 0, 0, ""))
    kept = ScalingLog(store).read()
    assert [one.at for one in kept if one.model == "small"] == list(range(5, KEPT + 5))
    assert [one.at for one in kept] == sorted(one.at for one in kept)

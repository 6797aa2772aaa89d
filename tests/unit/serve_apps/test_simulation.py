"""The simulated cluster, and what the router's policies are worth on it."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_apps.assistant.autoscaling import Bounds
from serve_apps.assistant.routing_config import (
    HedgingConfig,
    PowerOfTwo,
    PrefixAffinity,
    ReplicaPolicy,
    RouterConfig,
    SessionAffinity,
)
from serve_apps.assistant.simulation import cascade, hedging
from serve_apps.assistant.simulation.cascade import Questions
from serve_apps.assistant.simulation.charts import Chart, by_rate
from serve_apps.assistant.simulation.hedging import Stalls
from serve_apps.assistant.simulation.queueing import LOUD, WITHIN, Flood
from serve_apps.assistant.simulation.queueing import Simulation as Queueing
from serve_apps.assistant.simulation.replicas import GPU, Replica, Request
from serve_apps.assistant.simulation.routing import Outcome, Scenario, Simulation
from serve_apps.assistant.simulation.scaling import QueueDepth, Step
from serve_apps.assistant.simulation.scaling import Simulation as Scaling

TWO = PowerOfTwo(kind="power_of_two")
SESSION = SessionAffinity(kind="session_affinity", slack=8)
PREFIX = PrefixAffinity(kind="prefix_affinity", slack=8, remembered_blocks=4096)
SMALL = Scenario(replicas=10, rate=60.0, seconds=10.0, tenants=20)


def run(scenario: Scenario, *policies: ReplicaPolicy) -> Outcome:
    return Simulation(RouterConfig(replica_policies=policies), scenario).run()


def test_equal_seeds_give_equal_outcomes() -> None:
    first, again = (asdict(run(SMALL, SESSION, TWO)) for _ in range(2))
    assert {**first, "decision_microseconds": 0} == {**again, "decision_microseconds": 0}


def test_affinity_finds_more_in_caches_and_answers_sooner() -> None:
    plain, session, prefix = run(SMALL, TWO), run(SMALL, SESSION, TWO), run(SMALL, PREFIX, SESSION, TWO)
    assert plain.hit_share < session.hit_share < prefix.hit_share
    assert prefix.first_token_p50 < plain.first_token_p50
    assert plain.served == session.served == prefix.served


@settings(max_examples=15)
@given(
    st.integers(1, 8),
    st.floats(5, 200),
    st.integers(1, 8),
    st.integers(0, 8),
    st.floats(0, 0.8),
    st.sampled_from([(TWO,), (SESSION, TWO), (PREFIX, TWO)]),
)
def test_every_request_is_served_or_refused(
    replicas: int, rate: float, slots: int, queue: int, lost: float, policies: tuple[ReplicaPolicy, ...]
) -> None:
    scenario = replace(
        SMALL, replicas=replicas + 1, rate=rate, seconds=4.0, slots=slots, queue=queue, lost_share=min(lost, 0.5)
    )
    simulation = Simulation(RouterConfig(replica_policies=policies), scenario, seed=replicas)
    outcome = simulation.run()
    assert outcome.served + outcome.refused == outcome.came
    assert 0 <= outcome.hit_share <= 1
    assert outcome.lost <= outcome.served


def request(*blocks: int) -> Request:
    return Request(0.0, "", blocks, prompt_tokens=len(blocks) * 16, answer_tokens=10)


def test_a_replica_serves_in_order_and_its_cache_drops_the_oldest() -> None:
    replica = Replica("host:0", GPU, slots=1, queue=2, cache_blocks=2)
    first, second, third = request(1, 2), request(1, 2), request(3)
    assert replica.take(first, 0.0) is not None
    assert replica.take(second, 0.0) is None
    assert replica.take(third, 0.0) is None
    assert (replica.running, replica.waiting) == (1, 2)
    following = replica.end(1.0)
    assert following is not None
    assert following[0] is second
    assert second.cached_tokens == 32
    assert second.first_token - 1.0 < first.first_token
    replica.end(2.0)
    assert replica.end(3.0) is None
    assert replica.load == 0
    assert replica.take(request(2), 4.0) is not None
    assert replica.take(replace(first), 4.0) is None


def test_more_requests_at_once_are_slower_each() -> None:
    replica = Replica("host:0", GPU, slots=4, queue=0, cache_blocks=0)
    alone = replica.take(request(), 0.0)
    beside = replica.take(request(), 0.0)
    assert alone is not None
    assert beside == pytest.approx(alone * (1 + GPU.batch_share))


SHORT = Step(rate=4.0, step_at=10.0, seconds=40.0, most=8)


def test_queue_depth_follows_an_eightfold_step_within_two_seconds() -> None:
    bounds = Bounds(1, SHORT.most, 12, upscale_delay_seconds=0.5, downscale_delay_seconds=120.0)
    outcome = Scaling(QueueDepth(bounds), SHORT).run()
    assert 0 < outcome.decided_after <= 2.5
    assert 2 <= outcome.most_replicas <= SHORT.most
    fixed = Scaling(lambda now, current, demands: 1, SHORT).run()
    assert outcome.misses < fixed.misses
    assert fixed.decided_after == float("inf")


def test_replicas_go_again_after_the_load() -> None:
    bounds = Bounds(1, SHORT.most, 12, upscale_delay_seconds=0.5, downscale_delay_seconds=5.0)
    spike = replace(SHORT, rate=30.0, factor=0.05)
    outcome = Scaling(QueueDepth(bounds), spike).run()
    steady = Scaling(QueueDepth(replace(bounds, downscale_delay_seconds=1000.0)), spike).run()
    assert outcome.replica_seconds < steady.replica_seconds


def test_a_flood_of_one_tenant_costs_the_others_nothing() -> None:
    flood = Flood(places=8, quiet=5, seconds=12.0, max_waiting=40)
    fair, plain = Queueing(flood, fair=True).run(), Queueing(flood, fair=False).run()
    for within in WITHIN:
        quiet = fair["quiet", within]
        assert quiet.refused == 0
        assert quiet.in_time >= 0.95 * quiet.came
        assert plain["quiet", within].in_time < 0.7 * plain["quiet", within].came
    # Among its own, who has less time goes first.
    soon, late = fair[LOUD, WITHIN[0]], fair[LOUD, WITHIN[1]]
    assert soon.in_time / soon.came > late.in_time / late.came


@settings(max_examples=10)
@given(st.integers(1, 4), st.floats(0.1, 3.0), st.integers(0, 10), st.booleans(), st.integers(0, 100))
def test_in_the_queue_every_request_is_served_or_refused(
    places: int, factor: float, most: int, fair: bool, seed: int
) -> None:
    flood = Flood(places=places, quiet=2, factor=factor, seconds=5.0, max_waiting=most)
    for fate in Queueing(flood, fair=fair, seed=seed).run().values():
        assert 0 <= fate.in_time + fate.refused <= fate.came


def test_a_second_replica_shortens_the_tail_at_the_price_it_may_cost() -> None:
    stalls = Stalls(replicas=20, requests=10_000)
    plain = hedging.run(None, stalls)
    hedged = hedging.run(HedgingConfig(share=0.1, least_seconds=0.02), stalls)
    assert plain.twice == 0.0
    assert 0.0 < hedged.twice <= 0.11
    assert hedged.p99 < 0.6 * plain.p99
    assert hedged.p50 == pytest.approx(plain.p50, rel=0.1)


def test_knowing_every_load_spreads_it_better() -> None:
    stale, exact = run(SMALL, TWO), run(replace(SMALL, exact=True), TWO)
    assert exact.served == stale.served
    assert exact.imbalance < stale.imbalance


ACCELERATORS = 40


def asked(large_share: float, rate: float = ACCELERATORS * 1.0) -> cascade.Outcome:
    return cascade.Simulation(ACCELERATORS, large_share, Questions(rate=rate, seconds=5.0)).run()


def test_a_cascade_answers_nearly_as_well_as_the_large_model_for_less() -> None:
    small, both, large = asked(0.0), asked(0.6), asked(1.0)
    assert small.good + 0.1 < both.good < large.good + 0.01
    assert both.bad < small.bad
    assert small.cost < both.cost < 0.5 * large.cost
    assert small.escalated == large.escalated == 0.0
    assert 0.1 < both.escalated < 0.5


def test_a_cascade_bears_a_load_that_the_large_model_does_not() -> None:
    both, large = asked(0.6, ACCELERATORS * 1.5), asked(1.0, ACCELERATORS * 1.5)
    assert both.first_sentence_p99 < 0.7 * large.first_sentence_p99


def test_equal_seeds_give_equal_cascades() -> None:
    assert asked(0.6) == asked(0.6)


@settings(max_examples=10)
@given(st.integers(1, 12), st.floats(0, 1), st.floats(1, 120), st.integers(0, 9))
def test_every_question_comes_to_something(accelerators: int, large_share: float, rate: float, seed: int) -> None:
    outcome = cascade.Simulation(accelerators, large_share, Questions(rate=rate, seconds=2.0), seed).run()
    if outcome.came:
        assert outcome.good + outcome.bad + outcome.quoted + outcome.refused == pytest.approx(1.0, abs=1e-3)


def test_a_chart_names_its_lines_and_draws_them() -> None:
    chart = Chart("Waits", ("load", (0.5, 1.0)), "seconds", {"one": (1.0, 2000.0), "other": (0.25, 3.0)})
    assert chart.text() == (
        "Lines, in the order in which they are drawn: one (1, 2000); other (0.25, 3).\n\n"
        "```mermaid\n"
        "xychart-beta\n"
        '    title "Waits"\n'
        '    x-axis "load" [0.5, 1]\n'
        '    y-axis "seconds" 0 --> 2100\n'
        "    line [1, 2000]\n"
        "    line [0.25, 3]\n"
        "```\n"
    )


def test_charts_are_of_what_was_simulated() -> None:
    for chart in by_rate(8, 1.0):
        assert [len(line) for line in chart.lines.values()] == [len(chart.x[1])] * 3
        assert all(value >= 0 for line in chart.lines.values() for value in line)

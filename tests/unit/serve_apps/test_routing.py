"""The choice of model and replica, and its explanation."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_apps.assistant.config import CapabilityName, Cost, ModelConfig
from serve_apps.assistant.engine_config import SimulatedEngineConfig
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded, ModelUnavailable
from serve_apps.assistant.prefixes import PrefixMemory
from serve_apps.assistant.routing import Candidate, Query, Rejection, ReplicaState, choose, pick
from serve_apps.assistant.routing_config import (
    CascadeConfig,
    LeastLoaded,
    ModelWeights,
    PowerOfTwo,
    PrefixAffinity,
    ReplicaPolicy,
    RouterConfig,
    SessionAffinity,
)

SLACK = 4
# The machine may be busy with other things.
PATIENT = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
PLAIN = RouterConfig()
CHEAPEST = RouterConfig(models=ModelWeights(cost=1.0))
BEST = RouterConfig(models=ModelWeights(quality=1.0))


def model(
    name: str,
    *,
    capabilities: tuple[CapabilityName, ...] = (CapabilityName.CHAT,),
    quality: int = 1,
    cost: float = 0.0,
    languages: tuple[str, ...] = ("en",),
    context_length: int = 1000,
) -> ModelConfig:
    return ModelConfig(
        name=f"simulated-{name}",
        application=name,
        capabilities=capabilities,
        quality=quality,
        cost=Cost(input_per_million=cost, output_per_million=cost),
        languages=languages,
        context_length=context_length,
        engine=SimulatedEngineConfig(kind="simulated"),
    )


SMALL = model("small", quality=2, cost=1.0)
LARGE = model(
    "large", capabilities=(CapabilityName.CHAT, CapabilityName.DECIDE), quality=8, cost=10.0, languages=("en", "de")
)
MODELS = (SMALL, LARGE)


def draw() -> random.Random:
    return random.Random(7)


def state(replica: str, load: int = 0, capacity: int = 10, **more: float) -> ReplicaState:
    return ReplicaState(replica, load, capacity, **more)  # type: ignore[arg-type]


BOTH = {SMALL.name: [state("a:1")], LARGE.name: [state("b:1")]}


def rejections(candidates: tuple[Candidate, ...]) -> dict[str, Rejection | None]:
    return {one.model.name: one.rejection for one in candidates}


def test_the_first_model_that_fits_serves_when_nothing_is_weighed() -> None:
    choice = choose(PLAIN, MODELS, BOTH, Query(prompt_tokens=10), draw())
    assert (choice.replica, choice.model_reason) == ("a:1", "first of equals")


@pytest.mark.parametrize(
    ("query", "rejection"),
    [
        (Query(model=LARGE.name), Rejection.NAME),
        (Query(capabilities=frozenset({CapabilityName.DECIDE})), Rejection.CAPABILITY),
        (Query(language="de"), Rejection.LANGUAGE),
        (Query(min_quality=3), Rejection.QUALITY),
    ],
)
def test_what_a_request_needs_is_held_to(query: Query, rejection: Rejection) -> None:
    choice = choose(CHEAPEST, MODELS, BOTH, query, draw())
    assert choice.model is LARGE
    assert rejections(choice.candidates) == {LARGE.name: None, SMALL.name: rejection}


def test_a_ceiling_of_cost_leaves_the_cheap() -> None:
    query = Query(prompt_tokens=500, completion_tokens=500, max_cost=0.005)
    choice = choose(BEST, MODELS, BOTH, query, draw())
    assert choice.model is SMALL
    assert rejections(choice.candidates)[LARGE.name] is Rejection.COST
    assert choice.candidates[0].cost == pytest.approx(0.001)
    with pytest.raises(ModelNotFound, match="cost"):
        choose(BEST, MODELS, BOTH, replace(query, max_cost=0.0), draw())


def test_weights_decide_between_cheap_and_good_and_are_shown() -> None:
    query = Query(prompt_tokens=100, completion_tokens=100)
    assert choose(CHEAPEST, MODELS, BOTH, query, draw()).model is SMALL
    choice = choose(BEST, MODELS, BOTH, query, draw())
    assert choice.model is LARGE
    assert choice.model_reason == "best score"
    assert [one.parts["quality"] for one in choice.candidates] == [1.0, 0.25]


def test_a_busy_model_gives_way_when_load_is_weighed() -> None:
    config = RouterConfig(models=ModelWeights(cost=1.0, load=3.0))
    replicas = {SMALL.name: [state("a:1", load=9)], LARGE.name: [state("b:1")]}
    query = Query(prompt_tokens=100, completion_tokens=100)
    assert choose(config, MODELS, BOTH, query, draw()).model is SMALL
    assert choose(config, MODELS, replicas, query, draw()).model is LARGE


def test_another_model_serves_when_the_best_is_full_away_or_degraded() -> None:
    query = Query(prompt_tokens=100, completion_tokens=100)
    for instead, rejection in (
        ([state("a:1", load=10)], Rejection.OVERLOADED),
        ([], Rejection.UNAVAILABLE),
        ([state("a:1", degraded=True)], None),
    ):
        choice = choose(CHEAPEST, MODELS, BOTH | {SMALL.name: instead}, query, draw())
        assert choice.model is LARGE
        assert rejections(choice.candidates)[SMALL.name] is rejection
    alone = choose(CHEAPEST, MODELS, {SMALL.name: [state("a:1", degraded=True)]}, query, draw())
    assert (alone.replica, alone.lease_seconds) == ("a:1", 0.0)
    assert "degraded" in alone.model_reason


def test_the_model_that_keeps_the_deadline_serves() -> None:
    replicas = {
        SMALL.name: [state("a:1", first_token_seconds=1.0, token_seconds=0.1)],
        LARGE.name: [state("b:1", first_token_seconds=1.0, token_seconds=0.01)],
    }
    query = Query(completion_tokens=100, within_seconds=5.0)
    choice = choose(CHEAPEST, MODELS, replicas, query, draw())
    assert choice.model is LARGE
    assert choice.candidates[0].expected_seconds == pytest.approx(2.0)
    hopeless = choose(CHEAPEST, MODELS, replicas, replace(query, within_seconds=0.1), draw())
    assert hopeless.model is LARGE
    assert "too slow" in hopeless.model_reason


def test_the_urgent_get_the_last_places() -> None:
    nearly_full = {SMALL.name: [state("a:1", load=8)]}
    with pytest.raises(ModelOverloaded):
        choose(PLAIN, (SMALL,), nearly_full, Query(priority=1), draw())
    assert choose(PLAIN, (SMALL,), nearly_full, Query(priority=0), draw()).replica == "a:1"


def test_a_replica_that_has_failed_the_caller_is_not_named_again() -> None:
    replicas = {SMALL.name: [state("a:1"), state("a:2", load=9)]}
    assert choose(PLAIN, (SMALL,), replicas, Query(avoid=frozenset({"a:1"})), draw()).replica == "a:2"
    with pytest.raises(ModelUnavailable):
        choose(PLAIN, (SMALL,), replicas, Query(avoid=frozenset({"a:1", "a:2"})), draw())


def test_what_cannot_be_served_has_its_reason() -> None:
    with pytest.raises(ModelNotFound, match="No model named x"):
        choose(PLAIN, MODELS, {}, Query(model="x"), draw())
    with pytest.raises(ModelNotFound, match="context"):
        choose(PLAIN, MODELS, {}, Query(prompt_tokens=1000), draw())
    with pytest.raises(ModelNotFound, match="capability"):
        choose(PLAIN, MODELS, {}, Query(capabilities=frozenset({CapabilityName.FREE_WORDING})), draw())
    with pytest.raises(ModelUnavailable) as unavailable:
        choose(PLAIN, MODELS, {}, Query(), draw())
    assert unavailable.value.retry_after_seconds
    with pytest.raises(ModelOverloaded) as overloaded:
        choose(PLAIN, MODELS, {SMALL.name: [state("a:1", load=10)]}, Query(), draw())
    assert overloaded.value.retry_after_seconds


def test_a_lease_is_granted_while_there_is_room() -> None:
    config = RouterConfig(lease_seconds=30, lease_load_share=0.5)
    assert choose(config, (SMALL,), {SMALL.name: [state("a:1", load=4)]}, Query(), draw()).lease_seconds == 30
    assert choose(config, (SMALL,), {SMALL.name: [state("a:1", load=5)]}, Query(), draw()).lease_seconds == 0


def of(*policies: ReplicaPolicy) -> RouterConfig:
    return RouterConfig(replica_policies=policies)


SESSION = of(SessionAffinity(kind="session_affinity", slack=SLACK), PowerOfTwo(kind="power_of_two"))
PREFIX = of(PrefixAffinity(kind="prefix_affinity", slack=SLACK, least_share=0.5))


def picked(config: RouterConfig, states: list[ReplicaState], query: Query, seed: int = 7) -> str:
    return pick(config, states, query, random.Random(seed))[0].replica


def test_a_conversation_stays_at_its_replica_until_that_one_is_much_busier() -> None:
    states = [state(f"host:{port}") for port in range(5)]
    query = Query(affinity_key="conversation")
    own = picked(SESSION, states, query)
    assert all(picked(SESSION, states, query, seed) == own for seed in range(20))

    def loaded(load: int) -> list[ReplicaState]:
        return [state(one.replica, load if one.replica == own else 0) for one in states]

    assert picked(SESSION, loaded(SLACK), query) == own
    assert picked(SESSION, loaded(SLACK + 1), query) != own


@PATIENT
@given(st.sets(st.integers(0, 10_000), min_size=2, max_size=30), st.data())
def test_affinity_is_stable_under_churn(ports: set[int], data: st.DataObject) -> None:
    """A replica that comes or goes moves only the keys it gains or loses."""
    before = [state(f"host:{port}") for port in sorted(ports)]
    changed = data.draw(st.sampled_from(before))
    after = [one for one in before if one is not changed]
    for number in range(30):
        query = Query(affinity_key=f"conversation-{number}")
        was, now = picked(SESSION, before, query), picked(SESSION, after, query)
        assert was in (now, changed.replica)


def test_conversations_are_spread_evenly_over_replicas() -> None:
    states = [state(f"127.0.0.1:{port}") for port in range(40500, 40508)]
    counts = Counter(picked(SESSION, states, Query(affinity_key=f"cnv_{number:026d}")) for number in range(4000))
    assert len(counts) == 8
    assert min(counts.values()) > 350
    assert max(counts.values()) < 650


def test_the_replica_that_knows_the_prompt_serves_unless_it_is_much_busier() -> None:
    states = [state("a:1", load=3), state("a:2"), state("a:3")]
    query = Query(prefix_blocks=(1, 2, 3, 4), known_blocks={"a:1": 3, "a:2": 1})
    chosen, why = pick(PREFIX, states, query, draw())
    assert (chosen.replica, why) == ("a:1", "by prefix affinity (3 of 4 blocks)")
    assert picked(PREFIX, [state("a:1", load=SLACK + 1), *states[1:]], query) != "a:1"
    little = replace(query, known_blocks={"a:1": 1})
    assert "idler of two" in pick(PREFIX, states, little, draw())[1]


def test_policies_follow_one_another() -> None:
    config = of(*PREFIX.replica_policies, *SESSION.replica_policies)
    states = [state("a:1"), state("a:2"), state("a:3")]
    keyed = Query(affinity_key="x", prefix_blocks=(1, 2), known_blocks={"a:2": 2})
    assert "prefix" in pick(config, states, keyed, draw())[1]
    assert "session" in pick(config, states, replace(keyed, known_blocks={}), draw())[1]
    assert pick(config, states, Query(), draw())[1] == "idler of two"
    assert pick(of(LeastLoaded(kind="least_loaded")), [state("a:1", 2), state("a:2", 1)], Query(), draw())[1] == (
        "the idlest"
    )


def test_without_a_key_two_choices_spread_the_load() -> None:
    states = [state(f"host:{port}") for port in range(4)]
    random_draw = draw()
    counts = Counter(pick(PLAIN, states, Query(), random_draw)[0].replica for _ in range(2000))
    assert min(counts.values()) > 400


CASCADE = RouterConfig(
    models=ModelWeights(quality=1.0),
    cascade=CascadeConfig(models=(SMALL.name, LARGE.name), least_mean_log_probability=-0.5),
)


def test_the_first_of_the_cascade_serves_and_the_next_one_when_that_was_not_enough() -> None:
    first = choose(CASCADE, MODELS, BOTH, Query(), draw())
    assert (first.model, first.model_reason, first.escalate_below) == (SMALL, "first of the cascade", -0.5)
    second = choose(CASCADE, MODELS, BOTH, Query(escalate_from=SMALL.name), draw())
    assert second.model is LARGE
    assert second.model_reason == f"next in the cascade after {SMALL.name}"
    assert second.escalate_below is None
    assert rejections(second.candidates)[SMALL.name] is Rejection.CASCADE
    for last in (LARGE.name, "unknown"):
        with pytest.raises(ModelNotFound, match="cascade"):
            choose(CASCADE, MODELS, BOTH, Query(escalate_from=last), draw())


def test_the_cascade_passes_over_what_cannot_serve_and_promises_nothing_that_is_away() -> None:
    assert choose(CASCADE, MODELS, {LARGE.name: BOTH[LARGE.name]}, Query(), draw()).model is LARGE
    degraded = BOTH | {SMALL.name: [state("a:1", degraded=True)]}
    assert choose(CASCADE, MODELS, degraded, Query(), draw()).model is LARGE
    assert choose(CASCADE, MODELS, {SMALL.name: BOTH[SMALL.name]}, Query(), draw()).escalate_below is None
    assert choose(CASCADE, MODELS, BOTH, Query(model=LARGE.name), draw()).model is LARGE


def test_another_model_stands_in_for_one_that_was_asked_for_by_name() -> None:
    config = RouterConfig(fallbacks={SMALL.name: (LARGE.name,)})
    query = Query(model=SMALL.name)
    assert choose(config, MODELS, BOTH, query, draw()).model is SMALL
    for instead in ([state("a:1", load=10)], [], [state("a:1", degraded=True)]):
        choice = choose(config, MODELS, BOTH | {SMALL.name: instead}, query, draw())
        assert (choice.model, choice.model_reason) == (LARGE, f"in place of {SMALL.name}")
    all_degraded = {name: [state("a:1", degraded=True)] for name in (SMALL.name, LARGE.name)}
    assert choose(config, MODELS, all_degraded, query, draw()).model is SMALL
    with pytest.raises(ModelUnavailable):
        choose(config, MODELS, {}, query, draw())
    with pytest.raises(ModelNotFound):
        choose(config, MODELS, BOTH, replace(query, language="fr"), draw())


POLICIES = st.lists(
    st.sampled_from(
        [
            SessionAffinity(kind="session_affinity", slack=SLACK),
            PrefixAffinity(kind="prefix_affinity", slack=SLACK),
            PowerOfTwo(kind="power_of_two"),
            LeastLoaded(kind="least_loaded"),
        ]
    ),
    max_size=4,
)
WEIGHTS = st.builds(ModelWeights, quality=st.floats(0, 10), cost=st.floats(0, 10), load=st.floats(0, 10))
NAMES = st.lists(st.sampled_from([f"simulated-{name}" for name in "abcdef"]), min_size=2, max_size=4, unique=True)
CONFIGS = st.builds(
    RouterConfig,
    models=WEIGHTS,
    replica_policies=POLICIES.map(tuple),
    cascade=st.none() | st.builds(CascadeConfig, models=NAMES.map(tuple)),
    fallbacks=st.dictionaries(st.just("simulated-a"), NAMES.map(tuple)),
)
CAPABILITIES = st.frozensets(st.sampled_from(CapabilityName), max_size=3)
MODEL = st.builds(
    model,
    st.sampled_from("abcdef"),
    capabilities=CAPABILITIES.map(tuple),
    quality=st.integers(1, 10),
    cost=st.floats(0, 100),
    languages=st.sampled_from([("en",), ("en", "de")]),
    context_length=st.sampled_from([64, 1000, 100_000]),
)
STATE = st.builds(
    ReplicaState,
    st.sampled_from([f"host:{port}" for port in range(20)]),
    st.integers(0, 12),
    st.integers(1, 10),
    st.booleans(),
    st.floats(0, 10),
    st.floats(0, 1),
)
STATES = st.lists(STATE, max_size=6, unique_by=lambda one: one.replica)
BLOCKS = st.lists(st.integers(0, 2**64 - 1), max_size=5).map(tuple)
QUERY = st.builds(
    Query,
    model=st.sampled_from(["", "simulated-a", "unknown"]),
    capabilities=CAPABILITIES,
    affinity_key=st.text(max_size=8),
    prompt_tokens=st.integers(0, 2000),
    completion_tokens=st.integers(0, 4096),
    min_quality=st.integers(0, 10),
    max_cost=st.none() | st.floats(0, 1),
    within_seconds=st.none() | st.floats(0, 100),
    language=st.sampled_from(["", "de"]),
    escalate_from=st.sampled_from(["", "", "simulated-a", "simulated-b"]),
    room_share=st.floats(0.1, 1),
    priority=st.integers(-5, 5),
    avoid=st.frozensets(st.sampled_from([f"host:{port}" for port in range(20)]), max_size=3),
    prefix_blocks=BLOCKS,
    known_blocks=st.dictionaries(st.sampled_from([f"host:{port}" for port in range(20)]), st.integers(0, 5)),
)


@PATIENT
@given(
    CONFIGS,
    st.lists(MODEL, max_size=4, unique_by=lambda one: one.name),
    st.dictionaries(st.sampled_from([f"simulated-{name}" for name in "abcdef"]), STATES),
    QUERY,
    st.integers(),
)
def test_it_never_breaks_and_never_picks_what_cannot_serve(
    config: RouterConfig,
    models: list[ModelConfig],
    replicas: dict[str, list[ReplicaState]],
    query: Query,
    seed: int,
) -> None:
    try:
        choice = choose(config, models, replicas, query, random.Random(seed))
    except (ModelNotFound, ModelUnavailable, ModelOverloaded):
        return
    chosen = choice.model
    own = next(one for one in replicas[chosen.name] if one.replica == choice.replica)
    assert own.load < own.capacity
    assert own.replica not in query.avoid
    stand_ins = config.fallbacks.get(query.model, ())
    assert query.model in ("", chosen.name) or chosen.name in stand_ins
    if query.escalate_from:
        assert config.cascade is not None
        order = config.cascade.models
        assert order.index(chosen.name) > order.index(query.escalate_from)
    assert query.capabilities <= set(chosen.capabilities)
    assert query.prompt_tokens + query.completion_tokens <= chosen.context_length
    assert chosen.quality >= query.min_quality
    assert query.max_cost is None or choice.candidates[0].cost <= query.max_cost
    assert not query.language or query.language in chosen.languages
    assert choice.reason
    assert sorted(one.model.name for one in choice.candidates) == sorted(one.name for one in models)
    if own.degraded and not stand_ins:
        assert all(one.degraded for one in choice.candidates if one.rejection is None)


@PATIENT
@given(st.lists(st.integers(0, 10), min_size=2, max_size=12), st.text(max_size=20), POLICIES, st.integers())
def test_load_stays_bounded(loads: list[int], key: str, policies: list[ReplicaPolicy], seed: int) -> None:
    """No replica is chosen that is both busier than the slack allows and the busiest of all."""
    states = [state(f"host:{index}", load, capacity=100) for index, load in enumerate(loads)]
    chosen, _ = pick(of(*policies), states, Query(affinity_key=key), random.Random(seed))
    assert chosen.load <= max(min(loads) + SLACK, sorted(loads)[-2])


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 6), max_size=4)), max_size=40))
def test_prefixes_are_remembered_up_to_a_bound(sent: list[tuple[int, list[int]]]) -> None:
    memory = PrefixMemory(remembered_blocks=5)
    for replica, blocks in sent:
        memory.note(f"host:{replica}", blocks)
        if blocks and len(set(blocks)) <= 5:
            assert memory.known(blocks)[f"host:{replica}"] == len(blocks)
    held = [block for block in range(7) for replica in memory.known([block]) if replica == "host:0"]
    assert len(held) <= 5
    memory.keep(["host:1"])
    assert all(set(memory.known([block])) <= {"host:1"} for block in range(7))


def test_the_beginning_of_prompts_is_the_last_to_be_forgotten() -> None:
    memory = PrefixMemory(remembered_blocks=3)
    memory.note("host:0", [1, 2, 3])
    memory.note("host:0", [1, 4])
    assert memory.known([1, 2, 3]) == {"host:0": 2}
    assert memory.known([1, 4]) == {"host:0": 2}
    assert memory.known([9, 1]) == {}

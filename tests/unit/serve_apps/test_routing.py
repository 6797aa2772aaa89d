"""The choice of model and replica."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.assistant.config import CapabilityName, ModelConfig, SimulatedEngineConfig
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded, ModelUnavailable
from serve_apps.assistant.routing import AFFINITY_SLACK, Query, ReplicaState, choose, pick


def model(name: str, *, capabilities: tuple[CapabilityName, ...] = (CapabilityName.CHAT,)) -> ModelConfig:
    return ModelConfig(
        name=f"simulated-{name}",
        application=name,
        capabilities=capabilities,
        context_length=1000,
        engine=SimulatedEngineConfig(kind="simulated"),
    )


SMALL = model("small")
LARGE = model("large", capabilities=(CapabilityName.CHAT, CapabilityName.DECIDE))
MODELS = (SMALL, LARGE)


def draw() -> random.Random:
    return random.Random(7)


def state(replica: str, load: int = 0, capacity: int = 10) -> ReplicaState:
    return ReplicaState(replica, load, capacity)


def test_the_first_model_that_fits_serves() -> None:
    replicas = {SMALL.name: [state("a:1")], LARGE.name: [state("b:1")]}
    assert choose(MODELS, replicas, Query(), draw()).replica == "a:1"
    decide = Query(capabilities=frozenset({CapabilityName.DECIDE}))
    assert choose(MODELS, replicas, decide, draw()).replica == "b:1"
    assert choose(MODELS, replicas, Query(model=LARGE.name), draw()).replica == "b:1"


def test_a_full_or_missing_model_is_passed_over() -> None:
    full = {SMALL.name: [state("a:1", load=10)], LARGE.name: [state("b:1")]}
    choice = choose(MODELS, full, Query(), draw())
    assert (choice.model, choice.replica) == (LARGE, "b:1")
    assert "next with room" in choice.reason
    assert choose(MODELS, {LARGE.name: [state("b:1")]}, Query(), draw()).model is LARGE


def test_what_cannot_be_served_is_said_as_it_is() -> None:
    with pytest.raises(ModelNotFound):
        choose(MODELS, {}, Query(model="nobody"), draw())
    with pytest.raises(ModelNotFound):
        choose(MODELS, {}, Query(prompt_tokens=1000), draw())
    with pytest.raises(ModelNotFound):
        choose(MODELS, {}, Query(capabilities=frozenset({CapabilityName.FREE_WORDING})), draw())
    with pytest.raises(ModelUnavailable) as unavailable:
        choose(MODELS, {}, Query(), draw())
    assert unavailable.value.retry_after_seconds
    with pytest.raises(ModelOverloaded) as overloaded:
        choose(MODELS, {SMALL.name: [state("a:1", load=10)]}, Query(), draw())
    assert overloaded.value.retry_after_seconds


def test_a_conversation_stays_at_its_replica_until_that_one_is_much_busier() -> None:
    states = [state(f"host:{port}") for port in range(5)]
    own, _ = pick(states, "conversation", draw())
    assert all(pick(states, "conversation", random.Random(seed))[0] == own for seed in range(20))

    def loaded(load: int) -> list[ReplicaState]:
        return [state(one.replica, load if one.replica == own else 0) for one in states]

    assert pick(loaded(AFFINITY_SLACK), "conversation", draw())[0] == own
    assert pick(loaded(AFFINITY_SLACK + 1), "conversation", draw())[0] != own


def test_a_replica_that_comes_moves_only_the_keys_it_gains() -> None:
    before = [state(f"host:{port}") for port in range(4)]
    after = [*before, state("host:new")]
    keys = [f"conversation-{number}" for number in range(400)]
    moved = {pick(after, key, draw())[0] for key in keys if pick(after, key, draw())[0] != pick(before, key, draw())[0]}
    assert moved == {"host:new"}


def test_without_a_key_two_choices_spread_the_load() -> None:
    states = [state(f"host:{port}") for port in range(4)]
    random_draw = draw()
    counts = Counter(pick(states, "", random_draw)[0] for _ in range(2000))
    assert min(counts.values()) > 400


@given(
    st.lists(st.integers(0, 10), min_size=1, max_size=12),
    st.text(max_size=20),
    st.integers(),
)
def test_the_choice_always_has_room_and_never_is_the_busiest_of_many(loads: list[int], key: str, seed: int) -> None:
    states = [state(f"host:{index}", load) for index, load in enumerate(loads)]
    by_replica = {one.replica: one.load for one in states}
    try:
        choice = choose((SMALL,), {SMALL.name: states}, Query(affinity_key=key), random.Random(seed))
    except ModelOverloaded:
        assert all(load >= 10 for load in loads)
        return
    assert by_replica[choice.replica] < 10
    free = sorted(load for load in loads if load < 10)
    if not key and len(free) > 1:
        assert by_replica[choice.replica] <= free[-2]

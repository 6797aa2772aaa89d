"""Versions of models: what makes one, and who gets which."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.assistant.config import EndpointSource, ModelConfig, PathSource
from serve_apps.assistant.control import Targets
from serve_apps.assistant.engine_config import RemoteEngineConfig, SimulatedEngineConfig, VllmEngineConfig
from serve_apps.assistant.routing import ReplicaState
from serve_apps.assistant.versions import KEPT_SECONDS, Assignment, Split, split_of, version_of

MODEL = ModelConfig(
    name="simulated-m", application="m", context_length=1000, engine=SimulatedEngineConfig(kind="simulated")
)
STABLE, TRIED = {"m": "old"}, {"m": "new"}
KEYS = [f"conversation-{index}" for index in range(2000)]


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_version_is_the_configuration() -> None:
    assert version_of(MODEL) == version_of(MODEL.model_copy())
    assert version_of(MODEL) != version_of(MODEL.model_copy(update={"max_queued_requests": 65}))


@given(st.integers(0, 100))
def test_a_share_is_about_that_share(percent: int) -> None:
    split = Split(STABLE, TRIED, percent)
    got = sum(split.is_tried_by(key, "") for key in KEYS)
    assert abs(got / len(KEYS) - percent / 100) < 0.05


@given(st.integers(0, 100), st.integers(0, 100))
def test_whoever_has_it_at_a_small_share_has_it_at_a_larger(one: int, other: int) -> None:
    small, large = sorted((one, other))
    for key in KEYS[:200]:
        assert Split(STABLE, TRIED, small).is_tried_by(key, "") <= Split(STABLE, TRIED, large).is_tried_by(key, "")


def test_named_tenants_have_it_from_the_first_share_on() -> None:
    split = Split(STABLE, TRIED, 0, frozenset({"org_1"}))
    assert split.is_tried_by("c", "org_1")
    assert not split.is_tried_by("c", "org_2")
    assert not split.is_tried_by("c", "")


def test_no_conversation_changes_its_version_while_it_goes_on() -> None:
    clock = Clock()
    assignment = Assignment(clock)
    assignment.learn(Split(STABLE, TRIED, 0))
    assert all(assignment.versions(key, "") == STABLE for key in KEYS)
    assignment.learn(Split(STABLE, TRIED, 100))
    for _ in range(5):
        clock.now += KEPT_SECONDS - 1
        assert all(assignment.versions(key, "") == STABLE for key in KEYS), "each keeps what it has"
        assert assignment.versions("a new one", "") == TRIED
    clock.now += KEPT_SECONDS + 1
    assert all(assignment.versions(key, "") == TRIED for key in KEYS)
    assignment.learn(Split(STABLE))
    assert all(assignment.versions(key, "") == STABLE for key in KEYS), "what was taken back serves nobody"


def states(*replicas: str) -> list[ReplicaState]:
    return [ReplicaState(replica, 0, 10) for replica in replicas]


def serving(split: Split, found: dict[str, str], key: str = "c") -> set[str]:
    assignment = Assignment(Clock())
    assignment.learn(split)
    return {state.replica for state in assignment.serving({"m": states(*found)}, found, key, "")["m"]}


def test_requests_go_to_replicas_of_their_version() -> None:
    both = {"a": "old", "b": "new"}
    assert serving(Split(STABLE, TRIED, 0), both) == {"a"}
    assert serving(Split(STABLE, TRIED, 100), both) == {"b"}
    assert serving(Split(TRIED), both) == {"b"}


def test_without_replicas_of_it_what_serves_steps_in() -> None:
    assert serving(Split(STABLE, TRIED, 100), {"a": "old"}) == {"a"}
    assert serving(Split(TRIED), {"a": "old"}) == {"a"}, "until the new one is there"
    assert serving(Split(), {"a": "old"}) == {"a"}, "nothing is known of versions"


def test_what_is_only_tried_never_steps_in() -> None:
    assert serving(Split(STABLE, TRIED, 0), {"b": "new"}) == set()


def remote(url: str, model: str = "m") -> ModelConfig:
    source = EndpointSource.model_validate({"kind": "endpoint", "url": url, "model": model})
    engine = RemoteEngineConfig(kind="remote", max_running=1)
    return ModelConfig(name="m", application="m", context_length=1000, source=source, engine=engine)


def local(dtype: str) -> ModelConfig:
    engine = VllmEngineConfig.model_validate({"kind": "vllm", "dtype": dtype})
    source = PathSource(kind="path", path=Path("/weights"))
    return ModelConfig(name="m", application="m", context_length=1000, source=source, engine=engine)


HERE, HERE_TOO = local("float32"), local("bfloat16")
THERE, THERE_TOO = remote("https://one.example/v1"), remote("https://one.example/v1", "other")
ELSEWHERE = remote("https://two.example/v1")


@pytest.mark.parametrize(
    ("stable", "candidate", "percent", "repeated"),
    [
        (HERE, HERE_TOO, 20, True),
        (HERE, HERE_TOO, 0, False),
        (HERE, HERE, 20, False),
        (THERE, HERE, 20, True),
        (THERE, THERE_TOO, 20, True),
        (HERE, THERE, 20, False),
        (THERE, ELSEWHERE, 20, False),
    ],
    ids=["another", "no share", "the same", "comes home", "same provider", "leaves the house", "another provider"],
)
def test_what_customers_write_is_repeated_to_nobody_new(
    stable: ModelConfig, candidate: ModelConfig, percent: int, repeated: bool
) -> None:
    split = split_of(Targets("base", "s", "c", shadow_percent=percent), (stable,), (candidate,))
    assert split.shadow == ({"m": version_of(candidate)} if repeated else {})
    assert (split.shadow_percent, split.percent) == (percent, 0)

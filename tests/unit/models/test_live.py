"""The gates by replicas, turns and ratings while a new version serves."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.models.limits import Limits, TooFew
from services.models.live import (
    Call,
    Seen,
    Side,
    judge_ratings,
    judge_replicas,
    judge_shadow,
    judge_turns,
    shadow_cost,
)

LIMITS = Limits()


def seen(version: str, count: int, /, **fields: Any) -> list[Call]:
    values: dict[str, Any] = {
        "step": "word",
        "first_token_seconds": 1.0,
        "tokens_per_second": 10.0,
        "grounded": True,
    } | fields
    return [Call(turn_id=f"{version}-{number}", model="m", version=version, **values) for number in range(count)]


def side(count: int, /, **fields: Any) -> Side:
    return Seen(seen("v", count, **fields)).of("m", "v")


def failed(new: Side, old: Side, limits: Limits = LIMITS) -> set[str]:
    gates = judge_turns(new, old, limits)
    assert all(gate.explanation for gate in gates)
    return {gate.name for gate in gates if not gate.passed}


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_live_errors_are_a_share(answered: int, broken: int) -> None:
    [gate] = judge_replicas(answered, broken, LIMITS)
    assert gate.passed == (broken <= 0.02 * (answered + broken))


@pytest.mark.parametrize(
    ("worse", "names"),
    [
        ({}, set()),
        ({"first_token_seconds": 3.9, "tokens_per_second": 5.1}, set()),
        ({"first_token_seconds": 4.1}, {"first token of turns"}),
        ({"tokens_per_second": 4.9}, {"tokens/s of turns"}),
        ({"tokens_per_second": 0.0}, {"tokens/s of turns"}),
        ({"grounded": False}, {"grounded turns"}),
        ({"error": "CANCELLED", "first_token_seconds": None, "grounded": None}, {"failed turns"}),
        (
            {"first_token_seconds": None, "tokens_per_second": 0.0, "grounded": False},
            {"grounded turns", "tokens/s of turns"},
        ),
    ],
    ids=["as good", "a little worse", "slow to begin", "slow", "of one token", "ungrounded", "hung", "without a word"],
)
def test_turns_are_compared_with_those_of_what_serves(worse: dict[str, Any], names: set[str]) -> None:
    assert failed(side(12, **worse), side(40)) == names


def test_sentences_that_are_ranked_have_a_time_of_their_own() -> None:
    ranked = {"step": "score", "tokens_per_second": 0.0}
    old = side(12, **ranked, first_token_seconds=0.2)
    assert failed(side(12, **ranked, first_token_seconds=1.5), old) == set()
    assert failed(side(12, **ranked, first_token_seconds=1.7), old) == {"ranking of turns"}


@pytest.mark.parametrize(("new", "old"), [(0, 0), (9, 30), (30, 9), (10, 10), (30, 11)])
@pytest.mark.parametrize("rule", TooFew)
def test_too_few_turns_judge_nothing_and_the_rule_says_what_then(new: int, old: int, rule: TooFew) -> None:
    limits = Limits(few_turns=rule)
    first, *others = judge_turns(side(new, error="INTERNAL"), side(old), limits)
    if min(new, old) >= 10:
        assert (first.name, first.passed, first.undecided) == ("turns", True, False)
        assert first.explanation == f"{new} turns of it compared with {old} of what serves"
        assert (others[0].name, others[0].passed) == ("failed turns", False)
    else:
        assert (first.name, first.passed, first.undecided, others) == ("turns", True, rule is TooFew.HOLD, [])
        assert f"{new} of it and {old} of what serves, 10 of each are needed" in first.explanation


@settings(max_examples=40)
@given(st.lists(st.booleans(), max_size=30), st.lists(st.booleans(), max_size=30))
def test_more_good_turns_never_make_it_fail(new: list[bool], old: list[bool]) -> None:
    """What is as good as what serves or better passes."""
    first, second = (
        Seen([Call(str(at), "word", "m", "v", grounded=good) for at, good in enumerate(turns)]).of("m", "v")
        for turns in (new, old)
    )
    if new and old and sum(new) / len(new) >= sum(old) / len(old):
        assert not failed(first, second)


def test_a_turn_counts_once_and_for_each_version_in_it() -> None:
    calls = [
        *seen("v1", 3, step="score"),
        *seen("v1", 3, grounded=False),
        Call("v1-0", "word", "large", "v9", grounded=True),
    ]
    both = Seen(calls, {"v1-0": True, "v1-2": False, "elsewhere": False})
    small, large = both.of("m", "v1"), both.of("large", "v9")
    assert (len(small.turns), small.ungrounded, small.ratings) == (3, [True] * 3, [True, False])
    assert (len(large.turns), large.ungrounded, large.ratings) == (1, [False], [True])
    assert not both.of("m", "v9").turns


def test_of_tenants_that_are_served_whole_only_failures_and_pace_count() -> None:
    """Their help centre may just be worse than others'."""
    both = Seen(
        [
            *seen("new", 12, tenant="named", grounded=False, first_token_seconds=9.0),
            *seen("old", 12, tenant="other"),
        ],
        {f"new-{number}": False for number in range(12)},
    )
    assert failed(both.of("m", "new"), both.of("m", "old")) == {"grounded turns", "first token of turns"}
    new, old = (both.of("m", version, ("named",)) for version in ("new", "old"))
    assert failed(new, old) == {"first token of turns"}
    assert (len(new.turns), new.ratings) == (12, [])


def test_what_was_repeated_is_compared_with_the_same_turns_and_counts_nowhere_else() -> None:
    again = [replace(call, version="v2", shadow=True, prompt_tokens=30, completion_tokens=2) for call in seen("v1", 8)]
    stray = Call("elsewhere", "word", "m", "v2", shadow=True, grounded=False, prompt_tokens=5)
    both = Seen([*seen("v1", 20), *again, stray], {"v1-0": False})
    assert both.of("m", "v2").turns == []
    assert len(both.of("m", "v1").turns) == 20
    new, old = both.repeated("m", "v2", "v1")
    assert [turn[0].turn_id for turn in new.turns] == [turn[0].turn_id for turn in old.turns]
    assert (len(new.turns), new.ungrounded, old.ratings) == (8, [False] * 8, ())
    # What it cost counts all the same.
    assert both.shadow_tokens("m", "v2") == (245, 16)
    assert both.shadow_tokens("m", "v1") == (0, 0)
    gate = shadow_cost(245, 16, 2.0, 10.0)
    assert gate.passed
    assert gate.value == pytest.approx(0.00065)


@pytest.mark.parametrize("rule", TooFew)
def test_the_shadow_has_limits_of_its_own(rule: TooFew) -> None:
    limits = Limits(least_shadow_turns=12, few_shadow_turns=rule)
    few, *others = judge_shadow(side(11, error="INTERNAL"), side(11), limits)
    assert (few.name, few.passed, few.undecided, others) == ("turns in the shadow", True, rule is TooFew.HOLD, [])
    gates = judge_shadow(side(12, grounded=False), side(12), limits)
    assert {gate.name for gate in gates if not gate.passed} == {"grounded turns in the shadow"}


@pytest.mark.parametrize(
    ("new", "old", "passes"), [(0, 0, True), (5, 4, True), (10, 9, True), (10, 3, False), (6, 0, False)]
)
def test_feedback_is_compared_too(new: int, old: int, passes: bool) -> None:
    worse, known = (Side([], [], [False] * down + [True] * (12 - down)) for down in (new, old))
    [gate] = judge_ratings(worse, known, LIMITS)
    assert (gate.name, gate.passed) == ("feedback", passes)
    assert f"{new} of 12 did not help" in gate.explanation


def test_too_few_ratings_judge_nothing() -> None:
    [gate] = judge_ratings(Side([], [], [False] * 9), Side([], [], [True] * 99), LIMITS)
    assert (gate.passed, gate.undecided) == (True, False)
    assert "not enough ratings to compare, 9 of it and 99 of what serves" in gate.explanation
    [gate] = judge_ratings(Side([], [], []), Side([], [], []), Limits(few_ratings=TooFew.HOLD))
    assert gate.undecided


def _looks(draw: random.Random, new: float, old: float, turns: int) -> bool:
    """Whether one of two versions that are grounded so often is taken back, looked at after every turn."""
    calls: list[Call] = []
    for number in range(turns):
        for version, share in (("new", new), ("old", old)):
            calls.append(Call(str(number), "word", "m", version, grounded=draw.random() < share))
        both = Seen(calls)
        if number >= 9 and failed(both.of("m", "new"), both.of("m", "old")):
            return True
    return False


def test_chance_seldom_takes_a_version_back_and_a_bad_one_seldom_passes() -> None:
    draw = random.Random(11)
    assert sum(_looks(draw, 0.7, 0.7, 30) for _ in range(60)) <= 4
    assert sum(_looks(draw, 0.1, 0.7, 30) for _ in range(30)) >= 29


def test_limits_are_checked() -> None:
    with pytest.raises(ValidationError, match="least_turn"):
        Limits.model_validate_json('{"least_turn": 5}')
    with pytest.raises(ValidationError, match="few_turns"):
        Limits.model_validate_json('{"few_turns": "guess"}')
    assert Limits.model_validate_json('{"few_turns": "hold", "least_turns": 50}').least_turns == 50

"""The machine of a rollout, and the gates."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.models.gates import Answer, Gate, Measured, judge
from services.models.limits import Limits
from services.models.rollouts import Patience, Rollout, Sight, State, advance, roll_back

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PATIENCE = Patience(
    start_seconds=100,
    shadow_seconds=50,
    repeat_seconds=10,
    step_seconds=10,
    last_seconds=30,
    absence_seconds=5,
    hold_seconds=60,
)
GOOD = Gate("errors", passed=True, value=0, limit=0, explanation="none")
BAD = replace(GOOD, passed=False, explanation="6 of 6 golden questions failed")
FEW = Gate("turns", passed=True, value=3, limit=10, explanation="not enough turns", undecided=True)


def rollout(**changes: object) -> Rollout:
    begun = Rollout("dep_1", "dev", "base", "new.yaml", "text", "usr_1", "why", created_at=NOW, updated_at=NOW)
    return replace(begun, **changes)  # type: ignore[arg-type]


SIGHTS = st.builds(
    Sight,
    ready=st.booleans(),
    absent_seconds=st.floats(0, 10),
    failure=st.sampled_from(["", "", "", "", "it does not load"]),
    gates=st.sampled_from([(), (GOOD,), (GOOD,), (GOOD, BAD), (GOOD, FEW)]),
)
ROLLOUTS = st.builds(
    rollout,
    steps=st.lists(st.integers(1, 99), unique=True, max_size=4).map(lambda steps: tuple(sorted(steps))),
    direct=st.booleans(),
)


@given(ROLLOUTS, st.lists(st.tuples(SIGHTS, st.floats(0, 60)), max_size=40))
def test_a_rollout_only_goes_forward_and_ends_for_good(begun: Rollout, seen: list[tuple[Sight, float]]) -> None:
    order = list(State)
    now, one = NOW, begun
    for sight, seconds in seen:
        now += timedelta(seconds=seconds)
        moved = advance(one, sight, now, PATIENCE)
        if not one.is_under_way:
            assert moved is one
        assert order.index(moved.state) >= order.index(one.state)
        if moved.state is not State.ROLLED_BACK:
            assert moved.percent >= one.percent
        if sight.failure or BAD in sight.gates:
            assert not moved.is_under_way
            assert moved.state is State.ROLLED_BACK or not one.is_under_way
        if moved.state is State.PROMOTED and one.is_under_way:
            assert sight.ready
            assert begun.direct or one.percent == 100, "everybody came over before it was promoted"
            assert begun.direct or FEW not in sight.gates
        assert bool(moved.failure) == (moved.state is State.ROLLED_BACK)
        one = moved


def test_a_good_one_goes_all_the_way() -> None:
    one, now, shares = rollout(), NOW, []
    while one.is_under_way:
        now += timedelta(seconds=10)
        one = advance(one, Sight(ready=True, gates=(GOOD,)), now, PATIENCE)
        shares.append((one.state.value, one.percent))
    expected = [("shadow", 0)] * 2 + [("canary", 10), ("canary", 50), *[("canary", 100)] * 3, ("promoted", 100)]
    assert shares == expected
    assert one.tried_at == NOW + timedelta(seconds=30)
    assert one.gates == (GOOD,)


def test_turns_are_repeated_between_the_golden_questions_and_the_first_share() -> None:
    asked = rollout(state=State.SHADOW)
    assert not asked.repeats_turns
    later = NOW + timedelta(seconds=40)
    one = advance(asked, Sight(ready=True, gates=(GOOD,)), later, PATIENCE)
    assert (one.state, one.repeats_turns, one.updated_at, one.percent) == (State.SHADOW, True, later, 0)
    turns = replace(GOOD, name="failed turns in the shadow")
    assert advance(one, Sight(ready=True, gates=(turns,)), later + timedelta(seconds=9), PATIENCE) is one
    tried = advance(one, Sight(ready=True, gates=(turns,)), later + timedelta(seconds=10), PATIENCE)
    assert (tried.state, tried.repeats_turns, tried.gates) == (State.CANARY, False, (GOOD, turns))
    bad = replace(turns, passed=False, explanation="12 of 12 failed")
    ended = advance(one, Sight(ready=True, gates=(bad,)), later + timedelta(seconds=1), PATIENCE)
    assert (ended.state, ended.failure) == (State.ROLLED_BACK, "failed turns in the shadow: 12 of 12 failed")
    lost = advance(one, Sight(absent_seconds=6), later + timedelta(seconds=11), PATIENCE)
    assert lost.failure == "it lost its replicas"


def test_where_no_turn_is_repeated_the_first_share_comes_at_once() -> None:
    none = replace(PATIENCE, repeat_seconds=0)
    one = advance(rollout(state=State.SHADOW), Sight(ready=True, gates=(GOOD,)), NOW, none)
    assert (one.state, one.percent, one.tried_at) == (State.CANARY, 10, NOW)


def test_too_few_repeated_turns_hold_the_shadow_where_that_is_the_rule_but_not_for_ever() -> None:
    one = rollout(state=State.SHADOW, gates=(GOOD,))
    few = Sight(ready=True, gates=(FEW,))
    held = advance(one, few, NOW + timedelta(seconds=11), PATIENCE)
    assert (held.state, held.repeats_turns, held.gates, held.updated_at) == (State.SHADOW, True, (GOOD, FEW), NOW)
    ended = advance(held, few, NOW + timedelta(seconds=71), PATIENCE)
    assert (ended.state, ended.failure) == (State.ROLLED_BACK, "turns: not enough turns, for 71 s")


@pytest.mark.parametrize(
    ("state", "seconds", "why"),
    [
        (State.STARTING, 101, "it was not ready within 100 s"),
        (State.SHADOW, 51, "it was not measured within 50 s"),
    ],
)
def test_waiting_has_an_end(state: State, seconds: int, why: str) -> None:
    one = rollout(state=state)
    assert advance(one, Sight(), NOW + timedelta(seconds=seconds - 2), PATIENCE) is one
    ended = advance(one, Sight(), NOW + timedelta(seconds=seconds), PATIENCE)
    assert (ended.state, ended.failure) == (State.ROLLED_BACK, why)


def test_a_blink_is_no_loss_and_a_loss_is_taken_back() -> None:
    one = rollout(state=State.CANARY)
    late = NOW + timedelta(seconds=25)
    assert advance(one, Sight(absent_seconds=4), late, PATIENCE) is one
    lost = advance(one, Sight(absent_seconds=6), late, PATIENCE)
    assert (lost.state, lost.failure) == (State.ROLLED_BACK, "it lost its replicas")


def test_the_failed_gate_is_the_reason_and_stays_on_record() -> None:
    ended = advance(rollout(state=State.SHADOW), Sight(ready=True, gates=(BAD,)), NOW, PATIENCE)
    assert ended.failure == "errors: 6 of 6 golden questions failed"
    assert ended.gates == (BAD,)
    assert ended.percent == 0


def test_a_share_is_held_while_there_is_too_little_to_judge_by_but_not_for_ever() -> None:
    began = rollout(state=State.CANARY, tried_at=NOW)
    few = Sight(ready=True, gates=(GOOD, FEW))
    assert advance(began, few, NOW + timedelta(seconds=9), PATIENCE) is began
    held = advance(began, few, NOW + timedelta(seconds=11), PATIENCE)
    assert (held.percent, held.updated_at, held.gates) == (10, NOW, (GOOD, FEW))
    # Said once: who looks every second does not write every second.
    assert advance(held, few, NOW + timedelta(seconds=12), PATIENCE) is held
    enough = Sight(ready=True, gates=(GOOD, replace(FEW, undecided=False, value=10)))
    assert advance(held, enough, NOW + timedelta(seconds=13), PATIENCE).percent == 50
    ended = advance(held, few, NOW + timedelta(seconds=71), PATIENCE)
    assert (ended.state, ended.failure) == (State.ROLLED_BACK, "turns: not enough turns, for 71 s")


def test_a_rollout_by_hand_says_so() -> None:
    assert roll_back(rollout(), "by hand", NOW).failure == "by hand"


OLD = Measured([Answer("", 0.5, 10.0, grounded=True, likelihood=-1.0)] * 6, price=1.0)
FINE = Answer("", 0.6, 9.0, grounded=True, likelihood=-1.2)


@pytest.mark.parametrize(
    ("new", "failed"),
    [
        (Measured([FINE] * 6, price=1.0), set()),
        (Measured([FINE] * 5 + [Answer(error="INTERNAL: template")], price=1.0), {"errors"}),
        (Measured([Answer(error="INTERNAL: template")] * 6, price=1.0), {"errors"}),
        (Measured([replace(FINE, first_token_seconds=2.6)] * 6, price=1.0), {"first token"}),
        (Measured([replace(FINE, tokens_per_second=4.9)] * 6, price=1.0), {"tokens/s"}),
        (Measured([FINE] * 4 + [replace(FINE, grounded=False)] * 2, price=1.0), {"grounded"}),
        (Measured([FINE] * 4 + [replace(FINE, tokens_per_second=0.0)] * 2, price=1.0), set()),
        (Measured([replace(FINE, tokens_per_second=0.0)] * 6, price=1.0), {"tokens/s"}),
        (Measured([], price=1.0), {"errors"}),
        (Measured([replace(FINE, likelihood=-1.4)] * 6, price=1.0), {"template"}),
        (Measured([replace(FINE, likelihood=None)] * 6, price=1.0), set()),
        (Measured([FINE] * 6, price=2.1), {"cost"}),
    ],
    ids=[
        "good",
        "one error",
        "all errors",
        "slow to begin",
        "slow",
        "ungrounded",
        "two of one token",
        "all of one token",
        "no answers",
        "not understood",
        "cannot say",
        "dear",
    ],
)
def test_the_gates_compare_with_what_serves(new: Measured, failed: set[str]) -> None:
    gates = judge(new, OLD, Limits())
    assert {gate.name for gate in gates if not gate.passed} == failed
    assert all(gate.explanation for gate in gates)


def test_with_nothing_to_compare_only_errors_count() -> None:
    slow = Measured([Answer("", 50.0, 0.1)] * 6, price=99.0)
    assert all(gate.passed for gate in judge(slow, None, Limits()))
    assert not all(gate.passed for gate in judge(Measured([Answer(error="x")]), None, Limits()))


@pytest.mark.parametrize(("new", "old"), [(1, 0), (1, 1), (1, 6), (0, 6)])
def test_one_failure_is_too_many_whatever_the_other_version_does(new: int, old: int) -> None:
    slow = Answer(error="DEADLINE_EXCEEDED", busy=True)
    measured, stable = (Measured([FINE] * (6 - failed) + [slow] * failed) for failed in (new, old))
    assert judge(measured, stable, Limits())[0].passed == (not new)

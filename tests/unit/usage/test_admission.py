"""How much work may begin with, and when it may not: properties of the decisions alone."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.usage.admission import (
    ENOUGH,
    Grant,
    Level,
    Refusal,
    Size,
    admit,
    extend,
    learned_size,
    overshoot_bound,
)
from services.usage.domain import Account, Budget, Period, Scope

NOW = datetime(2026, 3, 14, tzinfo=UTC)
AMOUNTS = st.integers(0, 10**6)


def level(limit: int, spent: int = 0, reserved: int = 0, percent: int = 10) -> Level:
    budget = Budget("bdg_1", "org_1", Scope.ORGANIZATION, "", Period.DAY, limit, 1, NOW, NOW)
    return Level(budget, Account(spent, reserved), overshoot_bound(limit, percent))


LEVELS = st.lists(st.builds(level, AMOUNTS, AMOUNTS, AMOUNTS), max_size=4)
SIZES = st.tuples(st.integers(1, 10**5), st.integers(1, 10**5)).map(lambda two: Size(max(two), min(two)))


@given(LEVELS, SIZES)
def test_no_grant_goes_beyond_the_bound_of_any_level(levels: list[Level], size: Size) -> None:
    decided = admit(levels, size)
    if isinstance(decided, Refusal):
        assert decided.level in levels
        return
    assert 1 <= decided.amount <= size.ample
    for one in levels:
        assert one.account.spent + one.account.reserved + decided.amount <= one.budget.limit + one.overshoot


@given(LEVELS, SIZES)
def test_only_a_level_without_room_for_the_usual_refuses(levels: list[Level], size: Size) -> None:
    decided = admit(levels, size)
    if isinstance(decided, Refusal):
        refusing = decided.level
        assert refusing.is_spent or (refusing.account.reserved and refusing.widest_room < size.usual)
        assert decided.passing != refusing.is_spent
    else:
        assert not any(one.is_spent for one in levels)


@given(st.integers(1, 10**6), SIZES, st.integers(0, 100))
def test_whoever_comes_first_is_not_refused_however_small_the_budget(limit: int, size: Size, percent: int) -> None:
    assert isinstance(admit([level(limit, percent=percent)], size), Grant)


@given(st.integers(1, 200), SIZES, st.integers(0, 50), st.integers(0, 10**4))
def test_a_burst_whose_usual_costs_fit_is_not_refused(count: int, size: Size, percent: int, spare: int) -> None:
    limit = count * size.usual + spare
    reserved = 0
    for _ in range(count):
        decided = admit([level(limit, 0, reserved, percent)], size)
        assert isinstance(decided, Grant)
        reserved += decided.amount
    assert reserved <= limit + overshoot_bound(limit, percent)


def test_little_is_held_amply_and_much_as_usual() -> None:
    size = Size(ample=50, usual=10)
    assert admit([level(1_000, reserved=50)], size) == Grant(50)
    assert admit([level(1_000, reserved=51)], size) == Grant(10)


@given(LEVELS, st.integers(1, 10**5))
def test_a_top_up_keeps_within_the_bound(levels: list[Level], more: int) -> None:
    decided = extend(levels, more)
    if isinstance(decided, Grant):
        assert 1 <= decided.amount <= more
        for one in levels:
            assert one.account.spent + one.account.reserved + decided.amount <= one.budget.limit + one.overshoot
    else:
        assert decided.level.is_spent or decided.level.widest_room < 1


def test_a_limit_of_nothing_lets_nothing_begin() -> None:
    assert isinstance(admit([level(0)], Size(1, 1)), Refusal)


def test_the_strictest_level_decides() -> None:
    wide, narrow = level(1_000_000), level(50, reserved=50)
    decided = admit([wide, narrow], Size(10, 10))
    assert decided == Refusal(narrow)
    assert decided.passing
    spent = replace(narrow, account=Account(50, 0))
    assert admit([wide, spent], Size(10, 10)) == Refusal(spent)
    assert not Refusal(spent).passing


@given(st.lists(st.integers(0, 10**9), min_size=ENOUGH, max_size=200), st.integers(0, 10**6))
def test_ninety_five_of_a_hundred_works_fit_the_ample_size(costs: list[int], unknown: int) -> None:
    size = learned_size(costs, unknown)
    assert sum(cost <= size.ample for cost in costs) * 100 >= 95 * len(costs)
    assert size.ample in {*costs, 1}
    assert 1 <= size.usual <= size.ample


@pytest.mark.parametrize("known", range(ENOUGH))
def test_before_enough_is_known_the_configured_size_holds(known: int) -> None:
    assert learned_size([10**9] * known, 250) == Size(250, 250)
    assert learned_size([], 0) == Size(1, 1)

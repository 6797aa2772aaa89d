"""Prices, periods, thresholds."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.usage.domain import Period, Price, Prices, Scope, targets, thresholds_reached
from services.usage.settings import ModelPrice, UsageSettings

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - see timezones
NO_TIME = timedelta()


@given(MOMENTS, st.sampled_from(Period))
def test_a_moment_lies_in_its_period_and_the_end_in_the_next(at: datetime, period: Period) -> None:
    start, end = period.start(at), period.end(at)
    assert start <= at
    assert period.start(start) == start
    if end is None:
        assert period is Period.ALL
        return
    assert at < end
    assert period.start(end) == end
    assert period.start(end - timedelta(microseconds=1)) == start


def test_days_and_months_begin_at_midnight_utc_wherever_the_clock_is() -> None:
    far_east = timezone(timedelta(hours=14))
    at = datetime(2026, 3, 1, 9, tzinfo=far_east)
    assert Period.DAY.start(at) == datetime(2026, 2, 28, tzinfo=UTC)
    assert Period.MONTH.start(at) == datetime(2026, 2, 1, tzinfo=UTC)
    assert Period.MONTH.end(at) == datetime(2026, 3, 1, tzinfo=UTC)


def test_what_is_used_is_never_free() -> None:
    price = Price(prompt=1, cached_prompt=1, completion=1, hour=1)
    assert price.cost(1, 0, 0, NO_TIME) == 1
    assert price.cost(0, 0, 0, timedelta(microseconds=1)) == 1
    assert price.cost(0, 0, 0, NO_TIME) == 0
    assert Price(hour=3_600_000_000).cost(0, 0, 0, timedelta(seconds=2)) == 2_000_000


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_cached_tokens_cost_their_own_price(prompt: int, cached: int, completion: int) -> None:
    cached = min(cached, prompt)
    price = Price(prompt=3_000_000, cached_prompt=1_000_000, completion=15_000_000)
    assert price.cost(prompt, cached, completion, NO_TIME) == 3 * (prompt - cached) + cached + 15 * completion


def test_a_model_without_a_price_has_that_of_any() -> None:
    prices = Prices({"*": Price(prompt=1), "own": Price(prompt=2)})
    assert (prices.of("own").prompt, prices.of("other").prompt) == (2, 1)


@pytest.mark.parametrize(
    ("limit", "spent", "reached"),
    [
        (100, 0, []),
        (100, 49, []),
        (100, 50, [50]),
        (100, 79, [50]),
        (100, 80, [50, 80]),
        (100, 100, [50, 80, 100]),
        (100, 500, [50, 80, 100]),
        (3, 2, [50]),
        (0, 0, []),
        (0, 1, [50, 80, 100]),
        (100, -5, []),
    ],
)
def test_thresholds(limit: int, spent: int, reached: list[int]) -> None:
    assert thresholds_reached(limit, spent) == reached


def test_only_what_is_named_is_limited() -> None:
    assert targets("org", "", "", "m", "") == [("org", Scope.ORGANIZATION, ""), ("org", Scope.MODEL, "m")]
    assert len(targets("org", "u", "k", "m", "t")) == 5


def test_prices_are_checked_when_the_process_starts() -> None:
    with pytest.raises(ValidationError):
        ModelPrice(prompt=-1)
    with pytest.raises(ValidationError):
        ModelPrice(completion=10**12 + 1)
    assert "prices" in UsageSettings.model_fields

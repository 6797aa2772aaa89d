"""A ticket's due time as a priority."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.workflow.urgency import USUAL, priority_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("due_in", "priority"),
    [
        (-timedelta(days=9), -3),
        (timedelta(0), -3),
        (SECOND, -2),
        (timedelta(hours=1), -2),
        (timedelta(hours=1) + SECOND, -1),
        (timedelta(hours=8), -1),
        (timedelta(hours=8) + SECOND, USUAL),
        (timedelta(days=365), USUAL),
    ],
)
def test_the_sooner_it_is_due_the_sooner_it_goes(due_in: timedelta, priority: int) -> None:
    assert priority_of(NOW + due_in, NOW) == priority


def test_without_a_due_time_it_is_as_usual() -> None:
    assert priority_of(None, NOW) == USUAL


@given(st.timedeltas(-timedelta(days=9), timedelta(days=9)), st.timedeltas(timedelta(0), timedelta(days=9)))
def test_who_is_due_later_never_goes_before(due_in: timedelta, later: timedelta) -> None:
    assert priority_of(NOW + due_in, NOW) <= priority_of(NOW + due_in + later, NOW) <= USUAL

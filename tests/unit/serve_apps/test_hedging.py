"""When a second replica may be asked for, and how often."""

import pytest

from serve_apps.assistant.board import Report
from serve_apps.assistant.engines.patience import FREE_RETRIES
from serve_apps.assistant.errors import ModelOverloaded
from serve_apps.assistant.hedging import Hedging
from serve_apps.assistant.pace import LEAST, Pace
from serve_apps.assistant.routing_config import HedgingConfig


def report(port: int, slow: float, *, model: str = "small", degraded: bool = False) -> Report:
    return Report(
        "llm",
        f"host:{port}",
        model,
        draining=False,
        running=0,
        waiting=0,
        kv_cache_usage=0.0,
        capacity=8,
        sequence=1,
        degraded=degraded,
        slow_first_token_seconds=slow,
    )


def test_the_middle_replica_says_what_is_slow() -> None:
    hedging = Hedging(HedgingConfig(least_seconds=0.1))
    hedging.learn([report(1, 0.3), report(2, 9.0), report(3, 0.4), report(4, 0.01, model="fast")])
    assert hedging.after("small") == 0.4
    # There is no second one to ask.
    assert hedging.after("fast") == 0.0
    hedging.learn([report(1, 0.01), report(2, 0.02), report(3, 5.0, degraded=True)])
    assert hedging.after("small") == 0.1
    hedging.learn([report(1, 0.0), report(2, 0.0)])
    assert hedging.after("small") == 0.0


def test_so_many_are_sent_twice_and_no_more() -> None:
    hedging = Hedging(HedgingConfig(share=0.05))
    for _ in range(100):
        hedging.note(second=False)
    for _ in range(FREE_RETRIES + 5):
        hedging.note(second=True)
    with pytest.raises(ModelOverloaded):
        hedging.note(second=True)


def test_without_hedging_nobody_is() -> None:
    hedging = Hedging(None)
    hedging.learn([report(1, 0.3), report(2, 0.3)])
    hedging.note(second=False)
    assert hedging.after("small") == 0.0
    with pytest.raises(ModelOverloaded):
        hedging.note(second=True)


def test_a_replica_says_how_slow_its_slow_answers_begin() -> None:
    pace = Pace()
    for number in range(LEAST - 1):
        pace.answered(number / 100, 1.0, 10)
    assert pace.slow_first_token_seconds == 0.0
    for number in range(LEAST - 1, 100):
        pace.answered(number / 100, 1.0, 10)
    assert pace.slow_first_token_seconds == 0.95

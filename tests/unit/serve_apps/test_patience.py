"""When a failing endpoint is tried again and when it is left alone; when an engine counts as hung."""

from dataclasses import dataclass

import pytest

from serve_apps.assistant.engines.heartbeat import SILENT_SECONDS, STILL_SECONDS, Heartbeat
from serve_apps.assistant.engines.patience import FREE_RETRIES, WINDOW_SECONDS, CircuitBreaker, RetryBudget


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_after_failures_in_a_row_and_tries_with_one_request() -> None:
    clock = Clock()
    breaker = CircuitBreaker(3, 10.0, clock)
    for _ in range(2):
        assert breaker.admit()
        breaker.failed()
    breaker.succeeded()
    for _ in range(3):
        assert breaker.admit()
        breaker.failed()
    assert breaker.is_open
    assert not breaker.admit()
    assert breaker.seconds_left() == pytest.approx(10.0)
    clock.now += 10.0
    assert breaker.admit()
    assert not breaker.admit()
    breaker.failed()
    assert not breaker.admit()
    clock.now += 10.0
    assert breaker.admit()
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.admit()


def test_a_trial_whose_caller_left_can_be_made_again() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, 10.0, clock)
    breaker.failed()
    clock.now += 10.0
    assert breaker.admit()
    breaker.abandoned()
    assert breaker.is_open
    assert breaker.admit()


def test_retries_are_a_share_of_the_last_minutes_requests() -> None:
    clock = Clock()
    budget = RetryBudget(0.1, clock)
    for _ in range(100):
        budget.request()
    assert sum(budget.spend() for _ in range(100)) == 10 + FREE_RETRIES
    clock.now += WINDOW_SECONDS + 1
    assert sum(budget.spend() for _ in range(100)) == FREE_RETRIES


@dataclass
class Times:
    """What the processor did."""

    user: float = 0.0
    system: float = 0.0


class Process:
    """A process whose work is set by the test."""

    def __init__(self) -> None:
        self.times = Times()
        self.killed = False

    def cpu_times(self) -> Times:
        return self.times

    def kill(self) -> None:
        self.killed = True


class Engine:
    """An engine's process and its heart."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.process = Process()
        self.heart = Heartbeat(self._ask, lambda: [self.process], self.clock)  # type: ignore[list-item]

    async def _ask(self) -> None:
        return

    def stopped_after(self, seconds: float, *, work: float = 0.0, beats: bool = False) -> bool:
        """Look once a second, as Serve does."""
        for _ in range(round(seconds)):
            self.clock.now += 1.0
            self.process.times.user += work
            if beats:
                self.heart.beat()
            if self.heart.has_stopped():
                return True
        return False


def test_an_idle_engine_that_answers_lives() -> None:
    assert not Engine().stopped_after(600, beats=True)


def test_an_engine_that_computes_lives_though_a_step_takes_long() -> None:
    assert not Engine().stopped_after(60, work=0.3)


def test_a_stopped_engine_is_noticed_within_five_seconds() -> None:
    engine = Engine()
    assert not engine.stopped_after(30, work=0.9, beats=True)
    assert not engine.stopped_after(int(STILL_SECONDS))
    assert engine.stopped_after(5 - int(STILL_SECONDS))


def test_a_stall_of_the_replica_itself_is_not_the_engines() -> None:
    engine = Engine()
    assert not engine.stopped_after(10, beats=True)
    engine.clock.now += 20.0
    assert not engine.heart.has_stopped()
    engine.heart.beat()
    assert not engine.stopped_after(10, beats=True)


def test_an_engine_that_turns_in_circles_is_noticed_in_the_end() -> None:
    engine = Engine()
    assert not engine.stopped_after(SILENT_SECONDS - 1, work=1.0)
    assert engine.stopped_after(3, work=1.0)


def test_it_can_be_killed() -> None:
    engine = Engine()
    engine.heart.kill()
    assert engine.process.killed

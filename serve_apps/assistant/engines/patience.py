"""When to try a failing endpoint again, and when to leave it alone."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60.0
# Granted in any window however few requests there are, so that a quiet endpoint gets its second chance, too.
FREE_RETRIES = 3

Clock = Callable[[], float]


class CircuitBreaker:
    """Opens after some failures in a row; after a while it lets one request through, which closes or opens it again."""

    def __init__(self, failures_to_open: int, open_seconds: float, clock: Clock = time.monotonic) -> None:
        self._failures_to_open = failures_to_open
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """True while the endpoint is left alone, or tried with one request only."""
        return self._failures >= self._failures_to_open

    def seconds_left(self) -> float:
        """How long it stays open at least; 0 when a request may go out."""
        if not self.is_open:
            return 0.0
        left = self._opened_at + self._open_seconds - self._clock()
        return max(left, 0.0) if not self._trying else max(left, 1.0)

    def admit(self) -> bool:
        """Whether a request may go out; each one admitted must end with `succeeded`, `failed` or `abandoned`."""
        if not self.is_open:
            return True
        if self._trying or self.seconds_left() > 0:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """The endpoint answered."""
        self._failures, self._trying = 0, False

    def failed(self) -> None:
        """The endpoint did not answer, or said that it could not."""
        self._failures += 1
        self._trying = False
        if self.is_open:
            self._opened_at = self._clock()

    def abandoned(self) -> None:
        """The caller went before there was an outcome."""
        self._trying = False


class RetryBudget:
    """At most a share of the last minute's requests may be retries: more would only load a failing endpoint further."""

    def __init__(self, share: float, clock: Clock = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()

    def request(self) -> None:
        """A request came."""
        self._requests.append(self._clock())
        self._forget()

    def spend(self) -> bool:
        """Take one retry if there is one left."""
        self._forget()
        if len(self._retries) >= FREE_RETRIES + self._share * len(self._requests):
            return False
        self._retries.append(self._clock())
        return True

    def _forget(self) -> None:
        since = self._clock() - WINDOW_SECONDS
        for times in (self._requests, self._retries):
            while times and times[0] < since:
                times.popleft()

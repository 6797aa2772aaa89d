"""The router's queue under more than can be served: one tenant floods, the others ask as always."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serve_apps.assistant.fairness import TenantShares
from serve_apps.assistant.queueing import Entry, FairQueue
from serve_apps.assistant.simulation.replicas import Calendar

LOUD = "loud"
# Deadlines of requests, in seconds: a chat that somebody waits for, and work that can wait.
WITHIN = (4.0, 20.0)


@dataclass(frozen=True, slots=True)
class Flood:
    """`quiet` tenants ask for `share` of what `places` can serve, together; the loud one for `factor` times all of it.

    A request takes `seconds_each` on average, exponentially distributed, of one place.
    """

    places: int = 32
    quiet: int = 15
    share: float = 0.5
    factor: float = 5.0
    seconds_each: float = 1.0
    seconds: float = 60.0
    max_waiting: int = 256


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a kind of requests: `in_time` began before their deadline, of all that came."""

    came: int
    in_time: int
    refused: int


@dataclass(slots=True, eq=False)
class _Asked(Entry):
    who: str = ""
    came_at: float = 0.0
    within: float = 0.0
    takes: float = 0.0


class Simulation:
    """One run. With `fair` the project's order; without, first come, first served, and a full queue takes nobody."""

    def __init__(self, flood: Flood, *, fair: bool, seed: int = 1) -> None:
        self._flood = flood
        self._fair = fair
        self._draw = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self._now = 0.0
        self._shares = TenantShares(lambda: self._now)
        self._queue = FairQueue(flood.max_waiting, self._shares.taken if fair else lambda _: 0.0)
        self._calendar = Calendar()
        self._free = flood.places
        self._came: dict[tuple[str, float], int] = defaultdict(int)
        self._in_time: dict[tuple[str, float], int] = defaultdict(int)
        self._refused: dict[tuple[str, float], int] = defaultdict(int)

    def run(self) -> dict[tuple[str, float], Fate]:
        """Until every request has ended; by "loud" or "quiet" and the deadline asked for."""
        for at, asked in self._arrivals():
            self._calendar.add(at, asked)
        while (event := self._calendar.pop()) is not None:
            self._now, what = event
            if isinstance(what, _Asked):
                self._arrive(what)
            else:
                self._free += 1
                self._serve()
        return {kind: Fate(came, self._in_time[kind], self._refused[kind]) for kind, came in self._came.items()}

    def _arrivals(self) -> Iterator[tuple[float, _Asked]]:
        flood = self._flood
        able = flood.places / flood.seconds_each
        rates = {LOUD: able * flood.factor}
        rates |= {f"quiet {number}": able * flood.share / flood.quiet for number in range(flood.quiet)}
        for tenant, rate in rates.items():
            at = self._draw.expovariate(rate)
            while at < flood.seconds:
                within = self._draw.choice(WITHIN)
                takes = self._draw.expovariate(1 / flood.seconds_each)
                deadline = at + within if self._fair else 0.0
                who = tenant.split()[0]
                yield at, _Asked(tenant if self._fair else "", 0, deadline, 100, 0, 0, who, at, within, takes)
                at += self._draw.expovariate(rate)

    def _arrive(self, asked: _Asked) -> None:
        self._came[(asked.who, asked.within)] += 1
        shed = self._queue.add(asked)
        if isinstance(shed, _Asked):
            self._refuse(shed)
        self._serve()

    def _serve(self) -> None:
        if self._fair:
            self._drop(self._queue.overdue(self._now))
        order = iter(self._queue.order() if self._free and len(self._queue) else ())
        while self._free and (entry := next(order, None)) is not None:
            if not isinstance(entry, _Asked):
                continue
            self._queue.remove(entry)
            self._free -= 1
            self._in_time[(entry.who, entry.within)] += self._now < entry.came_at + entry.within
            self._shares.note(entry.tenant, entry.tokens)
            self._calendar.add(self._now + entry.takes, "done")

    def _drop(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._queue.remove(entry)
            if isinstance(entry, _Asked):
                self._refuse(entry)

    def _refuse(self, asked: _Asked) -> None:
        self._refused[(asked.who, asked.within)] += 1

"""Who is next: within a tenant the earliest deadline, among tenants whoever has lately been given fewest tokens."""

import bisect
import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Entry:
    """A request that waits. `deadline` on the queue's clock, in seconds; `tokens` are those of prompt and answer.

    `place` counts from 1, as of the last time that the order was looked at.
    """

    tenant: str
    priority: int
    deadline: float
    tokens: int
    number: int = 0
    place: int = 0

    @property
    def urgency(self) -> tuple[int, float, int]:
        """Sorts the requests of one tenant: lower goes first."""
        return self.priority, self.deadline, self.number


class FairQueue:
    """At most `most` entries. `taken` says how many tokens a tenant has lately been given."""

    def __init__(self, most: int, taken: Callable[[str], float]) -> None:
        self.most = most
        self._taken = taken
        # By tenant, the most urgent first.
        self._waiting: dict[str, list[Entry]] = {}
        self._length = 0
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self._length

    def add(self, entry: Entry) -> Entry | None:
        """Have it wait; the one that must go because there is no place left, if any: it may be the new one.

        That is whoever would be served last: the least urgent of the tenant that takes most. What says by a priority
        above 0 that it can wait goes before that, whoever's it is.
        """
        entry.number = next(self._numbers)
        bisect.insort(self._waiting.setdefault(entry.tenant, []), entry, key=_urgency)
        self._length += 1
        order = self.order()
        if len(order) <= self.most:
            return None
        shed = next((one for one in reversed(order) if one.priority > 0), order[-1])
        self.remove(shed)
        return shed

    def remove(self, entry: Entry) -> None:
        """It waits no longer; one that does not wait is no error."""
        own = self._waiting.get(entry.tenant, [])
        if entry in own:
            own.remove(entry)
            self._length -= 1
            if not own:
                del self._waiting[entry.tenant]

    def overdue(self, now: float) -> list[Entry]:
        """Those whose deadline has passed."""
        return [entry for own in self._waiting.values() for entry in own if entry.deadline <= now]

    def order(self) -> Sequence[Entry]:
        """All of them, first to last; notes each one's place."""
        # What each tenant would have been given, and the most urgent of its requests that is not in the order yet.
        turns = [(self._taken(tenant), own[0].urgency, 0, own) for tenant, own in self._waiting.items()]
        heapq.heapify(turns)
        found: list[Entry] = []
        while turns:
            taken, _, at, own = turns[0]
            entry = own[at]
            found.append(entry)
            entry.place = len(found)
            if at + 1 < len(own):
                heapq.heapreplace(turns, (taken + entry.tokens, own[at + 1].urgency, at + 1, own))
            else:
                heapq.heappop(turns)
        return found


def _urgency(entry: Entry) -> tuple[int, float, int]:
    return entry.urgency


def deadline_of(now: float, within_seconds: float | None) -> float:
    """When a request is late; never without a limit."""
    return math.inf if within_seconds is None else now + within_seconds

"""Who is next: within a tenant the earliest deadline, among tenants whoever has lately been given fewest tokens."""

import heapq
import itertools
import math
from collections import defaultdict
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
        self._most = most
        self._taken = taken
        self._entries: set[Entry] = set()
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> Entry | None:
        """Have it wait; the one that must go because there is no place left, if any: it may be the new one.

        That is whoever would be served last: the least urgent of the tenant that takes most.
        """
        entry.number = next(self._numbers)
        self._entries.add(entry)
        order = self.order()
        if len(order) <= self._most:
            return None
        self.remove(order[-1])
        return order[-1]

    def remove(self, entry: Entry) -> None:
        """It waits no longer; one that does not wait is no error."""
        self._entries.discard(entry)

    def overdue(self, now: float) -> list[Entry]:
        """Those whose deadline has passed."""
        return [entry for entry in self._entries if entry.deadline <= now]

    def order(self) -> Sequence[Entry]:
        """All of them, first to last; notes each one's place."""
        by_tenant: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._entries:
            by_tenant[entry.tenant].append(entry)
        turns: list[tuple[float, tuple[int, float, int], str]] = []
        for tenant, entries in by_tenant.items():
            # From last to first, as they are taken from the end.
            entries.sort(key=lambda entry: entry.urgency, reverse=True)
            turns.append((self._taken(tenant), entries[-1].urgency, tenant))
        heapq.heapify(turns)
        found: list[Entry] = []
        while turns:
            taken, _, tenant = heapq.heappop(turns)
            entry = by_tenant[tenant].pop()
            found.append(entry)
            entry.place = len(found)
            if by_tenant[tenant]:
                heapq.heappush(turns, (taken + entry.tokens, by_tenant[tenant][-1].urgency, tenant))
        return found


def deadline_of(now: float, within_seconds: float | None) -> float:
    """When a request is late; never without a limit."""
    return math.inf if within_seconds is None else now + within_seconds

"""Decisions of the router that may be used again: it says for how long, and the replica itself when not."""

import time
from collections import OrderedDict
from collections.abc import Callable

from services.orchestrator.ports import Route

MOST = 4096


class RouteLeases:
    """The last route of each conversation, until its lease ends, its replica fails or says that it is busy."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leases: OrderedDict[str, tuple[Route, float]] = OrderedDict()

    def find(self, conversation: str) -> Route | None:
        """The route that still holds, if any."""
        found = self._leases.get(conversation)
        if found is None:
            return None
        route, until = found
        if self._clock() < until:
            return route
        del self._leases[conversation]
        return None

    def keep(self, conversation: str, route: Route, seconds: float) -> None:
        """Take note of a route granted for so long; one without a conversation is nobody's to use again."""
        if not conversation or seconds <= 0:
            return
        self._leases[conversation] = (route, self._clock() + seconds)
        self._leases.move_to_end(conversation)
        while len(self._leases) > MOST:
            self._leases.popitem(last=False)

    def drop(self, route: Route) -> None:
        """End every lease of this replica."""
        for conversation in [key for key, (kept, _) in self._leases.items() if kept.replica == route.replica]:
            del self._leases[conversation]

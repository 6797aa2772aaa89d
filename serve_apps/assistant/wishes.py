"""Requests that are held for a model without replicas: the routers write how many, the autoscaling policy reads it."""

import json
import time
from collections.abc import Callable

from serve_apps.assistant.board import Store

NAMESPACE = "deskmesh-wishes"
# Routers write again while they hold something; what is older belongs to callers who have gone.
FRESH_SECONDS = 3.0


class Wishes:
    """One entry for each model and router, so that no writer needs a lock.

    Times are of the machines' clocks, which may differ by a fraction of `FRESH_SECONDS`.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def write(self, model: str, router: str, held: int) -> None:
        """Say that this router holds so many requests now."""
        self._store.put(f"{model}/{router}", json.dumps({"held": held, "at": self._clock()}).encode())

    def held(self, model: str) -> int:
        """Requests that all routers hold for the model."""
        since = self._clock() - FRESH_SECONDS
        entries = {key: json.loads(value) for key, value in self._store.read_all().items()}
        return sum(
            entry["held"] for key, entry in entries.items() if key.rpartition("/")[0] == model and entry["at"] >= since
        )

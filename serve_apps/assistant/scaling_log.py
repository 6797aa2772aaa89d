"""The last decisions on how many replicas a model has, kept beside the board for whoever wants to follow them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from serve_apps.assistant.board import Store

NAMESPACE = "deskmesh-scaling"
KEPT = 64


@dataclass(frozen=True, slots=True)
class Decision:
    """A change, and the inputs that led to it. `at` is in seconds of Unix time; loads are sums over the replicas, the
    cache's use is that of the fullest."""

    at: float
    model: str
    from_replicas: int
    to_replicas: int
    running: float
    waiting: float
    kv_cache_usage: float
    wanted_for_seconds: float
    reason: str


class ScalingLog:
    """Writes and reads decisions; one entry a model, so that its writer needs no lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._own: dict[str, list[Decision]] = {}

    def add(self, decision: Decision) -> None:
        """Keep a decision, and forget the oldest of its model. Only one process may write for a model."""
        own = self._own.setdefault(decision.model, [])
        own.append(decision)
        del own[:-KEPT]
        self._store.put(decision.model, json.dumps([asdict(one) for one in own]).encode())

    def read(self) -> Sequence[Decision]:
        """All decisions, oldest first."""
        entries = self._store.read_all().values()
        return sorted((Decision(**one) for entry in entries for one in json.loads(entry)), key=lambda one: one.at)

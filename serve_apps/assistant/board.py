"""The board on which replicas write where they listen and how busy they are, and from which the router and Envoy's
endpoints are made.

It lives in the key-value store of Ray's head, so that it needs no process of its own, outlives every replica, and is
the same for several routers. A replica writes about twice a second; who has not written for a while is gone.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from ray.experimental import internal_kv

NAMESPACE = "deskmesh-replicas"
REPORT_SECONDS = 0.5
STALE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a replica says of itself. `replica` is its gRPC address; `capacity` the requests it takes, waiting included;
    `sequence` grows with every report; the seconds are recent averages, 0 before the first answer."""

    application: str
    replica: str
    model: str
    draining: bool
    running: int
    waiting: int
    kv_cache_usage: float
    capacity: int
    sequence: int
    degraded: bool = False
    first_token_seconds: float = 0.0
    token_seconds: float = 0.0
    # Within which 95 of 100 had their first token.
    slow_first_token_seconds: float = 0.0
    # Version of the model, and requests it has answered and failed by its own fault.
    version: str = ""
    answered: int = 0
    broken: int = 0
    # Adapters it has, and why it refused others, by name.
    adapters: Sequence[str] = ()
    refused_adapters: Mapping[str, str] = field(default_factory=dict)


class Store(Protocol):
    """A small key-value store."""

    def put(self, key: str, value: bytes) -> None: ...

    def get(self, key: str) -> bytes | None: ...

    def read_all(self) -> Mapping[str, bytes]: ...

    def delete(self, key: str) -> None: ...


class HeadStore:
    """The store of Ray's head; its calls block for less than a millisecond."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self._namespace = namespace

    def put(self, key: str, value: bytes) -> None:
        """Set a value."""
        internal_kv._internal_kv_put(key, value, namespace=self._namespace)

    def get(self, key: str) -> bytes | None:
        """A value; None where there is none."""
        value: bytes | None = internal_kv._internal_kv_get(key, namespace=self._namespace)
        return value

    def read_all(self) -> Mapping[str, bytes]:
        """Every key with its value."""
        keys: list[bytes] = internal_kv._internal_kv_list("", namespace=self._namespace)
        if not keys:
            return {}
        found = internal_kv.internal_kv_get_gcs_client().internal_kv_multi_get(keys, self._namespace.encode())
        return {key.decode(): value for key, value in found.items() if value is not None}

    def delete(self, key: str) -> None:
        """Remove a value; one that is not there is no error."""
        internal_kv._internal_kv_del(key, namespace=self._namespace)


class Board:
    """Reports of all replicas. One board a reader: it remembers when it saw each report change.

    Ages are measured on the reader's clock, so that clocks of several machines need not agree.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}

    async def write(self, report: Report) -> None:
        """Replace a replica's report."""
        value = json.dumps(asdict(report)).encode()
        await asyncio.to_thread(self._store.put, _key(report), value)

    async def erase(self, report: Report) -> None:
        """Take a replica off the board."""
        await asyncio.to_thread(self._store.delete, _key(report))

    async def read(self) -> Sequence[Report]:
        """The reports of living replicas, by application and address; those long dead are removed from the store."""
        values = await asyncio.to_thread(self._store.read_all)
        now = self._clock()
        alive = []
        for key, value in sorted(values.items()):
            report = _report(value)
            sequence, since = self._seen.get(key, (-1, now))
            if report.sequence != sequence:
                self._seen[key] = (report.sequence, now)
                alive.append(report)
            elif now - since < STALE_SECONDS:
                alive.append(report)
            elif now - since > 10 * STALE_SECONDS:
                await asyncio.to_thread(self._store.delete, key)
        self._seen = {key: seen for key, seen in self._seen.items() if key in values}
        return alive


def _key(report: Report) -> str:
    return f"{report.application}/{report.replica}"


def _report(value: bytes) -> Report:
    content = json.loads(value)
    return Report(**content | {"adapters": tuple(content["adapters"])})

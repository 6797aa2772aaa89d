"""How often the keys of an organization may call, by rate class: counted once for all gateways, in Valkey.

A bucket is a point in time up to which calls are paid for; each call moves it on by the time one call stands for, and
is refused when that would lead too far beyond now. While Valkey does not answer each gateway counts for itself, with
the same limits: keys go on working, and n gateways together let at most n times as much through.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mesh.policy.table import RateClass, Rule
from services.common.errors import Unavailable
from services.gateway.errors import TooManyCalls
from services.gateway.ports import Access

# How long Valkey is left alone after it did not answer.
RETRY_SECONDS = 1.0
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls, or tokens, a minute in the long run, and `burst` of them at once."""

    per_minute: int
    burst: int

    @property
    def interval_micros(self) -> int:
        """The time that one of them stands for, rounded up: never more than the limit."""
        return -(-60_000_000 // self.per_minute)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is counted together."""

    name: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call goes on; `wait_seconds` if not, else how many more could follow at once."""

    allowed: bool
    remaining: int
    wait_seconds: float


class Buckets(Protocol):
    """Counts."""

    async def take(self, buckets: Sequence[Bucket]) -> Decision:
        """Count a call in all buckets, or in none if one is full. Raises Unavailable."""


KEY_RATES: Mapping[RateClass, Rate] = {
    RateClass.READ: Rate(3_000, 600),
    RateClass.WRITE: Rate(1_200, 240),
    RateClass.CREDENTIAL: Rate(60, 20),
    RateClass.STREAM: Rate(600, 120),
    RateClass.INFERENCE: Rate(300, 60),
}
# All keys of an organization together.
ORGANIZATION_FACTOR = 5


class LocalBuckets:
    """Buckets of this process alone."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._paid_until: dict[str, int] = {}

    def take(self, buckets: Sequence[Bucket]) -> Decision:
        """See `Buckets`; never unavailable."""
        now = int(self._now() * 1_000_000)
        wait, remaining, paid = 0, 1 << 30, {}
        for bucket in buckets:
            interval = bucket.rate.interval_micros
            until = max(now, self._paid_until.get(bucket.name, 0)) + interval
            left = now + interval * bucket.rate.burst - until
            wait, remaining = max(wait, -left), min(remaining, left // interval)
            paid[bucket.name] = until
        if wait > 0:
            return Decision(allowed=False, remaining=0, wait_seconds=wait / 1_000_000)
        if len(self._paid_until) > REMEMBERED:
            self._paid_until = {name: until for name, until in self._paid_until.items() if until > now}
        self._paid_until |= paid
        return Decision(allowed=True, remaining=remaining, wait_seconds=0.0)


class KeyLimits:
    """The limits of API keys; `table` holds the rule of every RPC by its path."""

    def __init__(
        self,
        shared: Buckets,
        table: Mapping[str, Rule],
        *,
        rates: Mapping[RateClass, Rate] = KEY_RATES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._table = table
        self._rates = rates
        self._monotonic = monotonic
        self._local = LocalBuckets()
        self._away_until = 0.0
        # Who is told to wait is refused without asking anybody until then.
        self._waiting: dict[str, float] = {}
        self.counted_locally = 0

    async def take(self, access: Access, path: str) -> tuple[Rate, Decision]:
        """Count a call of the key. Raises TooManyCalls."""
        rule = self._table.get(path)
        rate_class = rule.rate_class if rule else RateClass.READ
        rate = self._rates[rate_class]
        # In braces what a Valkey cluster keeps in one place.
        tenant = f"{{{access.organization_id}}}"
        key = Bucket(f"{tenant}:{rate_class}:{access.key_id}", rate)
        together = Rate(rate.per_minute * ORGANIZATION_FACTOR, rate.burst * ORGANIZATION_FACTOR)
        organization = Bucket(f"{tenant}:{rate_class}", together)
        now = self._monotonic()
        waits_until = self._waiting.get(key.name, 0.0)
        if now < waits_until:
            raise TooManyCalls(retry_after_seconds=waits_until - now)
        decision = await self._count((key, organization))
        if not decision.allowed:
            self._wait(key.name, now, decision.wait_seconds)
            raise TooManyCalls(retry_after_seconds=decision.wait_seconds)
        return rate, decision

    async def _count(self, buckets: Sequence[Bucket]) -> Decision:
        if self._monotonic() >= self._away_until:
            try:
                return await self._shared.take(buckets)
            except Unavailable:
                self._away_until = self._monotonic() + RETRY_SECONDS
        self.counted_locally += 1
        return self._local.take(buckets)

    def _wait(self, name: str, now: float, seconds: float) -> None:
        if len(self._waiting) > REMEMBERED:
            self._waiting = {other: until for other, until in self._waiting.items() if until > now}
        self._waiting[name] = now + seconds

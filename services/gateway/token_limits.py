"""How many tokens of models an organization may use, and each person and key in it: counted once for all gateways.

A call holds the most it will use, as far as that is known before, and what it used is counted when it ends. So in any
time no more is used than the limit for that time, its burst, and what prompts of calls that run at once have beyond
the estimate; the latter is a debt that calls to come wait for. While Valkey does not answer each gateway counts for
itself, as calls are.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.common.buckets import REMEMBERED, RETRY_SECONDS, Bucket, Decision, Rate
from services.common.context import Caller
from services.common.errors import Unavailable
from services.common.ids import new_id
from services.gateway.errors import TooManyTokens, TooManyTokensAtOnce

# While others hold what is left, it is worth asking again soon: most calls use less than they hold.
HELD_WAIT_SECONDS = 1.0
# A count that does not get through is repeated after these; then the hold's lease ends it, counted in full.
SETTLE_WAITS_SECONDS = (0.5, 2.0, 8.0)


@dataclass(frozen=True, slots=True)
class Hold:
    """What one call may use, in tokens; after `lease_seconds` it counts as used, whatever became of the call."""

    id: str
    buckets: tuple[Bucket, ...]
    tokens: int
    lease_seconds: float


class Holds(Protocol):
    """Counts."""

    async def hold(self, hold: Hold) -> Decision:
        """Hold in all buckets, or in none that has no room. Asked again with one that is held, it says yes.

        Raises Unavailable.
        """

    async def settle(self, hold: Hold, used: int) -> None:
        """Count what was used in place of what is held; nothing if it is not held (any more). Raises Unavailable."""


@dataclass(slots=True)
class _Level:
    """A bucket of this process: paid for up to a time in microseconds, and what is held, with its lease's end."""

    paid: int = 0
    held: dict[str, tuple[int, int]] = field(default_factory=dict)

    def lapse(self, now: int, interval: int) -> None:
        for name, (ends, tokens) in sorted(self.held.items(), key=lambda item: item[1]):
            if ends <= now:
                self.paid = max(self.paid, ends) + tokens * interval
                del self.held[name]


class LocalHolds:
    """Holds of this process alone."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._levels: dict[str, _Level] = {}

    async def hold(self, hold: Hold) -> Decision:
        """See `Holds`; never unavailable."""
        now = int(self._now() * 1_000_000)
        wait, remaining = 0, 1 << 60
        for bucket in hold.buckets:
            interval = bucket.rate.interval_micros
            level = self._level(bucket.name, now)
            level.lapse(now, interval)
            if hold.id in level.held:
                return Decision(allowed=True, remaining=0, wait_seconds=0.0)
            free = now + interval * (bucket.rate.burst - hold.tokens) - max(now, level.paid)
            left = free - interval * sum(tokens for _, tokens in level.held.values())
            if left < 0:
                wait = max(wait, -free, min(-left, int(HELD_WAIT_SECONDS * 1_000_000)))
            remaining = min(remaining, left // interval)
        if wait > 0:
            return Decision(allowed=False, remaining=0, wait_seconds=wait / 1_000_000)
        for bucket in hold.buckets:
            self._levels[bucket.name].held[hold.id] = (now + int(hold.lease_seconds * 1_000_000), hold.tokens)
        return Decision(allowed=True, remaining=remaining, wait_seconds=0.0)

    async def settle(self, hold: Hold, used: int) -> None:
        """See `Holds`; never unavailable."""
        now = int(self._now() * 1_000_000)
        for bucket in hold.buckets:
            level = self._level(bucket.name, now)
            level.lapse(now, bucket.rate.interval_micros)
            if level.held.pop(hold.id, None) is not None:
                level.paid = max(level.paid, now) + used * bucket.rate.interval_micros

    def _level(self, name: str, now: int) -> _Level:
        if len(self._levels) > REMEMBERED:
            self._levels = {other: level for other, level in self._levels.items() if level.held or level.paid > now}
        return self._levels.setdefault(name, _Level())


@dataclass(frozen=True, slots=True)
class TokenRates:
    """What a key, a person or service account, and an organization may use."""

    key: Rate
    user: Rate
    organization: Rate

    @classmethod
    def per_minute(cls, key: int, user: int, organization: int) -> "TokenRates":
        """So many tokens a minute, and as many at once."""
        return cls(Rate(key, key), Rate(user, user), Rate(organization, organization))


class Taken:
    """What a call holds. `rate` is that of the closest level; `remaining` tokens could be held beside it."""

    def __init__(self, hold: Hold, holders: Sequence[Holds], remaining: int) -> None:
        self._hold = hold
        self._holders = holders
        self.rate = hold.buckets[0].rate
        self.remaining = remaining

    async def settle(self, used: int) -> None:
        """Count what was used; never fails."""
        for holder in self._holders:
            for wait in (*SETTLE_WAITS_SECONDS, None):
                try:
                    await holder.settle(self._hold, used)
                except Unavailable:
                    if wait is not None:
                        await asyncio.sleep(wait)
                        continue
                break


class TokenLimits:
    """The limits in tokens; `lease_seconds` is longer than any call takes."""

    def __init__(
        self,
        shared: Holds,
        rates: TokenRates,
        *,
        lease_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._rates = rates
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._local = LocalHolds()
        self._away_until = 0.0
        # Who is told to wait is refused without asking anybody until then, unless it asks for less.
        self._waiting: dict[str, tuple[float, int]] = {}
        self._freeing: set[asyncio.Task[None]] = set()
        self.counted_locally = 0
        self.refused = 0

    async def take(self, caller: Caller, tokens: int) -> Taken:
        """Hold tokens for a call. Raises TooManyTokens, and TooManyTokensAtOnce for what never has room."""
        buckets = self._buckets(caller)
        most = min(bucket.rate.burst for bucket in buckets)
        if tokens > most:
            self.refused += 1
            raise TooManyTokensAtOnce(wanted=tokens, most=most)
        now, name = self._monotonic(), buckets[0].name
        waits_until, for_tokens = self._waiting.get(name, (0.0, 0))
        if now < waits_until and tokens >= for_tokens:
            self.refused += 1
            raise TooManyTokens(retry_after_seconds=waits_until - now)
        hold = Hold(new_id("tok"), buckets, tokens, self._lease_seconds)
        try:
            decision, holders = await self._hold(hold)
        except asyncio.CancelledError:
            # Whoever asked went away; it may be held by now.
            freeing = asyncio.create_task(Taken(hold, (self._local, self._shared), 0).settle(0))
            self._freeing.add(freeing)
            freeing.add_done_callback(self._freeing.discard)
            raise
        if not decision.allowed:
            self.refused += 1
            self._wait(name, now + decision.wait_seconds, tokens)
            raise TooManyTokens(retry_after_seconds=decision.wait_seconds)
        return Taken(hold, holders, decision.remaining)

    def _buckets(self, caller: Caller) -> tuple[Bucket, ...]:
        # In braces what a Valkey cluster keeps in one place.
        tenant = f"{{{caller.organization_id}}}"
        whole = (
            Bucket(f"{tenant}:user:{caller.user_id}", self._rates.user),
            Bucket(tenant, self._rates.organization),
        )
        return (Bucket(f"{tenant}:key:{caller.session_id}", self._rates.key), *whole) if caller.by_key else whole

    async def _hold(self, hold: Hold) -> tuple[Decision, Sequence[Holds]]:
        if self._monotonic() < self._away_until:
            self.counted_locally += 1
            return await self._local.hold(hold), (self._local,)
        try:
            return await self._shared.hold(hold), (self._shared,)
        except Unavailable:
            self._away_until = self._monotonic() + RETRY_SECONDS
        # It may be held there all the same.
        self.counted_locally += 1
        return await self._local.hold(hold), (self._local, self._shared)

    def _wait(self, name: str, until: float, tokens: int) -> None:
        if len(self._waiting) > REMEMBERED:
            now = self._monotonic()
            self._waiting = {other: waits for other, waits in self._waiting.items() if waits[0] > now}
        self._waiting[name] = (until, tokens)

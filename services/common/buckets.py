"""How often something may happen, counted once for all processes, in Valkey.

A bucket is a point in time up to which calls are paid for; each call moves it on by the time one call stands for, and
is refused when that would lead too far beyond now. Several calls may be paid for in advance: a lease. While Valkey
does not answer each process counts for itself, with the same limits: work goes on, and n processes together let at
most n times as much through.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import redis.asyncio
import redis.exceptions

from services.common.errors import Unavailable

# How long Valkey is left alone after it did not answer.
RETRY_SECONDS = 1.0
REMEMBERED = 10_000

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Calls to pay for in advance, in all of some buckets, as many of them as fit into each."""

    buckets: tuple[Bucket, ...]
    calls: int


@dataclass(frozen=True, slots=True)
class Lease:
    """How many calls are paid for; `wait_seconds` until one could be if none is."""

    calls: int
    wait_seconds: float


class Buckets(Protocol):
    """Counts."""

    async def take(self, buckets: Sequence[Bucket]) -> Decision:
        """Count a call in all buckets, or in none if one is full. Raises Unavailable."""


class LeasedBuckets(Protocol):
    """Counts calls before they come."""

    async def lease(self, wanted: Sequence[Wanted]) -> Sequence[Lease]:
        """A lease for each of those wanted, each counted by itself. Raises Unavailable."""


class LocalBuckets:
    """Buckets of this process alone."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._paid_until: dict[str, int] = {}

    async def take(self, buckets: Sequence[Bucket]) -> Decision:
        """See `Buckets`; never unavailable."""
        calls, remaining, wait = self._move(Wanted(tuple(buckets), 1))
        return Decision(bool(calls), remaining, wait)

    async def lease(self, wanted: Sequence[Wanted]) -> Sequence[Lease]:
        """See `LeasedBuckets`; never unavailable."""
        moved = [self._move(one) for one in wanted]
        return [Lease(calls, wait) for calls, _, wait in moved]

    def _move(self, wanted: Wanted) -> tuple[int, int, float]:
        """How many calls were paid for, how many more could be, and the seconds until one could be."""
        now = int(self._now() * 1_000_000)
        calls, room_left, wait = wanted.calls, 1 << 30, 0
        paid: list[tuple[Bucket, int]] = []
        for bucket in wanted.buckets:
            interval = bucket.rate.interval_micros
            until = max(now, self._paid_until.get(bucket.name, 0))
            left = now + interval * bucket.rate.burst - until
            calls, room_left = min(calls, left // interval), min(room_left, left // interval)
            wait = max(wait, interval - left)
            paid.append((bucket, until))
        if calls < 1:
            return 0, 0, wait / 1_000_000
        if len(self._paid_until) > REMEMBERED:
            self._paid_until = {name: until for name, until in self._paid_until.items() if until > now}
        for bucket, until in paid:
            self._paid_until[bucket.name] = until + calls * bucket.rate.interval_micros
        return calls, room_left - calls, 0.0


# Valkey's own clock counts, so that processes whose clocks differ agree. Times are microseconds, which a double holds
# exactly for the next two centuries. Groups follow each other: how many buckets, how many calls, and of each bucket
# the time of a call and the burst.
_MOVE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local answers, key, place = {}, 1, 1
while place <= #ARGV do
  local count, calls = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
  local wait, room, paid, intervals = 0, 1e9, {}, {}
  for number = 1, count do
    local interval, burst = tonumber(ARGV[place + 2 * number]), tonumber(ARGV[place + 2 * number + 1])
    paid[number] = math.max(now, tonumber(redis.call('GET', KEYS[key + number - 1]) or '0'))
    intervals[number] = interval
    local left = now + interval * burst - paid[number]
    room = math.min(room, math.floor(left / interval))
    wait = math.max(wait, interval - left)
  end
  calls = math.min(calls, room)
  if calls < 1 then
    calls, room, wait = 0, 0, math.ceil(wait)
  else
    wait = 0
    for number = 1, count do
      local till = paid[number] + calls * intervals[number]
      local name = KEYS[key + number - 1]
      redis.call('SET', name, string.format('%.0f', till), 'PX', math.ceil((till - now) / 1000) + 1)
    end
  end
  answers[#answers + 1] = calls
  answers[#answers + 1] = room - calls
  answers[#answers + 1] = wait
  key, place = key + count, place + 2 + 2 * count
end
return answers
"""


class ValkeyBuckets:
    """Buckets in Valkey, moved on by one script for all of them at once: exact, however many processes count.

    `owner` begins the names of its buckets there.
    """

    def __init__(self, store: redis.asyncio.Redis, owner: str) -> None:
        self._script = store.register_script(_MOVE)
        self._prefix = f"{owner}:paid:"

    async def take(self, buckets: Sequence[Bucket]) -> Decision:
        """See `Buckets`."""
        calls, remaining, wait = await self._move([Wanted(tuple(buckets), 1)])
        return Decision(bool(calls), int(remaining), int(wait) / 1_000_000)

    async def lease(self, wanted: Sequence[Wanted]) -> Sequence[Lease]:
        """See `LeasedBuckets`."""
        answers = await self._move(wanted)
        return [
            Lease(int(calls), int(wait) / 1_000_000) for calls, wait in zip(answers[::3], answers[2::3], strict=True)
        ]

    async def _move(self, wanted: Sequence[Wanted]) -> Sequence[int]:
        keys = [self._prefix + bucket.name for one in wanted for bucket in one.buckets]
        arguments: list[int] = []
        for one in wanted:
            arguments += len(one.buckets), one.calls
            for bucket in one.buckets:
                arguments += bucket.rate.interval_micros, bucket.rate.burst
        try:
            answers: Sequence[int] = await self._script(keys=keys, args=arguments)
        except (redis.exceptions.RedisError, OSError) as error:
            raise Unavailable from error
        return answers


class Fallback:
    """Asks the buckets that all processes share, and those of this process while these do not answer."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._away_until = 0.0
        self.local = LocalBuckets()
        # Answers that this process gave alone.
        self.counted_locally = 0

    async def ask(self, shared: Callable[[], Awaitable[T]], local: Callable[[], Awaitable[T]]) -> T:
        """What the shared ones answer, or else the local ones."""
        if self._monotonic() >= self._away_until:
            try:
                return await shared()
            except Unavailable:
                self._away_until = self._monotonic() + RETRY_SECONDS
        self.counted_locally += 1
        return await local()

"""How often something may be done in a while: counted in Valkey; while that is down, by each process for itself."""

import hashlib
import logging
import time
from collections.abc import Callable
from datetime import timedelta

import redis.asyncio
import redis.exceptions

from services.auth.errors import TooManyAttempts

logger = logging.getLogger(__name__)

# Counts, and says how many seconds to wait, or 0 to go on. What must wait is not counted.
_TAKE = """
local taken = tonumber(redis.call('GET', KEYS[1]) or '0')
if taken >= tonumber(ARGV[1]) then return math.max(redis.call('TTL', KEYS[1]), 1) end
if redis.call('INCR', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
MOST_COUNTERS = 50_000


class LocalCounters:
    """Counters of this process alone, each with the time it ends."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._counters: dict[str, tuple[int, float]] = {}

    def take(self, key: str, limit: int, seconds: float) -> float:
        """Count; returns how many seconds to wait, or 0."""
        now = self._monotonic()
        taken, ends = self._counters.get(key, (0, now + seconds))
        if ends <= now:
            taken, ends = 0, now + seconds
        if taken >= limit:
            return ends - now
        if len(self._counters) >= MOST_COUNTERS:
            self._counters = {name: counter for name, counter in self._counters.items() if counter[1] > now}
        if len(self._counters) >= MOST_COUNTERS:
            self._counters.clear()
        self._counters[key] = taken + 1, ends
        return 0.0

    def give_back(self, key: str) -> None:
        """Forget the counter."""
        self._counters.pop(key, None)


class ValkeyAllowances:
    """See `account_ports.Allowances`."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._take = store.register_script(_TAKE)
        self._local = LocalCounters()

    async def take(self, what: str, who: str, limit: int, window: timedelta) -> None:
        # Addresses of people do not belong into a store that anybody who operates it can list.
        key = f"auth:allowance:{what}:{hashlib.sha256(who.encode()).hexdigest()[:32]}"
        seconds = int(window.total_seconds())
        try:
            wait = float(await self._take(keys=[key], args=[limit, seconds]))
        except (redis.exceptions.RedisError, OSError):
            logger.warning("allowances are counted by each process for itself", exc_info=True)
            wait = self._local.take(key, limit, seconds)
        if wait > 0:
            raise TooManyAttempts(retry_after_seconds=wait)

"""Failed sign-ins counted in Valkey.

Nobody can lock somebody else out: what is limited is always the place an attempt comes from. An account under attack
from many places only makes each place that keeps failing wait sooner; from a place of their own its owner gets in.
"""

import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass

import redis.asyncio
import redis.exceptions

from services.auth.adapters.limits import LocalCounters
from services.auth.errors import TooManyAttempts

logger = logging.getLogger(__name__)

# Counts up three windows at once and says how many seconds to wait, or 0 to go on. An attempt that must wait is not
# counted, so that trying again too early does not make the wait longer.
_BEGIN = """
local pair, place, account = KEYS[1], KEYS[2], KEYS[3]
local window = tonumber(ARGV[1])
local allowed = tonumber(ARGV[2])
if tonumber(redis.call('GET', account) or '0') >= tonumber(ARGV[4]) then allowed = tonumber(ARGV[5]) end
local wait = 0
if tonumber(redis.call('GET', pair) or '0') >= allowed then wait = redis.call('TTL', pair) end
if tonumber(redis.call('GET', place) or '0') >= tonumber(ARGV[3]) then
  wait = math.max(wait, redis.call('TTL', place))
end
if wait > 0 then return wait end
for _, key in ipairs(KEYS) do
  if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, window) end
end
return 0
"""

_SUCCEEDED = """
redis.call('DEL', KEYS[1])
for _, key in ipairs({KEYS[2], KEYS[3]}) do
  if tonumber(redis.call('GET', key) or '0') > 0 then redis.call('DECR', key) end
end
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Failures allowed in a window of seconds: per address and place, per place, and per place once the account as a
    whole has had `attack` failures."""

    window_seconds: int = 300
    pair: int = 10
    place: int = 100
    attack: int = 100
    pair_under_attack: int = 3


class ValkeyAttempts:
    """See `ports.Attempts`."""

    def __init__(self, store: redis.asyncio.Redis, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._local = LocalCounters()
        self._begin = store.register_script(_BEGIN)
        self._succeeded = store.register_script(_SUCCEEDED)

    async def begin(self, email: str, source: str) -> None:
        limits = self._limits
        arguments = (limits.window_seconds, limits.pair, limits.place, limits.attack, limits.pair_under_attack)
        keys = _keys(email, source)
        try:
            wait = float(await self._begin(keys=keys, args=arguments))
        except (redis.exceptions.RedisError, OSError):
            # Signing in goes on while Valkey is down, with the strict limits, counted by this process alone.
            logger.warning("failed sign-ins are counted by each process for itself", exc_info=True)
            wait = self._local.take(keys[0], limits.pair_under_attack, limits.window_seconds)
            wait = wait or self._local.take(keys[1], limits.place, limits.window_seconds)
        if wait > 0:
            raise TooManyAttempts(retry_after_seconds=wait)

    async def succeeded(self, email: str, source: str) -> None:
        keys = _keys(email, source)
        self._local.give_back(keys[0])
        with suppress(redis.exceptions.RedisError, OSError):
            await self._succeeded(keys=keys)


def _keys(email: str, source: str) -> list[str]:
    # Addresses of people do not belong into a store that anybody who operates it can list.
    account, place = _digest(email), _digest(source)
    return [f"auth:failed:{account}:{place}", f"auth:failed:place:{place}", f"auth:failed:account:{account}"]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

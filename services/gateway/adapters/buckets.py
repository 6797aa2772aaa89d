"""Buckets in Valkey, moved on by one script for all of them at once: exact, however many gateways count."""

from collections.abc import Sequence

import redis.asyncio
import redis.exceptions

from services.common.errors import Unavailable
from services.gateway.limits import Bucket, Decision

# Valkey's own clock counts, so that gateways whose clocks differ agree. Times are microseconds, which a double holds
# exactly for the next two centuries.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wait, remaining, paid = 0, 1e9, {}
for index, name in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * index - 1]), tonumber(ARGV[2 * index])
  local till = math.max(now, tonumber(redis.call('GET', name) or '0')) + interval
  local left = now + interval * burst - till
  wait = math.max(wait, -left)
  remaining = math.min(remaining, math.floor(left / interval))
  paid[index] = till
end
if wait > 0 then return {0, 0, math.ceil(wait)} end
for index, name in ipairs(KEYS) do
  redis.call('SET', name, string.format('%.0f', paid[index]), 'PX', math.ceil((paid[index] - now) / 1000) + 1)
end
return {1, remaining, 0}
"""


class ValkeyBuckets:
    """See `limits.Buckets`."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._take = store.register_script(_TAKE)

    async def take(self, buckets: Sequence[Bucket]) -> Decision:
        keys = [f"gateway:paid:{bucket.name}" for bucket in buckets]
        arguments = [number for bucket in buckets for number in (bucket.rate.interval_micros, bucket.rate.burst)]
        try:
            allowed, remaining, wait = await self._take(keys=keys, args=arguments)
        except (redis.exceptions.RedisError, OSError) as error:
            raise Unavailable from error
        return Decision(bool(allowed), int(remaining), int(wait) / 1_000_000)

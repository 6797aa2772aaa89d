"""Tokens held and used, in Valkey: one script holds in all levels at once, however many gateways count."""

import redis.asyncio
import redis.exceptions

from services.common.buckets import Decision
from services.common.errors import Unavailable
from services.gateway.token_limits import HELD_WAIT_SECONDS, Hold

# A level is a hash (paid for up to `paid`; `held` tokens in all) and its holds by the end of their lease. Times are
# microseconds of Valkey's own clock.
_LEVELS = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function open(number)
  local level = {
    state = KEYS[2 * number - 1], holds = KEYS[2 * number],
    interval = tonumber(ARGV[2 * number + 2]), burst = tonumber(ARGV[2 * number + 3])
  }
  local kept = redis.call('HMGET', level.state, 'paid', 'held')
  level.paid, level.held = tonumber(kept[1] or '0'), tonumber(kept[2] or '0')
  local lapsed = redis.call('ZRANGEBYSCORE', level.holds, '-inf', now, 'WITHSCORES')
  for index = 1, #lapsed, 2 do
    local tokens = tonumber(string.match(lapsed[index], '^%d+'))
    level.paid = math.max(level.paid, tonumber(lapsed[index + 1])) + tokens * level.interval
    level.held = level.held - tokens
    redis.call('ZREM', level.holds, lapsed[index])
  end
  return level
end
local function keep(level)
  redis.call('HSET', level.state, 'paid', string.format('%.0f', level.paid), 'held', string.format('%.0f', level.held))
  local last = redis.call('ZRANGE', level.holds, -1, -1, 'WITHSCORES')
  local ends = math.max(now, level.paid, tonumber(last[2] or '0')) + level.interval * level.burst
  local milliseconds = string.format('%.0f', math.ceil((ends - now) / 1000) + 1)
  redis.call('PEXPIRE', level.state, milliseconds)
  redis.call('PEXPIRE', level.holds, milliseconds)
end
"""
_HOLD = (
    _LEVELS
    + """
local member, tokens, lease, soon = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[#ARGV])
local wait, remaining, again, levels = 0, 1e15, false, {}
for number = 1, #KEYS / 2 do
  local level = open(number)
  levels[number] = level
  local free = now + level.interval * (level.burst - tokens) - math.max(now, level.paid)
  local left = free - level.interval * level.held
  if redis.call('ZSCORE', level.holds, member) then again = true end
  if left < 0 then wait = math.max(wait, -free, math.min(-left, soon)) end
  remaining = math.min(remaining, math.floor(left / level.interval))
end
if again then wait, remaining = 0, 0 end
for _, level in ipairs(levels) do
  if wait == 0 and not again then
    redis.call('ZADD', level.holds, string.format('%.0f', now + lease), member)
    level.held = level.held + tokens
  end
  keep(level)
end
if wait > 0 then return {0, 0, math.ceil(wait)} end
return {1, remaining, 0}
"""
)
_SETTLE = (
    _LEVELS
    + """
local member, tokens, used = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for number = 1, #KEYS / 2 do
  local level = open(number)
  if redis.call('ZREM', level.holds, member) == 1 then
    level.held = level.held - tokens
    level.paid = math.max(level.paid, now) + used * level.interval
  end
  keep(level)
end
"""
)


class ValkeyHolds:
    """See `token_limits.Holds`."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._hold = store.register_script(_HOLD)
        self._settle = store.register_script(_SETTLE)

    async def hold(self, hold: Hold) -> Decision:
        lease, soon = int(hold.lease_seconds * 1_000_000), int(HELD_WAIT_SECONDS * 1_000_000)
        try:
            allowed, remaining, wait = await self._hold(
                keys=_keys(hold), args=[_member(hold), hold.tokens, lease, *_rates(hold), soon]
            )
        except (redis.exceptions.RedisError, OSError) as error:
            raise Unavailable from error
        return Decision(bool(allowed), int(remaining), int(wait) / 1_000_000)

    async def settle(self, hold: Hold, used: int) -> None:
        try:
            await self._settle(keys=_keys(hold), args=[_member(hold), hold.tokens, used, *_rates(hold)])
        except (redis.exceptions.RedisError, OSError) as error:
            raise Unavailable from error


def _member(hold: Hold) -> str:
    return f"{hold.tokens}:{hold.id}"


def _keys(hold: Hold) -> list[str]:
    return [f"gateway:tokens:{bucket.name}{part}" for bucket in hold.buckets for part in ("", ":holds")]


def _rates(hold: Hold) -> list[int]:
    return [number for bucket in hold.buckets for number in (bucket.rate.interval_micros, bucket.rate.burst)]

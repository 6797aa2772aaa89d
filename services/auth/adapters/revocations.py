"""How the rest of the system learns what was revoked: told on a Valkey channel, and answered when it asks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import redis.asyncio
import redis.exceptions
from aiohttp import web

from services.auth.ports import WorkFactory
from services.common.clock import Clock
from services.common.revocations import CHANNEL, KEPT_SECONDS, Revocation, encode

logger = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 0.5


class ValkeyAnnouncer:
    """See `account_ports.Announcer`."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._redis = store

    async def announce(self, revoked: Sequence[Revocation]) -> None:
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await self._redis.publish(CHANNEL, encode(revoked))
        except (redis.exceptions.RedisError, OSError):
            logger.warning("revocations are not announced while Valkey does not answer", exc_info=True)


def answer(work: WorkFactory, clock: Clock) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answers `?since=` (seconds since the epoch) with what was revoked from then on, and the time."""

    async def revoked(request: web.Request) -> web.StreamResponse:
        now = clock()
        try:
            since = datetime.fromtimestamp(float(request.query.get("since", "0")), UTC)
        except (ValueError, OverflowError, OSError):
            raise web.HTTPBadRequest from None
        async with work.system() as unit:
            found = await unit.revocations.since(max(since, now - timedelta(seconds=KEPT_SECONDS)))
        return web.Response(body=encode(found, now=now.timestamp()), content_type="application/json")

    return revoked

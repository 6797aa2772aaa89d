"""The registry as last read, in Valkey.

What is read is kept under the generation that was current before the read, and a change makes a new generation: a slow
reader that read before the change keeps it where nobody looks any more.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from services.models.domain import Health, Model

logger = logging.getLogger(__name__)

PREFIX = "deskmesh:models:registry"
TIMES = ("created_at", "updated_at", "health_checked_at")


class ValkeyCache:
    """One entry for the whole registry, which is small. Without Valkey every read goes to Postgres."""

    def __init__(self, store: redis.asyncio.Redis, environment: str, *, seconds: int) -> None:
        self._redis = store
        self._prefix = f"{PREFIX}:{environment}"
        self._seconds = seconds
        # A change that Valkey could not be told of.
        self._behind = False

    async def read(self, load: Callable[[], Awaitable[Sequence[Model]]]) -> Sequence[Model]:
        """What is kept; else what `load` brings, which is kept then unless something changed meanwhile."""
        try:
            if self._behind:
                await self._next()
            key = f"{self._prefix}:{await self._generation()}"
            kept = await self._redis.get(key)
        except RedisError:
            logger.warning("the registry is read without its cache")
            return await load()
        if kept is not None:
            return [_decoded(one) for one in json.loads(kept)]
        models = await load()
        try:
            await self._redis.set(key, json.dumps([asdict(one) for one in models], default=str), ex=self._seconds)
        except RedisError:
            logger.warning("the registry could not be cached")
        return models

    async def forget(self) -> None:
        """Something changed."""
        self._behind = True
        try:
            await self._next()
        except RedisError:
            logger.warning("the cache could not be told of a change; it will be before it is read")

    async def _generation(self) -> int:
        return int(await self._redis.get(f"{self._prefix}:generation") or 0)

    async def _next(self) -> None:
        await self._redis.incr(f"{self._prefix}:generation")
        self._behind = False


def _decoded(values: dict[str, Any]) -> Model:
    times = {name: datetime.fromisoformat(values[name]) if values[name] else None for name in TIMES}
    return Model(**values | times | {"health": Health(values["health"])})

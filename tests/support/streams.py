"""What services published to Redis Streams."""

import asyncio
from typing import Any

import redis.asyncio


async def entries_of(url: str, stream: str, organization_id: str, *, count: int, seconds: float = 10.0) -> list[Any]:
    """The fields of an organization's entries, as soon as there are `count` of them."""
    store = redis.asyncio.Redis.from_url(url)
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer: Any = await store.xrange(stream)
                entries = [fields for _, fields in answer]
                found = [fields for fields in entries if fields[b"organization_id"] == organization_id.encode()]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.02)
    finally:
        await store.aclose()

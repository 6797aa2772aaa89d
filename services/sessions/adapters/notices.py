"""Announcements between the processes of this service, on one Redis channel. They may get lost; the log repairs that.

A message is a line of JSON that says what it is about, and for entries their wire forms, one after the other.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing

import redis.asyncio
import redis.exceptions

from services.common import background
from services.sessions.domain import Author, StoredEvent
from services.sessions.ports import Appended, Listening, Notice, Typing

logger = logging.getLogger(__name__)

CHANNEL = "deskmesh:sessions:events"
# Announcements that wait while Redis is slow; older ones are given up first.
BACKLOG = 4_096
BATCH = 256
PUBLISH_SECONDS = 2.0
# A subscription that hears nothing this long asks whether its connection lives, and gives it up after as long again.
QUIET_SECONDS = 5.0


def encode(notice: Notice) -> bytes:
    """The message of a notice."""
    if isinstance(notice, Typing):
        head: dict[str, object] = {
            "conversation": notice.conversation_id,
            "author": notice.author,
            "user": notice.user_id,
            "typing": notice.typing,
        }
        return json.dumps(head).encode()
    events = notice.events
    head = {
        "conversation": events[0].conversation_id,
        "first": events[0].offset,
        "sizes": [len(event.payload) for event in events],
        "closes": [event.offset for event in events if event.closes],
    }
    return b"\n".join((json.dumps(head).encode(), b"".join(event.payload for event in events)))


def decode(message: bytes) -> Notice:
    """The notice of a message. Raises ValueError, KeyError or TypeError for anything else."""
    line, _, rest = message.partition(b"\n")
    try:
        head = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    conversation_id = _name(head["conversation"])
    if "typing" in head:
        return Typing(conversation_id, Author(head["author"]), _name(head["user"]), typing=bool(head["typing"]))
    if not head["sizes"] or min(head["sizes"]) < 0 or sum(head["sizes"]) != len(rest):
        raise ValueError("the sizes do not add up")
    events = []
    start = 0
    for offset, size in enumerate(head["sizes"], head["first"]):
        payload = rest[start : start + size]
        events.append(StoredEvent(conversation_id, offset, payload, closes=offset in head["closes"]))
        start += size
    return Appended(tuple(events))


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is no text")
    return value


class RedisAnnouncer:
    """Publishes in the background: whoever announces never waits, and a Redis that is down costs nothing."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._redis = store
        self._backlog: deque[Notice] = deque(maxlen=BACKLOG)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def announce(self, notice: Notice) -> None:
        """Tell every process, sooner or later or never."""
        self._backlog.append(notice)
        self._woken.set()

    async def __aenter__(self) -> "RedisAnnouncer":
        self._task = asyncio.create_task(self._run(), name="sessions-announcer")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    async def _run(self) -> None:
        reachable = True
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._backlog:
                pipeline = self._redis.pipeline(transaction=False)
                for _ in range(min(len(self._backlog), BATCH)):
                    pipeline.publish(CHANNEL, encode(self._backlog.popleft()))
                try:
                    async with asyncio.timeout(PUBLISH_SECONDS):
                        await pipeline.execute()
                except (redis.exceptions.RedisError, OSError, TimeoutError):
                    if reachable:
                        logger.warning("announcements are lost while Redis does not answer", exc_info=True)
                    reachable = False
                else:
                    reachable = True


class RedisNotices:
    """The one subscription of this process."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._redis = store

    async def listen(self) -> AsyncIterator[Notice | Listening]:
        """Notices, after each time that listening began, until the connection is lost, which raises ConnectionError."""
        async with aclosing(self._redis.pubsub()) as subscription:
            try:
                await subscription.subscribe(CHANNEL)
                quiet = 0
                while True:
                    message = await subscription.get_message(timeout=QUIET_SECONDS)
                    if message is None:
                        quiet += 1
                        if quiet > 1:
                            raise ConnectionError("the subscription went silent")
                        await subscription.ping()
                        continue
                    quiet = 0
                    if message["type"] == "subscribe":
                        # The client also comes back by itself when the connection breaks, and subscribes again.
                        yield Listening()
                    elif message["type"] == "message":
                        try:
                            notice = decode(message["data"])
                        except (ValueError, KeyError, TypeError):
                            logger.warning("a notice makes no sense", exc_info=True)
                            continue
                        yield notice
            except (redis.exceptions.RedisError, OSError) as error:
                raise ConnectionError("the subscription is lost") from error

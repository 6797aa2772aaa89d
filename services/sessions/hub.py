"""Fan-out of new events to the streams of this process: one reader for all of them, a bounded queue for each.

Notices are a hint and Postgres is the truth. A notice that continues a conversation's position is handed on at once;
a gap, and whatever a slow check finds, is read from the log. So a lost, late or repeated notice costs time at most, and
every stream sees each event once, in order.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice

from services.common.errors import DomainError
from services.sessions.domain import Author, StoredEvent
from services.sessions.errors import TooManyWatchers, WatcherTooSlow
from services.sessions.ports import EventLog, Listening, Notice, Notices, Typing

logger = logging.getLogger(__name__)

TYPING_SECONDS = 6.0
RECONNECT_SECONDS = 0.25
# Conversations compared with the log in one query.
CHECK_BATCH = 2_000
# After a gap: how long notices in the wrong order may take to fall into place before the log is read.
GAP_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one process."""

    watchers: int = 12_000
    queue_events: int = 1_024
    queue_bytes: int = 1024 * 1024
    # How often the log is compared with what was told: the most that a lost notice can cost.
    check_seconds: float = 0.8
    # Most entries of one conversation that one check hands on; far below queue_events, so that it cuts nobody.
    check_events: int = 128


class Watcher:
    """The queue of one stream: the hub fills it, the stream empties it."""

    __slots__ = ("_bytes", "_failure", "_items", "_limits", "_wake", "cursor", "user_id")

    def __init__(self, user_id: str, limits: Limits) -> None:
        self.user_id = user_id
        # Offset of the last event that was put into the queue, or read before the stream went live.
        self.cursor = 0
        self._limits = limits
        self._items: deque[StoredEvent | Typing] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._failure: DomainError | None = None

    @property
    def crowded(self) -> bool:
        """True when the queue is more than half full."""
        return len(self._items) * 2 > self._limits.queue_events or self._bytes * 2 > self._limits.queue_bytes

    def push(self, event: StoredEvent) -> None:
        """Queue an event unless the stream has it. A queue that is full is emptied and the stream is cut.

        A cut stream keeps its place until its reader takes in the error or goes away: so the places bound the memory.
        """
        if event.offset <= self.cursor or self._failure is not None:
            return
        self.cursor = event.offset
        self._items.append(event)
        self._bytes += len(event.payload)
        if len(self._items) > self._limits.queue_events or self._bytes > self._limits.queue_bytes:
            self._cut(WatcherTooSlow())
        self._wake.set()

    def whisper(self, typing: Typing) -> None:
        """Queue who types, unless that is the watcher, or the queue has more important things."""
        if self._failure is None and not self.crowded and (not typing.user_id or typing.user_id != self.user_id):
            self._items.append(typing)
            self._wake.set()

    async def next(self, seconds: float) -> StoredEvent | Typing | None:
        """The next item, or None when there was none for some seconds. Raises WatcherTooSlow when cut."""
        if not self._items and self._failure is None:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        if self._failure is not None:
            raise self._failure
        if not self._items:
            return None
        item = self._items.popleft()
        if isinstance(item, StoredEvent):
            self._bytes -= len(item.payload)
        return item

    def _cut(self, failure: DomainError) -> None:
        self._failure = failure
        self._items.clear()
        self._bytes = 0


class _Topic:
    """A conversation that somebody watches."""

    __slots__ = ("live", "position", "typing", "watchers")

    def __init__(self) -> None:
        self.watchers = 0
        # Streams that were told everything up to the position; those still reading older events are not among them.
        self.live: set[Watcher] = set()
        # Every live stream has the events up to here. Without live streams: the newest offset heard of.
        self.position = 0
        self.typing: dict[tuple[Author, str], tuple[Typing, asyncio.TimerHandle]] = {}

    @property
    def crowded(self) -> bool:
        """True when a stream has no room for much more."""
        return any(watcher.crowded for watcher in self.live)

    def advance(self, event: StoredEvent) -> bool:
        """Hand an event on if it is the next one; False when events before it are missing."""
        if not self.live:
            self.position = max(self.position, event.offset)
        elif event.offset == self.position + 1:
            self.position = event.offset
            for watcher in self.live:
                watcher.push(event)
        return event.offset <= self.position

    def whisper(self, typing: Typing) -> None:
        for watcher in self.live:
            watcher.whisper(typing)

    def forget_typing(self) -> None:
        for _, timer in self.typing.values():
            timer.cancel()


class Hub:
    """The streams of this process and the one reader that feeds them; `run` must run while there are streams."""

    def __init__(self, log: EventLog, notices: Notices, limits: Limits) -> None:
        self._log = log
        self._notices = notices
        self._limits = limits
        self._topics: dict[str, _Topic] = {}
        self._watchers = 0
        self._behind: set[str] = set()
        self._gap = asyncio.Event()
        self._missed = False

    @property
    def watchers(self) -> int:
        """Streams that are open."""
        return self._watchers

    @contextmanager
    def admit(self, conversation_id: str, user_id: str) -> Iterator[Watcher]:
        """A queue for a stream; from here on the hub listens for its conversation. Raises TooManyWatchers."""
        if self._watchers >= self._limits.watchers:
            raise TooManyWatchers
        topic = self._topics.setdefault(conversation_id, _Topic())
        watcher = Watcher(user_id, self._limits)
        self._watchers += 1
        topic.watchers += 1
        try:
            yield watcher
        finally:
            self._watchers -= 1
            topic.watchers -= 1
            topic.live.discard(watcher)
            if not topic.watchers:
                topic.forget_typing()
                del self._topics[conversation_id]

    def go_live(self, conversation_id: str, watcher: Watcher, cursor: int) -> bool:
        """Begin to fill the queue of a stream that has read the log up to `cursor`.

        False when the hub has heard of later events meanwhile: the stream must read on and ask again.
        """
        topic = self._topics[conversation_id]
        if cursor < topic.position:
            return False
        if not topic.live:
            topic.position = cursor
        watcher.cursor = cursor
        topic.live.add(watcher)
        for typing, _ in topic.typing.values():
            watcher.whisper(typing)
        return True

    async def run(self) -> None:
        """Listen and check until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="sessions-notices")
            tasks.create_task(self._keep_checking(), name="sessions-check")

    def tell(self, notice: Notice | Listening) -> None:
        """Take in what some process announced."""
        if isinstance(notice, Listening):
            self._missed = True
            self._gap.set()
            return
        if isinstance(notice, Typing):
            self._tell_typing(notice)
            return
        for event in notice.events:
            topic = self._topics.get(event.conversation_id)
            if topic is not None and not topic.advance(event):
                self._behind.add(event.conversation_id)
                self._gap.set()

    async def check(self, *, only: set[str] | None = None) -> None:
        """Hand on what the log has beyond the positions, of all watched conversations or only some.

        Of those asked for, the ones with crowded queues wait: what many checks in a row find must not cut a stream that
        reads as fast as it can. Checks of all do not wait, so a stream that does not read holds nobody up.
        """
        positions = {
            conversation_id: topic.position
            for conversation_id, topic in self._topics.items()
            if topic.live and (only is None or (conversation_id in only and not topic.crowded))
        }
        remaining = iter(positions.items())
        while batch := dict(islice(remaining, CHECK_BATCH)):
            found: dict[str, int] = {}
            for event in await self._log.missing(batch, self._limits.check_events):
                found[event.conversation_id] = found.get(event.conversation_id, 0) + 1
                if topic := self._topics.get(event.conversation_id):
                    topic.advance(event)
            if more := {key for key, count in found.items() if count == self._limits.check_events}:
                self._behind |= more
                self._gap.set()

    async def _listen(self) -> None:
        while True:
            try:
                async for notice in self._notices.listen():
                    self.tell(notice)
                    # Streams get their turn also while notices pour in.
                    await asyncio.sleep(0)
            except Exception:
                logger.warning("notices lost, events come from the log meanwhile", exc_info=True)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _keep_checking(self) -> None:
        loop = asyncio.get_running_loop()
        next_full = loop.time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_full):
                    await self._gap.wait()
                    await asyncio.sleep(GAP_SECONDS)
            self._gap.clear()
            behind, self._behind = self._behind, set()
            full = self._missed or loop.time() >= next_full
            self._missed = False
            if full:
                next_full = loop.time() + self._limits.check_seconds
            try:
                await self.check(only=None if full else behind)
            except Exception:
                logger.warning("the log cannot be read, trying again", exc_info=True)
                await asyncio.sleep(RECONNECT_SECONDS)

    def _tell_typing(self, typing: Typing) -> None:
        topic = self._topics.get(typing.conversation_id)
        if topic is None:
            return
        key = (typing.author, typing.user_id)
        known = topic.typing.pop(key, None)
        if known is not None:
            known[1].cancel()
        if typing.typing:
            stopped = Typing(typing.conversation_id, typing.author, typing.user_id, typing=False)
            timer = asyncio.get_running_loop().call_later(TYPING_SECONDS, self._tell_typing, stopped)
            topic.typing[key] = (typing, timer)
        if typing.typing != (known is not None):
            topic.whisper(typing)

"""The stream of a conversation's events: first what the log holds, then what the hub hands on."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime

from services.common.clock import Clock
from services.common.context import Caller
from services.sessions.domain import StoredEvent
from services.sessions.errors import OffsetOutOfRange
from services.sessions.hub import Hub
from services.sessions.ports import Typing, UnitsOfWork
from services.sessions.usecases import access

# Entries read at a time while a stream catches up.
PAGE = 64


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything kept when the stream began was sent; what follows is live."""

    last_offset: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened for a while."""

    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """The conversation is closed and told to its end; nothing follows."""

    last_offset: int


Frame = StoredEvent | CaughtUp | Typing | Heartbeat | Ended


@dataclass(frozen=True, slots=True)
class Watch:
    """Ask for the events after `from_offset`."""

    caller: Caller
    conversation_id: str
    from_offset: int


class Watching:
    """Opens streams."""

    def __init__(self, units: UnitsOfWork, hub: Hub, clock: Clock, *, heartbeat_seconds: float) -> None:
        self._units = units
        self._hub = hub
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds

    async def watch(self, command: Watch) -> AsyncGenerator[Frame, None]:
        """Every event after the offset, once and in order.

        Raises ConversationNotFound, OffsetOutOfRange, TooManyWatchers and, when the reader does not keep up,
        WatcherTooSlow.
        """
        conversation_id, caller = command.conversation_id, command.caller
        # Listening begins before reading, so nothing falls between the two.
        with self._hub.admit(conversation_id, caller.user_id) as watcher:
            closed, page = await self._begin(command)
            cursor = command.from_offset
            while True:
                for event in page:
                    yield event
                    cursor = event.offset
                    closed = closed or event.closes
                if len(page) < PAGE and (closed or self._hub.go_live(conversation_id, watcher, cursor)):
                    break
                async with self._units.of(caller.organization_id) as work:
                    page = await work.events.after(conversation_id, cursor, PAGE)
            yield CaughtUp(cursor)
            while not closed:
                item = await watcher.next(self._heartbeat_seconds)
                if item is None:
                    yield Heartbeat(self._clock())
                    continue
                yield item
                if isinstance(item, StoredEvent):
                    cursor, closed = item.offset, item.closes
            yield Ended(cursor)

    async def _begin(self, command: Watch) -> tuple[bool, list[StoredEvent]]:
        """Check that the caller may watch from there; whether the conversation is closed, and the first page."""
        async with self._units.of(command.caller.organization_id) as work:
            conversation = await access.find(work, command.caller, command.conversation_id, access.READ)
            if command.from_offset > conversation.last_offset:
                raise OffsetOutOfRange(conversation.last_offset)
            page = await work.events.after(conversation.id, command.from_offset, PAGE)
        return not conversation.is_open, page

"""Whatever happens to notices and connections, every reader sees 1 … n, each once and in order."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.context import Caller
from services.sessions.domain import Conversation, StoredEvent, TurnEvent
from services.sessions.errors import WatcherTooSlow
from services.sessions.hub import Hub, Limits
from services.sessions.ports import Appended
from services.sessions.usecases.watch import CaughtUp, Ended, Frame, Heartbeat, Watch, Watching
from tests.contract.sessions.memory import Announced, MemoryStore
from tests.unit.sessions.test_hub import FakeNotices

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
CALLER = Caller("edge", "org_1", "usr_1", ("customer",), frozenset({"conversations.read.own"}))
READERS = 3

steps = st.lists(
    st.one_of(
        # So many events are committed; what becomes of the notice?
        st.tuples(st.just("append"), st.integers(1, 12), st.sampled_from(["told", "lost", "late", "twice"])),
        # A reader takes so many frames; it connects when it has no stream.
        st.tuples(st.just("read"), st.integers(0, READERS - 1), st.integers(1, 15)),
        st.tuples(st.just("disconnect"), st.integers(0, READERS - 1)),
        st.tuples(st.just("late notices arrive")),
        st.tuples(st.just("check")),
    ),
    max_size=60,
)


class Reader:
    """Remembers what it saw and resumes after it."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._stream: AsyncGenerator[Frame, None] | None = None
        self.seen: list[int] = []
        self.ended = False

    async def read(self, count: int) -> None:
        """Take at most so many frames; stop when there is nothing to take."""
        if self.ended:
            return
        if self._stream is None:
            last = self.seen[-1] if self.seen else 0
            self._stream = self._watching.watch(Watch(CALLER, "cnv_1", last))
        try:
            for _ in range(count):
                frame = await anext(self._stream)
                if isinstance(frame, StoredEvent):
                    self.seen.append(frame.offset)
                elif isinstance(frame, Ended):
                    assert frame.last_offset == self.seen[-1]
                    self.ended = True
                    await self.disconnect()
                    return
                elif isinstance(frame, Heartbeat):
                    return
                elif isinstance(frame, CaughtUp):
                    assert frame.last_offset == (self.seen[-1] if self.seen else 0)
        except WatcherTooSlow:
            self._stream = None

    async def disconnect(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None


class World:
    """A conversation, a hub that is driven by hand, and its readers."""

    def __init__(self) -> None:
        self.announced = Announced()
        self.store = MemoryStore(self.announced, lambda entry: b"x" * 10)
        limits = Limits(queue_events=8, queue_bytes=1_000, check_events=5)
        self.hub = Hub(self.store, FakeNotices(), limits)
        watching = Watching(self.store, self.hub, lambda: NOW, heartbeat_seconds=0.0001)
        self.readers = [Reader(watching) for _ in range(READERS)]
        self.late: list[Appended] = []

    async def begin(self) -> None:
        conversation = Conversation.begin(
            conversation_id="cnv_1",
            organization_id="org_1",
            customer_id="usr_1",
            title="",
            idle_timeout=None,
            at=NOW,
        )
        async with self.store.of("org_1") as work:
            await work.conversations.add(conversation)
            await work.commit()

    async def append(self, count: int, fate: str, *, close: bool = False) -> None:
        async with self.store.of("org_1") as work:
            conversation = await work.conversations.lock("cnv_1")
            assert conversation is not None
            if close:
                conversation.close(at=NOW)
            else:
                conversation.add_turn_events([("trn_1", TurnEvent("answer_delta", b""))] * count, at=NOW)
            await work.conversations.save(conversation)
            await work.commit()
        (notice,) = self.announced.notices
        self.announced.notices.clear()
        assert isinstance(notice, Appended)
        if fate == "late":
            self.late.append(notice)
        for _ in range({"told": 1, "twice": 2}.get(fate, 0)):
            self.hub.tell(notice)

    def late_notices_arrive(self) -> None:
        for notice in reversed(self.late):
            self.hub.tell(notice)
        self.late.clear()


@settings(max_examples=150)
@given(script=steps)
async def test_every_reader_sees_everything_once_and_in_order(script: list[tuple[object, ...]]) -> None:
    world = World()
    await world.begin()
    for step in script:
        match step:
            case ("append", int(count), str(fate)):
                await world.append(count, fate)
            case ("read", int(who), int(count)):
                await world.readers[who].read(count)
            case ("disconnect", int(who)):
                await world.readers[who].disconnect()
            case ("late notices arrive",):
                world.late_notices_arrive()
            case ("check",):
                await world.hub.check()
    await world.append(0, "lost", close=True)
    total = len(world.store.events["cnv_1"])
    async with asyncio.timeout(10):
        while not all(reader.ended for reader in world.readers):
            await world.hub.check()
            for reader in world.readers:
                await reader.read(100)
    for reader in world.readers:
        assert reader.seen == list(range(1, total + 1))
    assert world.hub.watchers == 0

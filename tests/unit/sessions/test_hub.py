"""The one reader of a process, with notices that get lost, come late, twice or in the wrong order."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from services.sessions import hub as hub_module
from services.sessions.domain import Author, StoredEvent
from services.sessions.errors import TooManyWatchers, WatcherTooSlow
from services.sessions.hub import Hub, Limits, Watcher
from services.sessions.ports import Appended, Listening, Notice, Typing

TALK = "cnv_1"
SOON = 0.01


class FakeLog:
    """The truth; `fail` times it cannot be read."""

    def __init__(self) -> None:
        self.events: defaultdict[str, list[StoredEvent]] = defaultdict(list)
        self.reads: list[dict[str, int]] = []
        self.fail = 0

    def append(self, count: int, *, conversation_id: str = TALK, size: int = 10, closes: bool = False) -> Appended:
        log = self.events[conversation_id]
        first = len(log) + 1
        new = tuple(
            StoredEvent(conversation_id, offset, b"x" * size, closes=closes) for offset in range(first, first + count)
        )
        log.extend(new)
        return Appended(new)

    async def missing(self, positions: Mapping[str, int], limit: int) -> list[StoredEvent]:
        self.reads.append(dict(positions))
        if self.fail:
            self.fail -= 1
            raise OSError("no database")
        return [
            event
            for key in positions
            for event in [one for one in self.events[key] if one.offset > positions[key]][:limit]
        ]


class FakeNotices:
    """Notices from a queue; None breaks the connection."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Notice | Listening | None] = asyncio.Queue()
        self.subscriptions = 0

    async def listen(self) -> AsyncIterator[Notice | Listening]:
        self.subscriptions += 1
        while True:
            notice = await self.queue.get()
            if notice is None:
                raise ConnectionError
            yield notice


def new_hub(log: FakeLog, **changes: float) -> Hub:
    return Hub(log, FakeNotices(), Limits(**{"check_seconds": SOON} | changes))  # type: ignore[arg-type]


async def take(watcher: Watcher) -> list[int]:
    """Offsets that wait in the queue."""
    found = []
    while (item := await watcher.next(0.001)) is not None:
        assert isinstance(item, StoredEvent)
        found.append(item.offset)
    return found


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_notice_reaches_every_stream_of_its_conversation() -> None:
    log = FakeLog()
    hub = new_hub(log)
    with hub.admit(TALK, "a") as one, hub.admit(TALK, "b") as other, hub.admit("cnv_2", "c") as elsewhere:
        for key, watcher in ((TALK, one), (TALK, other), ("cnv_2", elsewhere)):
            assert hub.go_live(key, watcher, 0)
        hub.tell(log.append(3))
        assert await take(one) == await take(other) == [1, 2, 3]
        assert await take(elsewhere) == []
    assert log.reads == []


async def test_notices_twice_or_late_are_told_once() -> None:
    log = FakeLog()
    hub = new_hub(log)
    first, second = log.append(2), log.append(2)
    with hub.admit(TALK, "") as watcher:
        hub.go_live(TALK, watcher, 0)
        for notice in (first, first, second, first):
            hub.tell(notice)
        assert await take(watcher) == [1, 2, 3, 4]


async def test_a_gap_is_filled_from_the_log() -> None:
    log = FakeLog()
    hub = new_hub(log, check_seconds=60)
    async with running(hub):
        with hub.admit(TALK, "") as watcher:
            hub.go_live(TALK, watcher, 0)
            await asyncio.sleep(0)
            log.append(2)
            hub.tell(log.append(1))
            item = await watcher.next(5)
            assert isinstance(item, StoredEvent)
            assert [item.offset, *await take(watcher)] == [1, 2, 3]


async def test_lost_notices_are_found_by_the_check() -> None:
    log = FakeLog()
    hub = new_hub(log)
    async with running(hub):
        with hub.admit(TALK, "") as watcher:
            hub.go_live(TALK, watcher, 0)
            log.append(300)
            found: list[int] = []
            async with asyncio.timeout(5):
                while len(found) < 300:
                    found.extend(await take(watcher))
    assert found == list(range(1, 301))


async def test_the_check_goes_on_when_the_log_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "RECONNECT_SECONDS", SOON)
    log = FakeLog()
    log.fail = 2
    hub = new_hub(log)
    async with running(hub):
        with hub.admit(TALK, "") as watcher:
            hub.go_live(TALK, watcher, 0)
            log.append(1)
            assert await watcher.next(5) is not None


async def test_listening_goes_on_after_the_connection_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "RECONNECT_SECONDS", SOON)
    log, notices = FakeLog(), FakeNotices()
    hub = Hub(log, notices, Limits(check_seconds=60))
    async with running(hub):
        with hub.admit(TALK, "") as watcher:
            hub.go_live(TALK, watcher, 0)
            # The first check is over before there is anything to find, and the next is far away.
            await asyncio.sleep(SOON)
            await notices.queue.put(None)
            await notices.queue.put(log.append(1))
            assert await watcher.next(5) is not None
    assert notices.subscriptions == 2


async def test_what_was_announced_before_listening_began_is_found() -> None:
    log, notices = FakeLog(), FakeNotices()
    hub = Hub(log, notices, Limits(check_seconds=60))
    async with running(hub):
        with hub.admit(TALK, "") as watcher:
            hub.go_live(TALK, watcher, 0)
            # The first check is over before there is anything to find, and the next is far away.
            await asyncio.sleep(SOON)
            log.append(1)
            await notices.queue.put(Listening())
            assert await watcher.next(5) is not None


async def test_one_query_checks_all_conversations() -> None:
    log = FakeLog()
    hub = new_hub(log)
    with hub.admit("cnv_1", "") as one, hub.admit("cnv_2", "") as other, hub.admit("cnv_3", ""):
        hub.go_live("cnv_1", one, 0)
        hub.go_live("cnv_2", other, 0)
        await hub.check()
    assert log.reads == [{"cnv_1": 0, "cnv_2": 0}]


async def test_a_stream_that_reads_the_log_hears_of_what_came_meanwhile() -> None:
    log = FakeLog()
    hub = new_hub(log)
    with hub.admit(TALK, "") as watcher:
        hub.tell(log.append(2))
        assert not hub.go_live(TALK, watcher, 0)
        assert hub.go_live(TALK, watcher, 2)
        hub.tell(log.append(1))
        assert await take(watcher) == [3]


async def test_a_stream_ahead_of_the_others_gets_nothing_twice() -> None:
    log = FakeLog()
    hub = new_hub(log)
    with hub.admit(TALK, "") as slow, hub.admit(TALK, "") as ahead:
        hub.go_live(TALK, slow, 0)
        log.append(2)
        assert hub.go_live(TALK, ahead, 2)
        await hub.check()
        hub.tell(log.append(1))
        assert await take(slow) == [1, 2, 3]
        assert await take(ahead) == [3]


@pytest.mark.parametrize(("count", "size"), [(9, 1), (3, 400)])
async def test_a_stream_that_does_not_read_is_cut_and_holds_nothing(count: int, size: int) -> None:
    log = FakeLog()
    hub = new_hub(log, queue_events=8, queue_bytes=1_000)
    with hub.admit(TALK, "") as stuck, hub.admit(TALK, "") as reader:
        hub.go_live(TALK, stuck, 0)
        hub.go_live(TALK, reader, 0)
        seen: list[int] = []
        for _ in range(count):
            hub.tell(log.append(1, size=size))
            seen.extend(await take(reader))
        hub.tell(log.append(1))
        assert await take(reader) == [count + 1]
        assert seen == list(range(1, count + 1))
        assert not stuck.crowded
        for _ in range(2):
            with pytest.raises(WatcherTooSlow) as cut:
                await stuck.next(0.001)
            assert cut.value.retry_after_seconds


async def test_a_crowded_queue_is_spared_by_checks_in_a_row() -> None:
    log = FakeLog()
    hub = new_hub(log, queue_events=8, check_events=4)
    with hub.admit(TALK, "") as watcher:
        hub.go_live(TALK, watcher, 0)
        log.append(100)
        await hub.check()
        await hub.check(only={TALK})
        await hub.check(only={TALK})
        assert await take(watcher) == list(range(1, 9))


async def test_there_are_only_so_many_streams() -> None:
    hub = new_hub(FakeLog(), watchers=1)
    with hub.admit(TALK, ""):
        assert hub.watchers == 1
        with pytest.raises(TooManyWatchers), hub.admit("cnv_2", ""):
            pass
    assert hub.watchers == 0
    with hub.admit("cnv_2", ""):
        assert hub.watchers == 1


def typing(*, user_id: str = "usr_1", on: bool = True) -> Typing:
    return Typing(TALK, Author.CUSTOMER, user_id, typing=on)


async def whispers(watcher: Watcher) -> list[bool]:
    found = []
    while (item := await watcher.next(0.001)) is not None:
        assert isinstance(item, Typing)
        found.append(item.typing)
    return found


async def test_typing_is_told_to_the_others_when_it_changes() -> None:
    hub = new_hub(FakeLog())
    with hub.admit(TALK, "usr_1") as own, hub.admit(TALK, "usr_2") as other:
        hub.go_live(TALK, own, 0)
        hub.go_live(TALK, other, 0)
        for notice in (typing(), typing(), typing(on=False), typing(on=False)):
            hub.tell(notice)
        assert await whispers(own) == []
        assert await whispers(other) == [True, False]


async def test_typing_fades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "TYPING_SECONDS", 0.02)
    hub = new_hub(FakeLog())
    with hub.admit(TALK, "usr_2") as other:
        hub.go_live(TALK, other, 0)
        hub.tell(typing())
        for on in (True, False):
            item = await other.next(5)
            assert isinstance(item, Typing)
            assert item.typing is on


async def test_who_comes_later_learns_who_types() -> None:
    hub = new_hub(FakeLog())
    with hub.admit(TALK, "usr_2") as first:
        hub.go_live(TALK, first, 0)
        hub.tell(typing())
        with hub.admit(TALK, "usr_3") as second:
            hub.go_live(TALK, second, 0)
            assert await whispers(second) == [True]


async def test_typing_where_nobody_watches_is_forgotten() -> None:
    hub = new_hub(FakeLog())
    hub.tell(typing())
    with hub.admit(TALK, "usr_2") as watcher:
        hub.go_live(TALK, watcher, 0)
        assert await whispers(watcher) == []

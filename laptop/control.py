"""How the command line talks to a running supervisor: one JSON line asks, JSON lines answer."""

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from laptop.settings import StatePaths

CONNECT_SECONDS = 5.0


class NotRunning(Exception):
    """No supervisor answers for this home."""


class Control:
    """Questions to the supervisor of one home. Every method raises NotRunning if there is none."""

    def __init__(self, paths: StatePaths) -> None:
        self._socket: Path = paths.control_socket

    def status(self) -> dict[str, Any]:
        """The stack's status, see `laptop.supervisor.StackStatus`."""
        return next(self._ask({"command": "status"}))

    def up(self) -> Iterator[dict[str, Any]]:
        """Start what does not run; a status at every change, the last one ready or failed."""
        return self._ask({"command": "up"})

    def restart(self, name: str) -> dict[str, Any]:
        """Restart one process and wait until it is ready or failed; `error` for an unknown name."""
        return next(self._ask({"command": "restart", "name": name}))

    def down(self) -> Iterator[dict[str, Any]]:
        """End the stack; a status at every change until the supervisor is gone."""
        return self._ask({"command": "down"})

    def _ask(self, question: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(CONNECT_SECONDS)
        try:
            connection.connect(str(self._socket))
        except OSError as error:
            connection.close()
            raise NotRunning from error
        connection.settimeout(None)
        with connection, connection.makefile("rwb") as stream:
            stream.write(json.dumps(question).encode() + b"\n")
            stream.flush()
            for line in stream:
                yield json.loads(line)

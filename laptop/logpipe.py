"""The way of a process's output to its log file: a pipe, and a thread that makes a JSON line of each line."""

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from laptop import loglines

# A longer line is cut into several, so that nobody's output can fill the memory.
LONGEST_LINE_BYTES = 256 * 1024


class LogPipe:
    """One life of one process; `writer` is the descriptor that becomes its standard output and error.

    The thread is apart from the supervisor's event loop, whose pauses must not stop a process that writes.
    """

    def __init__(self, process: str, log: Path) -> None:
        self._process = process
        reader, self.writer = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(reader, log), name=f"log {process}", daemon=True)
        self._thread.start()

    def handed_over(self) -> None:
        """The process holds the writer now: close ours, so that its end is the pipe's."""
        os.close(self.writer)

    def finish(self, seconds: float) -> None:
        """Wait until everything written is in the log, `seconds` at most: an orphan may hold the pipe open."""
        self._thread.join(seconds)

    def _copy(self, reader: int, log: Path) -> None:
        with open(reader, "rb") as lines, log.open("ab", buffering=0) as output:
            while line := lines.readline(LONGEST_LINE_BYTES):
                entry = loglines.as_json(self._process, line.decode(errors="replace"), datetime.now(UTC))
                if entry is not None:
                    output.write(f"{entry}\n".encode())

"""Requests of customers that are being repeated for versions in the shadow, and until when they may be."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class Shadows:
    """Each repetition holds a place here, and is told when it must end."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Event, str] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def enter(self, version: str) -> Iterator[asyncio.Event]:
        """A place for a repetition; the event is set when it must end."""
        ended = asyncio.Event()
        self._open[ended] = version
        try:
            yield ended
        finally:
            del self._open[ended]

    def keep(self, versions: Collection[str] = ()) -> None:
        """End all but those of these versions."""
        for ended, version in self._open.items():
            if version not in versions:
                ended.set()

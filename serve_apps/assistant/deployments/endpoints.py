"""The deployment beside each Envoy of a cluster: what the laptop's own process does there with the endpoint files."""

import asyncio
import logging
from pathlib import Path

from serve_apps.assistant.board import Board, HeadStore
from serve_apps.assistant.endpoints import EndpointFiles

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25


class Endpoints:
    """One replica: reads the board, and keeps the files in a folder of its pod as the board says."""

    def __init__(self, applications: tuple[str, ...], folder: Path, board: Board | None = None) -> None:
        self._files = EndpointFiles(folder, applications)
        self._board = board or Board(HeadStore())
        self._keeping: asyncio.Task[None] | None = None

    async def reconfigure(self, _: object) -> None:
        """Called by Serve once the replica is made: the files are true when it returns."""
        if self._keeping is None:
            await self._update()
            self._keeping = asyncio.create_task(self._keep())

    async def check_health(self) -> None:
        """Raises when the files are no longer kept."""
        if self._keeping is None or self._keeping.done():
            raise RuntimeError("the endpoint files are no longer kept")

    def __del__(self) -> None:
        """Called by Serve when the replica is to go; the files stay as they are."""
        if self._keeping is not None:
            self._keeping.cancel()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self._update()
            except Exception:
                # Envoy goes on with what it knows, and finds the dead by itself.
                logger.warning("the board cannot be read", exc_info=True)

    async def _update(self) -> None:
        reports = await self._board.read()
        await asyncio.to_thread(self._files.update, reports)

"""Ends reservations whose holders are gone, and forgets those that ended long ago."""

import asyncio
import logging
from datetime import timedelta

from services.common import background
from services.common.errors import Unavailable
from services.usage.usecases.reservations import ReservationDesk

logger = logging.getLogger(__name__)


class Reaper:
    """Looks every few seconds while the block runs."""

    def __init__(self, desk: ReservationDesk, *, seconds: float, keep: timedelta) -> None:
        self._desk = desk
        self._seconds = seconds
        self._keep = keep
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Reaper":
        self._task = asyncio.create_task(self._run(), name="reservation-reaper")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                while count := await self._desk.reap():
                    logger.warning("reservations charged for callers that are gone", extra={"count": count})
                await self._desk.forget(self._keep)
            except Unavailable:
                logger.warning("reservations cannot be looked at: the database does not answer")
            except Exception:
                logger.exception("reservations cannot be ended")
            await asyncio.sleep(self._seconds)

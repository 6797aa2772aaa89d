"""Sees to it that the ledger gets every report of usage, whatever became of the stream they were published to."""

import asyncio
import logging
from datetime import timedelta

from services.common import background
from services.common.clients import acting_as
from services.common.clock import Clock
from services.common.context import Caller
from services.common.errors import DomainError
from services.orchestrator.ports import Budgets, UnsentReports

logger = logging.getLogger(__name__)

BATCH_SIZE = 50
# Longer than a batch takes; what a process that died had taken is taken again after it.
LEASE = timedelta(seconds=30)
RETRY = timedelta(seconds=2)


class Delivery:
    """Sends what is due to the ledger, in the background, until the block ends. Sending twice changes nothing."""

    def __init__(self, unsent: UnsentReports, budgets: Budgets, clock: Clock, *, poll_seconds: float) -> None:
        self._unsent = unsent
        self._budgets = budgets
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Delivery":
        self._task = asyncio.create_task(self._run(), name="usage-delivery")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    async def send_due(self) -> int:
        """Send what is due; returns how many reports the ledger has now. Raises DomainError when it does not answer."""
        now = self._clock()
        reports = await self._unsent.take(now, lease_until=now + LEASE, limit=BATCH_SIZE)
        for place, report in enumerate(reports):
            try:
                with acting_as(Caller("orchestrator", report.organization_id, report.user_id)):
                    await self._budgets.record(report)
            except DomainError:
                await self._unsent.postpone(reports[place:], self._clock() + RETRY)
                raise
            await self._unsent.remove([report])
        return len(reports)

    async def _run(self) -> None:
        while True:
            try:
                full = await self.send_due() == BATCH_SIZE
            except DomainError as error:
                logger.warning("usage not delivered, trying again", extra={"reason": error.reason})
                full = False
            except Exception:
                logger.exception("usage not delivered")
                full = False
            if not full:
                await asyncio.sleep(self._poll_seconds)

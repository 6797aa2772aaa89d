"""Closes solved tickets for good when nobody has opened them again for some days.

Several processes may look at once: each ticket is locked and looked at again before it is closed.
"""

import asyncio
import logging
from datetime import datetime, timedelta

from services.common import background
from services.common.clock import Clock
from services.tickets.domain import Status
from services.tickets.ports import SolvedTickets, UnitOfWorkFactory

logger = logging.getLogger(__name__)

BATCH_SIZE = 100


class Closer:
    """`close_due` closes a batch; as a context manager it does so in the background until the block ends."""

    def __init__(
        self,
        solved: SolvedTickets,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        *,
        after: timedelta,
        poll_seconds: float,
    ) -> None:
        self._solved = solved
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._after = after
        self._poll_seconds = poll_seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Closer":
        self._task = asyncio.create_task(self._run(), name="ticket-closer")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    async def close_due(self) -> int:
        """Close at most a batch of what was solved long enough ago; returns how many tickets that were."""
        before = self._clock() - self._after
        closed = 0
        for organization_id, ticket_id in await self._solved.before(before, BATCH_SIZE):
            closed += await self._close(organization_id, ticket_id, before)
        return closed

    async def _close(self, organization_id: str, ticket_id: str, before: datetime) -> bool:
        async with self._unit_of_work(organization_id) as work:
            ticket = await work.tickets.get(ticket_id, lock=True)
            if ticket.status is not Status.SOLVED or ticket.solved_at is None or ticket.solved_at >= before:
                return False
            ticket.close_by_itself(self._clock())
            await work.tickets.save(ticket)
            await work.outbox.ticket_updated(ticket)
            await work.commit()
        return True

    async def _run(self) -> None:
        while True:
            try:
                full = await self.close_due() == BATCH_SIZE
            except Exception:
                logger.warning("solved tickets not closed, trying again", exc_info=True)
                full = False
            if not full:
                await asyncio.sleep(self._poll_seconds)

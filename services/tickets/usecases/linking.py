"""Tells conversations of the tickets that came from them.

A pending link is written in the transaction that opens the ticket and removed once the conversation knows. The call
that opened the ticket tries at once; what it cannot finish, or what a crash cut off, a background task takes up again
until it is done. Telling a conversation twice changes nothing, so no attempt has to know of another.
"""

import asyncio
import logging
from datetime import datetime, timedelta

from services.common import background
from services.common.clock import Clock
from services.tickets.domain import Ticket
from services.tickets.errors import ConversationNotFound
from services.tickets.ports import Conversations, Link, LinkQueue

logger = logging.getLogger(__name__)

BATCH_SIZE = 20
# Longer than a batch takes, so that no two processes work on one.
LEASE = timedelta(minutes=2)
LONGEST_PAUSE_SECONDS = 60


def link_of(ticket: Ticket) -> Link:
    """What the ticket's conversation is to be told."""
    return Link(
        organization_id=ticket.organization_id,
        ticket_id=ticket.id,
        ticket_number=ticket.number,
        subject=ticket.content.subject,
        requester_id=ticket.requester_id,
        conversation_id=ticket.conversation_id,
    )


def retry_at(now: datetime, attempts: int) -> datetime:
    """When to try again after so many attempts: 1 s, 2 s, 4 s … at most a minute later."""
    return now + timedelta(seconds=min(2 ** min(attempts, 16) // 2 or 1, LONGEST_PAUSE_SECONDS))


class Linker:
    """Makes pending links; as a context manager it does so in the background until the block ends."""

    def __init__(self, queue: LinkQueue, conversations: Conversations, clock: Clock, *, poll_seconds: float) -> None:
        self._queue = queue
        self._conversations = conversations
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Linker":
        self._task = asyncio.create_task(self._run(), name="ticket-linker")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    async def link(self, link: Link) -> None:
        """Try once; never raises, because the link stays pending until it is made."""
        try:
            await self._tell(link)
            await self._queue.remove(link)
        except Exception:
            logger.warning("conversation not told of its ticket yet", exc_info=True, extra={"ticket": link.ticket_id})

    async def run_due(self) -> int:
        """Take up what is due; returns how many links that were."""
        links = await self._queue.take(self._clock(), lease=LEASE, limit=BATCH_SIZE)
        for link in links:
            try:
                await self._tell(link)
            except Exception:
                logger.warning(
                    "conversation not told of its ticket, trying again",
                    exc_info=True,
                    extra={"ticket": link.ticket_id, "attempts": link.attempts},
                )
                await self._queue.postpone(link, retry_at(self._clock(), link.attempts))
            else:
                await self._queue.remove(link)
        return len(links)

    async def _tell(self, link: Link) -> None:
        try:
            await self._conversations.link(link)
        except ConversationNotFound:
            # It was there when the ticket was opened, so it was deleted since: nobody is left to be told.
            logger.warning("conversation of a ticket is gone", extra={"ticket": link.ticket_id})

    async def _run(self) -> None:
        while True:
            try:
                full = await self.run_due() == BATCH_SIZE
            except Exception:
                logger.warning("pending links not read, trying again", exc_info=True)
                full = False
            if not full:
                await asyncio.sleep(self._poll_seconds)

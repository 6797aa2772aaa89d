"""Units of work on Postgres, with what they tell other services."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common.db import IdempotencyRecords, SqlUnitOfWork
from services.common.outbox import Outbox
from services.tickets import mapping, tables
from services.tickets.adapters.links import SqlPendingLinks
from services.tickets.adapters.repositories import SqlComments, SqlHistory, SqlTickets
from services.tickets.domain import Comment, Ticket

TICKET_CREATED = "ticket.created"
TICKET_UPDATED = "ticket.updated"
TICKET_COMMENTED = "ticket.commented"


class SqlOutbox:
    """Tells other services, in the transaction of the change. Payloads are `Ticket` after it, or the `Comment`."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._outbox = Outbox(session, organization_id, tables.outbox)

    async def ticket_created(self, ticket: Ticket) -> None:
        """A ticket was opened."""
        await self._outbox.add(TICKET_CREATED, ticket.id, mapping.ticket(ticket).SerializeToString())

    async def ticket_updated(self, ticket: Ticket) -> None:
        """Fields of a ticket changed."""
        await self._outbox.add(TICKET_UPDATED, ticket.id, mapping.ticket(ticket).SerializeToString())

    async def ticket_commented(self, ticket: Ticket, comment: Comment) -> None:
        """Somebody wrote a comment."""
        await self._outbox.add(TICKET_COMMENTED, ticket.id, mapping.comment(comment).SerializeToString())


class SqlTicketsWork(SqlUnitOfWork):
    """One transaction of one organization."""

    def __init__(
        self,
        sessionmaker: async_sessionmaker[AsyncSession],
        committed: Callable[[], None],
        organization_id: str,
    ) -> None:
        super().__init__(sessionmaker, organization_id)
        self._committed = committed

    def bind(self, session: AsyncSession) -> None:
        """Build what works on this transaction's session."""
        organization_id = self.organization_id
        self.tickets = SqlTickets(session, organization_id)
        self.comments = SqlComments(session, organization_id)
        self.history = SqlHistory(session, organization_id)
        self.requests = IdempotencyRecords(session, organization_id, tables.idempotency_records)
        self.outbox = SqlOutbox(session, organization_id)
        self.links = SqlPendingLinks(session, organization_id)

    async def commit(self) -> None:
        """Make it last, then have the outbox looked at."""
        await super().commit()
        self._committed()

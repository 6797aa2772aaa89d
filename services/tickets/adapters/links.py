"""Pending links in Postgres: written with a ticket, taken up for all organizations."""

from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common.db import SqlUnitOfWork
from services.tickets import tables
from services.tickets.domain import Ticket
from services.tickets.ports import Link

_links = tables.pending_links
_tickets = tables.tickets


class SqlPendingLinks:
    """Adds links in the transaction that opens their tickets."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, ticket: Ticket, due_at: datetime) -> None:
        """Have the ticket's conversation told, by whoever finds it due."""
        row = {
            "ticket_id": ticket.id,
            "organization_id": self._organization_id,
            "due_at": due_at,
            "attempts": 0,
        }
        await self._session.execute(insert(_links).values(row))


class SqlLinkQueue:
    """The pending links of all organizations."""

    def __init__(self, sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        self._sessionmaker = sessionmaker

    async def take(self, at: datetime, *, lease: timedelta, limit: int) -> list[Link]:
        """At most `limit` due links, longest due first. Nobody else gets them until the lease ends."""
        due = (
            select(_links.c.ticket_id)
            .where(_links.c.due_at <= at)
            .order_by(_links.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        taken = (
            update(_links)
            .where(_links.c.ticket_id.in_(due), _links.c.ticket_id == _tickets.c.id)
            .values(due_at=at + lease, attempts=_links.c.attempts + 1)
            .returning(
                _links.c.organization_id,
                _links.c.ticket_id,
                _tickets.c.number.label("ticket_number"),
                _tickets.c.subject,
                _tickets.c.requester_id,
                _tickets.c.conversation_id,
                _links.c.attempts,
            )
        )
        async with SqlUnitOfWork(self._sessionmaker, system=True) as work:
            rows = (await work.session.execute(taken)).mappings().all()
            await work.commit()
        return [Link(**row) for row in rows]

    async def postpone(self, link: Link, until: datetime) -> None:
        """Have a link that was taken tried again then."""
        async with SqlUnitOfWork(self._sessionmaker, link.organization_id) as work:
            await work.session.execute(update(_links).where(_links.c.ticket_id == link.ticket_id).values(due_at=until))
            await work.commit()

    async def remove(self, link: Link) -> None:
        """The link is made, or never can be."""
        async with SqlUnitOfWork(self._sessionmaker, link.organization_id) as work:
            await work.session.execute(delete(_links).where(_links.c.ticket_id == link.ticket_id))
            await work.commit()

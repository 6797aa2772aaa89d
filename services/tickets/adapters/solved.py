"""Solved tickets in Postgres, of all organizations."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common.db import SqlUnitOfWork
from services.tickets import tables
from services.tickets.domain import Status

_tickets = tables.tickets


class SqlSolvedTickets:
    """Finds those that were solved long ago."""

    def __init__(self, sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        self._sessionmaker = sessionmaker

    async def before(self, moment: datetime, limit: int) -> list[tuple[str, str]]:
        """Organization and identifier of at most `limit` tickets solved before that, longest ago first."""
        statement = (
            select(_tickets.c.organization_id, _tickets.c.id)
            .where(_tickets.c.status == Status.SOLVED, _tickets.c.solved_at < moment)
            .order_by(_tickets.c.solved_at)
            .limit(limit)
        )
        async with SqlUnitOfWork(self._sessionmaker, system=True) as work:
            rows = (await work.session.execute(statement)).all()
        return [(row.organization_id, row.id) for row in rows]

"""Reports of usage in Postgres: published by the outbox, and kept until the ledger has confirmed them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common.db import SqlUnitOfWork
from services.common.outbox import Outbox
from services.orchestrator.adapters.usage import report_of, request_of
from services.orchestrator.domain import UsageReport
from services.orchestrator.tables import outbox, usage_reports

TURN_USAGE = "turn.usage"

_KEY = (usage_reports.c.organization_id, usage_reports.c.id)


class SqlUsageReports:
    """Adds reports of one organization."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, report: UsageReport, due_at: datetime) -> None:
        payload = request_of(report).SerializeToString()
        added = await self._session.execute(
            insert(usage_reports)
            .values(
                organization_id=self._organization_id,
                id=report.id,
                user_id=report.user_id,
                payload=payload,
                due_at=due_at,
            )
            .on_conflict_do_nothing()
            .returning(usage_reports.c.id)
        )
        if added.first() is not None:
            await Outbox(self._session, self._organization_id, outbox).add(TURN_USAGE, report.id, payload)


class SqlUnsentReports:
    """The reports of all organizations; each call is a transaction of its own."""

    def __init__(self, sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        self._sessionmaker = sessionmaker

    async def take(self, at: datetime, *, lease_until: datetime, limit: int) -> list[UsageReport]:
        due = (
            select(*_KEY)
            .where(usage_reports.c.due_at <= at)
            .order_by(usage_reports.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._work() as work:
            taken = await work.session.execute(
                update(usage_reports).where(tuple_(*_KEY).in_(due)).values(due_at=lease_until).returning(usage_reports)
            )
            reports = [report_of(row.organization_id, row.id, row.user_id, row.payload) for row in taken]
            await work.commit()
        return reports

    async def postpone(self, reports: Sequence[UsageReport], until: datetime) -> None:
        keys = [(report.organization_id, report.id) for report in reports]
        async with self._work() as work:
            await work.session.execute(update(usage_reports).where(tuple_(*_KEY).in_(keys)).values(due_at=until))
            await work.commit()

    async def remove(self, reports: Sequence[UsageReport]) -> None:
        keys = [(report.organization_id, report.id) for report in reports]
        async with self._work() as work:
            await work.session.execute(delete(usage_reports).where(tuple_(*_KEY).in_(keys)))
            await work.commit()

    def _work(self) -> SqlUnitOfWork:
        return SqlUnitOfWork(self._sessionmaker, system=True)

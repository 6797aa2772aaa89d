"""Units of work on Postgres."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common.db import IdempotencyRecords, SqlUnitOfWork
from services.common.outbox import Outbox
from services.usage import mapping, tables
from services.usage.adapters.budgets import SqlAccounts, SqlAlerts, SqlBudgets
from services.usage.adapters.ledger import SqlLedger
from services.usage.adapters.reservations import SqlReservations, SqlSizes
from services.usage.domain import Alert

BUDGET_ALERT = "budget.alert"


class SqlOutbox:
    """Tells other services, in the transaction of the change."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def alerted(self, alert: Alert) -> None:
        outbox = Outbox(self._session, alert.budget.organization_id, tables.outbox)
        await outbox.add(BUDGET_ALERT, alert.budget.id, mapping.alert(alert).SerializeToString())


class SqlUsageWork(SqlUnitOfWork):
    """One transaction, of one organization or, with `system`, of all."""

    def __init__(
        self,
        sessionmaker: async_sessionmaker[AsyncSession],
        committed: Callable[[], None],
        organization_id: str = "",
        *,
        system: bool = False,
    ) -> None:
        super().__init__(sessionmaker, organization_id, system=system)
        self._committed = committed

    def bind(self, session: AsyncSession) -> None:
        """Build what works on this transaction's session."""
        organization_id = self.organization_id
        self.ledger = SqlLedger(session, organization_id)
        self.budgets = SqlBudgets(session, organization_id)
        self.accounts = SqlAccounts(session)
        self.alerts = SqlAlerts(session, organization_id)
        self.reservations = SqlReservations(session)
        self.sizes = SqlSizes(session)
        self.requests = IdempotencyRecords(session, organization_id, tables.idempotency_records)
        self.outbox = SqlOutbox(session)

    async def commit(self) -> None:
        """Make it last, then have the outbox looked at."""
        await super().commit()
        self._committed()

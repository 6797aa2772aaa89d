"""Units of work on Postgres."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common.db import IdempotencyRecords, SqlUnitOfWork
from services.common.outbox import Outbox
from services.models import mapping, tables
from services.models.adapters.repositories import SqlEvents, SqlModels
from services.models.adapters.rollouts import SqlRollouts
from services.models.domain import Model

MODEL_CHANGED = "model.changed"
# Nobody's rows: the registry belongs to the platform.
PLATFORM = ""


class SqlOutbox:
    """Tells others, in the transaction of the change. Payloads are `Model` after it."""

    def __init__(self, session: AsyncSession) -> None:
        self._outbox = Outbox(session, PLATFORM, tables.outbox)

    async def model_changed(self, model: Model) -> None:
        """Somebody changed a model."""
        key = f"{model.environment}/{model.name}"
        await self._outbox.add(MODEL_CHANGED, key, mapping.model(model).SerializeToString())


class SqlModelsWork(SqlUnitOfWork):
    """One transaction over the whole registry."""

    def __init__(
        self, sessionmaker: async_sessionmaker[AsyncSession], committed: Callable[[], None], environment: str
    ) -> None:
        super().__init__(sessionmaker, PLATFORM, system=True)
        self._environment = environment
        self._committed = committed

    def bind(self, session: AsyncSession) -> None:
        """Build what works on this transaction's session."""
        self.models = SqlModels(session)
        self.events = SqlEvents(session)
        self.rollouts = SqlRollouts(session, self._environment)
        self.requests = IdempotencyRecords(session, PLATFORM, tables.idempotency_records)
        self.outbox = SqlOutbox(session)

    async def commit(self) -> None:
        """Make it last, then have the outbox looked at."""
        await super().commit()
        self._committed()

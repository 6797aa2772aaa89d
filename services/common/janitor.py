"""Rows whose time is over are deleted in the background: what a service keeps only for a while does not grow for ever.

    await stack.enter_async_context(platform.janitor(request_ids(tables.idempotency_records, settings)))

Batches are small and each is a transaction of its own, so nobody waits for a purge. Several processes may sweep at
once: a row that another one holds is left to it. The times have no index on purpose: an hourly scan costs less than an
index that every write keeps up.
"""

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import ColumnElement, Table, delete, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common import background
from services.common.clock import Clock
from services.common.db import SqlUnitOfWork
from services.common.settings import ServiceSettings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Purge:
    """Rows of a table go `keep` after the time in `column`, if `only` holds for them too."""

    table: Table
    column: str
    keep: timedelta
    only: ColumnElement[bool] | None = None


def request_ids(table: Table, settings: ServiceSettings) -> Purge:
    """The purge of a service's `idempotency_table`. A request_id that comes again later counts as new."""
    return Purge(table, "created_at", timedelta(days=settings.request_id_days))


class Janitor:
    """Sweeps while it is entered. `sweep` may also be called by itself."""

    def __init__(
        self,
        purges: tuple[Purge, ...],
        sessionmaker: async_sessionmaker[AsyncSession],
        clock: Clock,
        registry: CollectorRegistry,
        *,
        interval_seconds: float,
        batch_rows: int,
    ) -> None:
        self._purges = purges
        self._sessionmaker = sessionmaker
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._batch_rows = batch_rows
        self._purged = Counter("deskmesh_purged_rows", "Rows deleted after their time.", ("table",), registry=registry)
        self._swept = Gauge(
            "deskmesh_purge_last_success_timestamp_seconds", "When every table was last swept.", registry=registry
        )
        for purge in purges:
            self._purged.labels(purge.table.name)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Janitor":
        self._task = asyncio.create_task(self._run(), name="janitor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await background.end(self._task)

    async def sweep(self) -> int:
        """Delete everything whose time is over; returns how many rows that were."""
        count = 0
        for purge in self._purges:
            deleted = self._batch_rows
            while deleted == self._batch_rows:
                deleted = await self._batch(purge)
                count += deleted
        self._swept.set(time.time())
        return count

    async def _batch(self, purge: Purge) -> int:
        table = purge.table
        keys = tuple(table.primary_key.columns)
        chosen = (
            select(*keys)
            .where(table.c[purge.column] < self._clock() - purge.keep, true() if purge.only is None else purge.only)
            .limit(self._batch_rows)
            .with_for_update(skip_locked=True, of=table)
        )
        async with SqlUnitOfWork(self._sessionmaker, system=True) as work:
            result = await work.session.execute(delete(table).where(tuple_(*keys).in_(chosen)))
            await work.commit()
        deleted: int = result.rowcount  # type: ignore[attr-defined]  # a deletion's result has it
        self._purged.labels(table.name).inc(deleted)
        return deleted

    async def _run(self) -> None:
        while True:
            pause = self._interval_seconds
            try:
                if count := await self.sweep():
                    logger.info("purged", extra={"rows": count})
            except Exception:
                logger.warning("purge failed, trying again", exc_info=True)
                pause = min(pause, RETRY_SECONDS)
            # Replicas that were started together drift apart.
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing

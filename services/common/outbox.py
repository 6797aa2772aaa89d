"""Changes that others must know, written in the same transaction and published to Redis Streams afterwards.

Delivery is at least once, in the order of the outbox: consumers recognize a repeated event by its `id`. Streams are
named `deskmesh:<service>:<topic>`; an entry has the fields `id`, `organization_id`, `key`, `payload` (bytes) and
`traceparent`.
"""

import asyncio
import logging
from contextlib import suppress

import redis.asyncio
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    func,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common import background
from services.common.db import SqlUnitOfWork
from services.common.tracing import current_traceparent

logger = logging.getLogger(__name__)

BATCH_SIZE = 200
POLL_SECONDS = 1.0
RETRY_SECONDS = 1.0
# Streams keep about this many of their newest entries: what was missed longer is read anew from its owner.
STREAM_LENGTH = 100_000


def outbox_table(metadata: MetaData) -> Table:
    """The table of events to publish; put it into the service's `tables.py` and its first migration."""
    return Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("organization_id", String, nullable=False),
        Column("topic", String, nullable=False),
        Column("key", String, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("traceparent", String, nullable=False, server_default=""),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def stream_name(service: str, topic: str) -> str:
    """The Redis stream of a topic."""
    return f"deskmesh:{service}:{topic}"


class Outbox:
    """Adds events within a transaction."""

    def __init__(self, session: AsyncSession, organization_id: str, table: Table) -> None:
        self._session = session
        self._organization_id = organization_id
        self._table = table

    async def add(self, topic: str, key: str, payload: bytes) -> None:
        """Publish `payload` once the transaction is committed; events of one key keep their order."""
        await self._session.execute(
            insert(self._table).values(
                organization_id=self._organization_id,
                topic=topic,
                key=key,
                payload=payload,
                traceparent=current_traceparent(),
            )
        )


class OutboxRelay:
    """Moves events from the outbox to Redis; one process at a time, so that the order holds.

    relay = OutboxRelay("tickets", platform.sessionmaker, platform.redis, tables.outbox)
    await stack.enter_async_context(relay)
    """

    def __init__(
        self,
        service: str,
        sessionmaker: async_sessionmaker[AsyncSession],
        store: redis.asyncio.Redis,
        table: Table,
    ) -> None:
        self._service = service
        self._sessionmaker = sessionmaker
        self._redis = store
        self._table = table
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "OutboxRelay":
        self._task = asyncio.create_task(self._run(), name=f"{self._service}-outbox-relay")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    def wake(self) -> None:
        """Look now instead of at the next poll; call it after a commit that added events."""
        self._woken.set()

    async def publish_batch(self) -> int:
        """Publish the oldest events, then forget them; returns how many. Redis has an event before it is forgotten."""
        table = self._table
        async with SqlUnitOfWork(self._sessionmaker, system=True) as work:
            lock = sql("select pg_try_advisory_xact_lock(hashtext(:name))")
            if not await work.session.scalar(lock, {"name": f"outbox:{self._service}"}):
                return 0
            rows = (await work.session.execute(select(table).order_by(table.c.id).limit(BATCH_SIZE))).all()
            if not rows:
                return 0
            pipeline = self._redis.pipeline(transaction=False)
            for row in rows:
                entry: dict[str | bytes, str | bytes | int] = {
                    "id": row.id,
                    "organization_id": row.organization_id,
                    "key": row.key,
                    "payload": row.payload,
                    "traceparent": row.traceparent,
                }
                name = stream_name(self._service, row.topic)
                pipeline.xadd(name, entry, maxlen=STREAM_LENGTH, approximate=True)  # type: ignore[arg-type]
            await pipeline.execute()
            await work.session.execute(delete(table).where(table.c.id.in_([row.id for row in rows])))
            await work.commit()
            return len(rows)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                full = await self.publish_batch() == BATCH_SIZE
            except Exception:
                logger.warning("outbox not published, trying again", exc_info=True)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not full:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), POLL_SECONDS)

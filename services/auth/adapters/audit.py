"""The audit log in Postgres: rows are added and read; the service's role can do nothing else to them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth import tables
from services.auth.audit import AuditEvent, EventType
from services.auth.ports import AuditFilter


class SqlAuditLog:
    """See `ports.AuditLog`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, event: AuditEvent) -> None:
        values = {
            "id": event.id,
            "organization_id": event.organization_id,
            "type": str(event.type),
            "occurred_at": event.occurred_at,
            "actor_id": event.actor_id,
            "workload": event.workload,
            "subject_id": event.subject_id,
            "source": event.source,
            "trace_id": event.trace_id,
            "details": dict(event.details),
        }
        await self._session.execute(insert(tables.audit_events).values(values))

    async def list(self, chosen: AuditFilter, before: str, limit: int) -> Sequence[AuditEvent]:
        columns = tables.audit_events.c
        statement = select(tables.audit_events).where(columns.organization_id == chosen.organization_id)
        if chosen.types:
            statement = statement.where(columns.type.in_([str(kind) for kind in chosen.types]))
        if chosen.actor_id:
            statement = statement.where(columns.actor_id == chosen.actor_id)
        if chosen.subject_id:
            statement = statement.where(columns.subject_id == chosen.subject_id)
        if chosen.since is not None:
            statement = statement.where(columns.occurred_at >= chosen.since)
        if chosen.until is not None:
            statement = statement.where(columns.occurred_at < chosen.until)
        if before:
            statement = statement.where(columns.id < before)
        # Identifiers sort by the time they were made.
        statement = statement.order_by(columns.id.desc()).limit(limit)
        return [_event(row) for row in await self._session.execute(statement)]


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(
        id=row.id,
        organization_id=row.organization_id,
        type=EventType(row.type),
        occurred_at=row.occurred_at,
        actor_id=row.actor_id,
        workload=row.workload,
        subject_id=row.subject_id,
        source=row.source,
        trace_id=row.trace_id,
        details=row.details,
    )

"""The registry in Postgres."""

from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.models import tables
from services.models.domain import Action, Event, Health, Model
from services.models.errors import ModelExists

_models = tables.models
_events = tables.events


class SqlModels:
    """The registry."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def all(self) -> list[Model]:
        """Every model, by environment and name."""
        rows = await self._session.execute(select(_models))
        # Sorted here, so that the order is the one that pages are cut by, whatever the database's collation.
        return sorted((_model(row) for row in rows), key=lambda one: (one.environment, one.name))

    async def find(self, name: str, environment: str, *, lock: bool = False) -> Model | None:
        """One model; `lock` keeps others from changing it meanwhile."""
        statement = select(_models).where(_models.c.name == name, _models.c.environment == environment)
        row = (await self._session.execute(statement.with_for_update() if lock else statement)).one_or_none()
        return None if row is None else _model(row)

    async def add(self, model: Model) -> None:
        """Keep a new model. Raises ModelExists."""
        statement = upsert(_models).values(_row(model)).on_conflict_do_nothing().returning(_models.c.name)
        if (await self._session.execute(statement)).first() is None:
            raise ModelExists

    async def save(self, model: Model) -> Model:
        """Keep a changed model, which must be locked; returns it with its next version."""
        statement = (
            update(_models)
            .where(_models.c.name == model.name, _models.c.environment == model.environment)
            .values(_row(model) | {"version": _models.c.version + 1})
            .returning(_models)
        )
        return _model((await self._session.execute(statement)).one())

    async def saw(self, model: Model) -> None:
        """Keep a model's health alone."""
        await self._session.execute(
            update(_models)
            .where(_models.c.name == model.name, _models.c.environment == model.environment)
            .values(health=model.health, health_checked_at=model.health_checked_at)
        )


class SqlEvents:
    """What was done to models."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, event: Event) -> None:
        """Keep an event."""
        await self._session.execute(
            insert(_events).values(
                id=event.id,
                model=event.model,
                environment=event.environment,
                action=event.action,
                actor=event.actor,
                reason=event.reason,
                occurred_at=event.occurred_at,
            )
        )

    async def page(self, name: str, environment: str, after: str, limit: int) -> list[Event]:
        """At most `limit` events older than the identifier `after`, newest first; empty strings ask for all."""
        statement = select(_events).order_by(_events.c.id.desc()).limit(limit)
        if name:
            statement = statement.where(_events.c.model == name)
        if environment:
            statement = statement.where(_events.c.environment == environment)
        if after:
            statement = statement.where(_events.c.id < after)
        return [
            Event(row.id, row.model, row.environment, Action(row.action), row.actor, row.reason, row.occurred_at)
            for row in await self._session.execute(statement)
        ]


def _row(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "environment": model.environment,
        "endpoint": model.endpoint,
        "namespace": model.namespace,
        "metadata": dict(model.metadata),
        "enabled": model.enabled,
        "health": model.health,
        "health_checked_at": model.health_checked_at,
        "version": model.version,
        "created_at": model.created_at,
        "updated_at": model.updated_at,
    }


def _model(row: Row[Any]) -> Model:
    return Model(
        name=row.name,
        environment=row.environment,
        endpoint=row.endpoint,
        namespace=row.namespace,
        metadata=row._mapping["metadata"],
        enabled=row.enabled,
        health=Health(row.health),
        health_checked_at=row.health_checked_at,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )

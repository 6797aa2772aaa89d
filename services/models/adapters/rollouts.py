"""Rollouts in Postgres."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, Select, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.models import tables
from services.models.errors import DeploymentInProgress, DeploymentNotFound
from services.models.gates import Gate
from services.models.rollouts import UNDER_WAY, Rollout, State

_rollouts = tables.rollouts


class SqlRollouts:
    """The rollouts of one environment."""

    def __init__(self, session: AsyncSession, environment: str) -> None:
        self._session = session
        self._environment = environment

    async def add(self, rollout: Rollout) -> None:
        """Keep a new one. Raises DeploymentInProgress when another is under way."""
        statement = insert(_rollouts).values(_row(rollout)).on_conflict_do_nothing().returning(_rollouts.c.id)
        if (await self._session.execute(statement)).first() is None:
            raise DeploymentInProgress

    async def get(self, rollout_id: str) -> Rollout:
        """One. Raises DeploymentNotFound."""
        row = (await self._session.execute(self._select().where(_rollouts.c.id == rollout_id))).one_or_none()
        if row is None:
            raise DeploymentNotFound(resource_name=rollout_id)
        return _rollout(row)

    async def save(self, rollout: Rollout) -> bool:
        """Keep a changed one; False when it is no longer as it was read."""
        saved = await self._session.execute(
            update(_rollouts)
            .where(_rollouts.c.id == rollout.id, _rollouts.c.version == rollout.version)
            .values(_row(rollout) | {"version": rollout.version + 1})
            .returning(_rollouts.c.id)
        )
        return saved.first() is not None

    async def under_way(self) -> Rollout | None:
        """The one that is neither promoted nor taken back."""
        row = (await self._session.execute(self._select().where(_rollouts.c.state.in_(UNDER_WAY)))).one_or_none()
        return None if row is None else _rollout(row)

    async def promoted(self, base: str, limit: int) -> list[Rollout]:
        """The last ones that were promoted on what the platform was started with, newest first."""
        statement = self._select().where(_rollouts.c.base == base, _rollouts.c.promoted_at.is_not(None))
        rows = await self._session.execute(statement.order_by(_rollouts.c.promoted_at.desc()).limit(limit))
        return [_rollout(row) for row in rows]

    async def page(self, after: str, limit: int) -> list[Rollout]:
        """At most `limit` older than the identifier `after`, newest first; empty begins."""
        statement = self._select().order_by(_rollouts.c.id.desc()).limit(limit)
        if after:
            statement = statement.where(_rollouts.c.id < after)
        return [_rollout(row) for row in await self._session.execute(statement)]

    def _select(self) -> Select[Any]:
        return select(_rollouts).where(_rollouts.c.environment == self._environment)


def _row(rollout: Rollout) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "environment": rollout.environment,
        "base": rollout.base,
        "file": rollout.file,
        "text": rollout.text,
        "actor": rollout.actor,
        "reason": rollout.reason,
        "state": rollout.state,
        "steps": list(rollout.steps),
        "step": rollout.step,
        "tenants": list(rollout.tenants),
        "direct": rollout.direct,
        "versions": dict(rollout.versions),
        "notes": list(rollout.notes),
        "gates": [_document(gate) for gate in rollout.gates],
        "failure": rollout.failure,
        "version": rollout.version,
        "created_at": rollout.created_at,
        "updated_at": rollout.updated_at,
        "tried_at": rollout.tried_at,
        # A promoted one moves no more.
        "promoted_at": rollout.updated_at if rollout.state is State.PROMOTED else None,
    }


def _document(gate: Gate) -> dict[str, Any]:
    """What a gate is, without what it usually is not: an earlier version of this service knows nothing of that."""
    return {name: value for name, value in asdict(gate).items() if name != "undecided" or value}


def _rollout(row: Row[Any]) -> Rollout:
    return Rollout(
        id=row.id,
        environment=row.environment,
        base=row.base,
        file=row.file,
        text=row.text,
        actor=row.actor,
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        state=State(row.state),
        steps=tuple(row.steps),
        step=row.step,
        tenants=tuple(row.tenants),
        direct=row.direct,
        versions=row.versions,
        notes=tuple(row.notes),
        gates=tuple(Gate(**gate) for gate in row.gates),
        failure=row.failure,
        tried_at=row.tried_at,
        version=row.version,
    )

"""The ledger in Postgres."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Text, case, cast, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.usage import tables
from services.usage.domain import Budget, Entry, Kind, Scope
from services.usage.ports import Dimension, EntryFilter, EntryPosition, Group, UsageFilter

_entries = tables.entries

_SHARE = text(
    "select pg_advisory_xact_lock_shared(hashtextextended('usage:' || one, 0)) "
    "from unnest(cast(:organizations as text[])) one"
)
_OWN = text("select pg_advisory_xact_lock(hashtextextended('usage:' || cast(:organization as text), 0))")

_SUBJECTS: dict[Scope, ColumnElement[str]] = {
    Scope.USER: _entries.c.user_id,
    Scope.KEY: _entries.c.key_id,
    Scope.MODEL: _entries.c.model,
    Scope.TICKET: _entries.c.ticket_id,
}
_DIMENSIONS: dict[Dimension, ColumnElement[str]] = {
    Dimension.DAY: func.to_char(func.timezone("UTC", _entries.c.occurred_at), "YYYY-MM-DD"),
    Dimension.MODEL: _entries.c.model,
    Dimension.USER: _entries.c.user_id,
    Dimension.KEY: _entries.c.key_id,
    Dimension.CONVERSATION: _entries.c.conversation_id,
    Dimension.TICKET: _entries.c.ticket_id,
    Dimension.STEP: _entries.c.step,
}


class SqlLedger:
    """Lines of the organizations that the transaction sees."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def share(self, organization_ids: Sequence[str]) -> None:
        await self._session.execute(_SHARE, {"organizations": sorted(set(organization_ids))})

    async def own(self, organization_id: str) -> None:
        await self._session.execute(_OWN, {"organization": organization_id})

    async def add(self, entries: Sequence[Entry], at: datetime) -> list[Entry]:
        by_key = {(entry.organization_id, entry.id): entry for entry in entries}
        # In one order everywhere, so that two deliveries of the same lines wait for each other instead of deadlocking.
        rows = [_row(by_key[key], at) for key in sorted(by_key)]
        if not rows:
            return []
        added = await self._session.execute(
            insert(_entries)
            .values(rows)
            .on_conflict_do_nothing(index_elements=[_entries.c.organization_id, _entries.c.id])
            .returning(_entries.c.organization_id, _entries.c.id)
        )
        return [by_key[(row.organization_id, row.id)] for row in added]

    async def spent(self, budget: Budget, start: datetime, end: datetime | None) -> int:
        statement = select(func.coalesce(func.sum(_entries.c.cost_micros), 0)).where(
            _entries.c.organization_id == budget.organization_id, _entries.c.occurred_at >= start
        )
        if end is not None:
            statement = statement.where(_entries.c.occurred_at < end)
        if budget.scope is Scope.TEAM:
            statement = statement.where(_entries.c.user_id.in_(budget.members))
        elif budget.scope is not Scope.ORGANIZATION:
            statement = statement.where(_SUBJECTS[budget.scope] == budget.subject)
        return int(await self._session.scalar(statement) or 0)

    async def groups(
        self, chosen: UsageFilter, dimensions: Sequence[Dimension], after: Sequence[str] | None, limit: int
    ) -> list[Group]:
        # The same order in every database, whatever its collation.
        keys = [_DIMENSIONS[dimension].collate("C") for dimension in dimensions]
        statement = select(
            *(key.label(f"key{place}") for place, key in enumerate(keys)),
            func.count(case((_entries.c.kind == Kind.MEASURED.value, 1))).label("calls"),
            func.coalesce(func.sum(_entries.c.prompt_tokens), 0).label("prompt"),
            func.coalesce(func.sum(_entries.c.cached_prompt_tokens), 0).label("cached"),
            func.coalesce(func.sum(_entries.c.completion_tokens), 0).label("completion"),
            func.coalesce(func.sum(_entries.c.elapsed_microseconds), 0).label("elapsed"),
            func.coalesce(func.sum(_entries.c.cost_micros), 0).label("cost"),
        ).where(
            _entries.c.organization_id == self._organization_id,
            _entries.c.occurred_at >= chosen.start,
            _entries.c.occurred_at < chosen.end,
            *_equal(
                {
                    "model": chosen.model,
                    "user_id": chosen.user_id,
                    "conversation_id": chosen.conversation_id,
                    "ticket_id": chosen.ticket_id,
                }
            ),
        )
        if keys:
            places = [text(str(place + 1)) for place in range(len(keys))]
            statement = statement.group_by(*places).order_by(*places)
        if keys and after is not None:
            statement = statement.where(tuple_(*keys) > tuple_(*(cast(literal(value), Text) for value in after)))
        rows = await self._session.execute(statement.limit(limit))
        return [
            Group(
                tuple(row[: len(keys)]),
                int(row.calls),
                int(row.prompt),
                int(row.cached),
                int(row.completion),
                timedelta(microseconds=int(row.elapsed)),
                int(row.cost),
            )
            for row in rows
        ]

    async def page(self, chosen: EntryFilter, after: EntryPosition | None, limit: int) -> list[Entry]:
        statement = select(_entries).where(
            _entries.c.organization_id == self._organization_id,
            *_equal(
                {
                    "turn_id": chosen.turn_id,
                    "conversation_id": chosen.conversation_id,
                    "ticket_id": chosen.ticket_id,
                }
            ),
        )
        if after is not None:
            statement = statement.where(
                tuple_(_entries.c.occurred_at, _entries.c.id) < tuple_(literal(after[0]), literal(after[1]))
            )
        newest = (_entries.c.occurred_at.desc(), _entries.c.id.desc())
        return [_entry(row) for row in await self._session.execute(statement.order_by(*newest).limit(limit))]


def _equal(values: dict[str, str]) -> list[ColumnElement[bool]]:
    return [_entries.c[name] == value for name, value in values.items() if value]


def _row(entry: Entry, at: datetime) -> dict[str, Any]:
    return {
        "organization_id": entry.organization_id,
        "id": entry.id,
        "occurred_at": entry.occurred_at,
        "recorded_at": at,
        "kind": entry.kind.value,
        "user_id": entry.user_id,
        "key_id": entry.key_id,
        "conversation_id": entry.conversation_id,
        "ticket_id": entry.ticket_id,
        "turn_id": entry.turn_id,
        "step": entry.step,
        "model": entry.model,
        "prompt_tokens": entry.prompt_tokens,
        "cached_prompt_tokens": entry.cached_prompt_tokens,
        "completion_tokens": entry.completion_tokens,
        "elapsed_microseconds": entry.elapsed // timedelta(microseconds=1),
        "reservation_id": entry.reservation_id,
        "cost_micros": entry.cost,
    }


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        organization_id=row.organization_id,
        id=row.id,
        occurred_at=row.occurred_at,
        step=row.step,
        model=row.model,
        user_id=row.user_id,
        key_id=row.key_id,
        conversation_id=row.conversation_id,
        ticket_id=row.ticket_id,
        turn_id=row.turn_id,
        prompt_tokens=row.prompt_tokens,
        cached_prompt_tokens=row.cached_prompt_tokens,
        completion_tokens=row.completion_tokens,
        elapsed=timedelta(microseconds=row.elapsed_microseconds),
        reservation_id=row.reservation_id,
        cost=row.cost_micros,
        kind=Kind(row.kind),
    )

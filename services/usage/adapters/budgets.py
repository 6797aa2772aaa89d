"""Budgets, their accounts and alerts in Postgres."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, literal, select, text, tuple_, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.usage import tables
from services.usage.domain import Account, Alert, Budget, Period, PeriodKey, Scope, Target
from services.usage.errors import BudgetExists, BudgetNotFound

_budgets = tables.budgets
_accounts = tables.accounts
_alerts = tables.alerts

_MATCHING = text(
    "with wanted as (select * from unnest(cast(:organizations as text[]), cast(:scopes as text[]), "
    "cast(:subjects as text[])) wanted (organization_id, scope, subject)) "
    "select b.* from budgets b join wanted using (organization_id, scope, subject) union all "
    "select b.* from budgets b where b.organization_id = any(cast(:organizations as text[])) and b.scope = 'team' "
    "and exists (select from wanted w where w.organization_id = b.organization_id and w.scope = 'user' "
    "and w.subject = any(b.member_ids))"
)
_MAKE_ACCOUNTS = text(
    "insert into accounts (budget_id, period_start, organization_id, spent_micros, reserved_micros) "
    "select wanted.id, wanted.start, wanted.organization, 0, 0 "
    "from unnest(cast(:budgets as text[]), cast(:starts as timestamptz[]), cast(:organizations as text[])) "
    "wanted (id, start, organization) join budgets b on b.id = wanted.id order by 1, 2 on conflict do nothing"
)
_KEYS = "(budget_id, period_start) in (select * from unnest(cast(:budgets as text[]), cast(:starts as timestamptz[])))"
_READ_ACCOUNTS = text(f"select * from accounts where {_KEYS}")  # noqa: S608 - a constant
_LOCK_ACCOUNTS = text(
    f"select * from accounts where {_KEYS} order by budget_id, period_start for update"  # noqa: S608 - a constant
)
_SAVE_ACCOUNTS = text(
    "update accounts a set spent_micros = changed.spent, reserved_micros = changed.reserved "
    "from unnest(cast(:budgets as text[]), cast(:starts as timestamptz[]), cast(:spent as bigint[]), "
    "cast(:reserved as bigint[])) changed (id, start, spent, reserved) "
    "where a.budget_id = changed.id and a.period_start = changed.start"
)


class SqlBudgets:
    """Budgets of the organizations that the transaction sees."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, budget: Budget) -> None:
        try:
            await self._session.execute(plain_insert(_budgets).values(_budget_row(budget)))
        except IntegrityError as error:
            if "uq_budgets_organization_id_scope_subject_period" in str(error.orig):
                raise BudgetExists from None
            raise

    async def get(self, budget_id: str, *, lock: bool = False) -> Budget:
        statement = select(_budgets).where(
            _budgets.c.organization_id == self._organization_id, _budgets.c.id == budget_id
        )
        row = (await self._session.execute(statement.with_for_update() if lock else statement)).one_or_none()
        if row is None:
            raise BudgetNotFound(resource_name=budget_id)
        return _budget(row)

    async def save(self, budget: Budget) -> None:
        await self._session.execute(
            update(_budgets)
            .where(_budgets.c.organization_id == self._organization_id, _budgets.c.id == budget.id)
            .values(
                limit_micros=budget.limit,
                member_ids=list(budget.members),
                version=budget.version,
                updated_at=budget.updated_at,
            )
        )

    async def remove(self, budget_id: str) -> None:
        await self._session.execute(
            delete(_budgets).where(_budgets.c.organization_id == self._organization_id, _budgets.c.id == budget_id)
        )

    async def page(self, scope: Scope | None, after: tuple[datetime, str] | None, limit: int) -> list[Budget]:
        statement = select(_budgets).where(_budgets.c.organization_id == self._organization_id)
        if scope is not None:
            statement = statement.where(_budgets.c.scope == scope.value)
        if after is not None:
            statement = statement.where(
                tuple_(_budgets.c.created_at, _budgets.c.id) > tuple_(literal(after[0]), literal(after[1]))
            )
        rows = await self._session.execute(statement.order_by(_budgets.c.created_at, _budgets.c.id).limit(limit))
        return [_budget(row) for row in rows]

    async def matching(self, targets: Sequence[Target]) -> list[Budget]:
        wanted = sorted(set(targets))
        rows = await self._session.execute(
            _MATCHING,
            {
                "organizations": [organization for organization, _, _ in wanted],
                "scopes": [scope.value for _, scope, _ in wanted],
                "subjects": [subject for _, _, subject in wanted],
            },
        )
        return [_budget(row) for row in rows]


class SqlAccounts:
    """What is spent and held, by period of a budget."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def read(self, keys: Sequence[PeriodKey]) -> dict[PeriodKey, Account]:
        return _accounts_of(await self._session.execute(_READ_ACCOUNTS, _arrays(keys)))

    async def lock(self, keys: Mapping[PeriodKey, str]) -> dict[PeriodKey, Account]:
        wanted = sorted(keys)
        found = _accounts_of(await self._session.execute(_LOCK_ACCOUNTS, _arrays(wanted)))
        missing = [key for key in wanted if key not in found]
        if not missing:
            return found
        await self._session.execute(
            _MAKE_ACCOUNTS, _arrays(missing) | {"organizations": [keys[key] for key in missing]}
        )
        return _accounts_of(await self._session.execute(_LOCK_ACCOUNTS, _arrays(wanted)))

    async def save(self, accounts: Mapping[PeriodKey, Account]) -> None:
        if not accounts:
            return
        changed = sorted(accounts.items())
        await self._session.execute(
            _SAVE_ACCOUNTS,
            _arrays([key for key, _ in changed])
            | {
                "spent": [account.spent for _, account in changed],
                "reserved": [account.reserved for _, account in changed],
            },
        )


class SqlAlerts:
    """Shares of limits that were reached."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, alerts: Sequence[Alert]) -> list[Alert]:
        if not alerts:
            return []
        by_key = {(alert.budget.id, alert.period_start, alert.threshold): alert for alert in alerts}
        rows = [
            {
                "budget_id": budget_id,
                "period_start": start,
                "threshold": threshold,
                "organization_id": alert.budget.organization_id,
                "spent_micros": alert.spent,
                "limit_micros": alert.limit,
                "occurred_at": alert.occurred_at,
            }
            for (budget_id, start, threshold), alert in sorted(by_key.items(), key=lambda item: item[0])
        ]
        added = await self._session.execute(
            insert(_alerts)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(_alerts.c.budget_id, _alerts.c.period_start, _alerts.c.threshold)
        )
        return [by_key[(row.budget_id, row.period_start, row.threshold)] for row in added]

    async def page(
        self, budget_id: str, after: tuple[datetime, str, int] | None, limit: int
    ) -> list[tuple[Alert, tuple[datetime, str, int]]]:
        position = (_alerts.c.occurred_at, _alerts.c.budget_id, _alerts.c.threshold)
        statement = (
            select(
                _budgets,
                _alerts.c.period_start,
                _alerts.c.threshold,
                _alerts.c.spent_micros,
                _alerts.c.limit_micros.label("limit_then"),
                _alerts.c.occurred_at,
            )
            .join(_budgets, _budgets.c.id == _alerts.c.budget_id)
            .where(_alerts.c.organization_id == self._organization_id)
        )
        if budget_id:
            statement = statement.where(_alerts.c.budget_id == budget_id)
        if after is not None:
            statement = statement.where(tuple_(*position) < tuple_(*(literal(value) for value in after)))
        rows = await self._session.execute(statement.order_by(*(column.desc() for column in position)).limit(limit))
        return [
            (
                Alert(_budget(row), row.period_start, row.threshold, row.spent_micros, row.limit_then, row.occurred_at),
                (row.occurred_at, row.id, row.threshold),
            )
            for row in rows
        ]


def _arrays(keys: Sequence[PeriodKey]) -> dict[str, Any]:
    return {"budgets": [budget_id for budget_id, _ in keys], "starts": [start for _, start in keys]}


def _accounts_of(rows: Any) -> dict[PeriodKey, Account]:
    return {(row.budget_id, row.period_start): Account(row.spent_micros, row.reserved_micros) for row in rows}


def _budget_row(budget: Budget) -> dict[str, Any]:
    return {
        "id": budget.id,
        "organization_id": budget.organization_id,
        "scope": budget.scope.value,
        "subject": budget.subject,
        "period": budget.period.value,
        "member_ids": list(budget.members),
        "limit_micros": budget.limit,
        "version": budget.version,
        "created_at": budget.created_at,
        "updated_at": budget.updated_at,
    }


def _budget(row: Row[Any]) -> Budget:
    return Budget(
        id=row.id,
        organization_id=row.organization_id,
        scope=Scope(row.scope),
        subject=row.subject,
        period=Period(row.period),
        limit=row.limit_micros,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        members=tuple(row.member_ids),
    )

"""Making, reading, changing and removing budgets; their alerts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.common import pagination
from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.ids import new_id
from services.usage.admission import overshoot_bound
from services.usage.domain import Account, Alert, Budget, Period, Scope
from services.usage.errors import NotATeam, StaleEtag
from services.usage.ports import UnitOfWork, UnitOfWorkFactory
from services.usage.usecases.ledger import entry_position
from services.usage.usecases.recording import raise_alerts

DEFAULT_PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class MakeBudget:
    """A new budget."""

    organization_id: str
    key: IdempotencyKey
    scope: Scope
    subject: str
    period: Period
    limit: int
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeBudget:
    """A new limit for a budget that was read as `etag`, and a team's new members unless there are none."""

    organization_id: str
    budget_id: str
    etag: str
    limit: int
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListBudgets:
    """A page of budgets."""

    organization_id: str
    scope: Scope | None
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class ListAlerts:
    """A page of alerts; of all budgets if `budget_id` is empty."""

    organization_id: str
    budget_id: str
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget and where it stands in its present period."""

    budget: Budget
    account: Account
    overshoot: int
    period_start: datetime
    period_end: datetime | None


@dataclass(frozen=True, slots=True)
class BudgetPage:
    """Budgets, and the token of what follows; empty at the end."""

    budgets: Sequence[Standing]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Alerts, and the token of what follows; empty at the end."""

    alerts: Sequence[Alert]
    next_page_token: str


class BudgetDesk:
    """The budgets' use cases."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock, overshoot_percent: int) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._overshoot_percent = overshoot_percent

    async def make(self, command: MakeBudget) -> Standing:
        """Make a budget that counts what its period has seen already; the same request_id makes it once.

        Raises BudgetExists, RequestIdReused, and BudgetNotFound for a repeat after the budget was removed.
        """
        now = self._clock()
        budget_id = new_id("bdg")
        async with self._unit_of_work(command.organization_id) as work:
            if made := await work.requests.claim(command.key, budget_id):
                return await self._standing(work, await work.budgets.get(made))
            # Nobody spends between the adding up and the commit.
            await work.ledger.own(command.organization_id)
            budget = Budget(
                budget_id,
                command.organization_id,
                command.scope,
                command.subject,
                command.period,
                command.limit,
                1,
                now,
                now,
                command.members,
            )
            await work.budgets.add(budget)
            start = budget.period.start(now)
            spent = await work.ledger.spent(budget, start, budget.period.end(now))
            await work.accounts.lock({(budget_id, start): command.organization_id})
            account = Account(spent)
            await work.accounts.save({(budget_id, start): account})
            await raise_alerts(work, {(budget_id, start): (budget, account)}, now)
            await work.commit()
        return self._stand(budget, account, now)

    async def get(self, organization_id: str, budget_id: str) -> Standing:
        """One budget. Raises BudgetNotFound."""
        async with self._unit_of_work(organization_id) as work:
            return await self._standing(work, await work.budgets.get(budget_id))

    async def list(self, query: ListBudgets) -> BudgetPage:
        """A page of budgets, oldest first. Raises InvalidPageToken."""
        filters: pagination.Filters = {
            "list": "budgets",
            "organization": query.organization_id,
            "scope": query.scope.value if query.scope else None,
        }
        after = entry_position(query.page_token, filters)
        size = query.page_size or DEFAULT_PAGE_SIZE
        now = self._clock()
        async with self._unit_of_work(query.organization_id) as work:
            found = await work.budgets.page(query.scope, after, size + 1)
            budgets = found[:size]
            accounts = await work.accounts.read([(budget.id, budget.period.start(now)) for budget in budgets])
        standings = [
            self._stand(budget, accounts.get((budget.id, budget.period.start(now)), Account()), now)
            for budget in budgets
        ]
        if len(found) <= size:
            return BudgetPage(standings, "")
        cursor = {"a": budgets[-1].created_at.isoformat(), "i": budgets[-1].id}
        return BudgetPage(standings, pagination.encode(cursor, filters))

    async def change(self, command: ChangeBudget) -> Standing:
        """Change the limit; one below what is spent refuses new work. Raises BudgetNotFound, StaleEtag, NotATeam."""
        now = self._clock()
        async with self._unit_of_work(command.organization_id) as work:
            budget = await self._locked(work, command.budget_id, command.etag)
            if command.members and budget.scope is not Scope.TEAM:
                raise NotATeam
            budget = replace(
                budget,
                limit=command.limit,
                members=command.members or budget.members,
                version=budget.version + 1,
                updated_at=now,
            )
            await work.budgets.save(budget)
            standing = await self._standing(work, budget)
            await raise_alerts(work, {(budget.id, standing.period_start): (budget, standing.account)}, now)
            await work.commit()
        return standing

    async def remove(self, organization_id: str, budget_id: str, etag: str) -> None:
        """Take a budget away. Raises BudgetNotFound, StaleEtag."""
        async with self._unit_of_work(organization_id) as work:
            await self._locked(work, budget_id, etag)
            await work.budgets.remove(budget_id)
            await work.commit()

    async def alerts(self, query: ListAlerts) -> AlertPage:
        """A page of alerts, newest first. Raises InvalidPageToken, BudgetNotFound."""
        filters: pagination.Filters = {
            "list": "alerts",
            "organization": query.organization_id,
            "budget": query.budget_id,
        }
        after = _alert_position(query.page_token, filters)
        size = query.page_size or DEFAULT_PAGE_SIZE
        async with self._unit_of_work(query.organization_id) as work:
            if query.budget_id:
                await work.budgets.get(query.budget_id)
            found = await work.alerts.page(query.budget_id, after, size + 1)
        alerts = [alert for alert, _ in found[:size]]
        if len(found) <= size:
            return AlertPage(alerts, "")
        at, budget_id, threshold = found[size - 1][1]
        cursor: Mapping[str, pagination.Scalar] = {"a": at.isoformat(), "i": budget_id, "t": threshold}
        return AlertPage(alerts, pagination.encode(cursor, filters))

    async def _locked(self, work: UnitOfWork, budget_id: str, etag: str) -> Budget:
        budget = await work.budgets.get(budget_id, lock=True)
        if budget.etag != etag:
            raise StaleEtag
        return budget

    async def _standing(self, work: UnitOfWork, budget: Budget) -> Standing:
        now = self._clock()
        key = (budget.id, budget.period.start(now))
        account = (await work.accounts.read([key])).get(key, Account())
        return self._stand(budget, account, now)

    def _stand(self, budget: Budget, account: Account, now: datetime) -> Standing:
        # A budget for all time begins with itself, as far as people are concerned.
        start = budget.created_at if budget.period is Period.ALL else budget.period.start(now)
        bound = overshoot_bound(budget.limit, self._overshoot_percent)
        return Standing(budget, account, bound, start, budget.period.end(now))


def _alert_position(token: str, filters: pagination.Filters) -> tuple[datetime, str, int] | None:
    position = entry_position(token, filters)
    if position is None:
        return None
    threshold = pagination.decode(token, filters).get("t")
    if type(threshold) is not int or not 0 <= threshold <= 100:
        raise pagination.InvalidPageToken
    return *position, threshold

"""Writes lines to the ledger and carries them to the accounts of budgets, in the caller's transaction."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from services.usage.domain import (
    Account,
    Alert,
    Budget,
    Entry,
    Kind,
    PeriodKey,
    Prices,
    Reservation,
    ReservationKey,
    ReservationState,
    Target,
    targets,
    thresholds_reached,
)
from services.usage.ports import UnitOfWork, WorkKind


async def record(
    work: UnitOfWork, prices: Prices, entries: Sequence[Entry], at: datetime, ended: Iterable[ReservationKey] = ()
) -> list[Entry]:
    """Add measured lines, each once, and end the reservations that they name and those in `ended`.

    However lines arrive, they arrive when the work is over: what was held becomes free in the transaction that charges
    what was used. An estimate that was charged for a caller thought dead is taken back. Returns what was new.
    """
    priced = [priced_entry(entry, prices, at) for entry in entries]
    keys = {(entry.organization_id, entry.reservation_id) for entry in priced if entry.reservation_id} | set(ended)
    organizations = {entry.organization_id for entry in priced} | {organization_id for organization_id, _ in keys}
    if not organizations:
        return []
    found = await work.reservations.find(sorted(keys), lock=True) if keys else {}
    held = [one for one in found.values() if one.state is ReservationState.HELD]
    reaped = [one for one in found.values() if one.state is ReservationState.REAPED]
    await work.reservations.end([one.key for one in held], ReservationState.SETTLED, at)
    await work.reservations.end([one.key for one in reaped], ReservationState.CORRECTED, at)
    await work.ledger.share(sorted(organizations))
    # As of when the estimate was charged, so that the same periods are put right.
    reversals = [one.correction(Kind.REVERSED, one.lease_until) for one in reaped]
    added = await work.ledger.add([*priced, *reversals], at)
    await work.sizes.observe(_costs(held, priced))
    await charge(work, added, held, at)
    return added


def priced_entry(entry: Entry, prices: Prices, at: datetime) -> Entry:
    """The line with its price. A clock that runs ahead must not open a period before its time."""
    price = prices.of(entry.model)
    cost = price.cost(entry.prompt_tokens, entry.cached_prompt_tokens, entry.completion_tokens, entry.elapsed)
    return replace(entry, occurred_at=min(entry.occurred_at, at), cost=cost)


def _costs(held: Sequence[Reservation], entries: Sequence[Entry]) -> Mapping[WorkKind, list[int]]:
    """What each work that ends cost; one that needed no model after all says nothing of what others need."""
    costs: dict[ReservationKey, int] = defaultdict(int)
    for entry in entries:
        costs[(entry.organization_id, entry.reservation_id)] += entry.cost
    seen: dict[WorkKind, list[int]] = defaultdict(list)
    for one in held:
        if costs[one.key]:
            seen[(one.organization_id, one.model, one.operation)].append(costs[one.key])
    return seen


async def charge(work: UnitOfWork, entries: Sequence[Entry], released: Sequence[Reservation], at: datetime) -> None:
    """Add the cost of lines to every account that they concern, and free what was held.

    Accounts are locked last and in one order: briefly, and never in a circle.
    """
    wanted = {target for entry in entries for target in targets_of(entry)}
    by_target: dict[Target, list[Budget]] = defaultdict(list)
    for budget in await work.budgets.matching(sorted(wanted)) if wanted else ():
        for target in budget.targets:
            by_target[target].append(budget)
    spent: dict[PeriodKey, int] = defaultdict(int)
    freed: dict[PeriodKey, int] = defaultdict(int)
    organizations: dict[PeriodKey, str] = {}
    charged: dict[PeriodKey, Budget] = {}
    for entry in entries:
        for budget in (budget for target in targets_of(entry) for budget in by_target.get(target, ())):
            key = (budget.id, budget.period.start(entry.occurred_at))
            spent[key] += entry.cost
            charged[key] = budget
            organizations[key] = entry.organization_id
    for reservation in released:
        for key in reservation.holds:
            freed[key] += reservation.granted
            organizations[key] = reservation.organization_id
    if not organizations:
        return
    accounts = {
        key: Account(account.spent + spent[key], account.reserved - freed[key])
        for key, account in (await work.accounts.lock(organizations)).items()
    }
    await work.accounts.save(accounts)
    await raise_alerts(work, {key: (budget, accounts[key]) for key, budget in charged.items() if key in accounts}, at)


def targets_of(entry: Entry) -> list[Target]:
    """What budgets may limit the use that a line tells of."""
    return targets(entry.organization_id, entry.user_id, entry.key_id, entry.model, entry.ticket_id)


async def raise_alerts(work: UnitOfWork, accounts: Mapping[PeriodKey, tuple[Budget, Account]], at: datetime) -> None:
    """Tell of shares of limits that are reached now and were not told of in this period."""
    reached = [
        Alert(budget, start, threshold, account.spent, budget.limit, at)
        for (_, start), (budget, account) in accounts.items()
        for threshold in thresholds_reached(budget.limit, account.spent)
    ]
    for alert in await work.alerts.add(reached):
        await work.outbox.alerted(alert)

"""Reserving before work begins, topping up while it runs, settling when it ends or when whoever did it is gone."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.common.clock import Clock
from services.common.errors import DomainError
from services.usage.admission import (
    Grant,
    Level,
    Refusal,
    Size,
    admit,
    extend,
    learned_size,
    overshoot_bound,
)
from services.usage.domain import (
    Account,
    Budget,
    Entry,
    Kind,
    PeriodKey,
    Price,
    Prices,
    Reservation,
    ReservationKey,
    ReservationState,
    Target,
    targets,
)
from services.usage.errors import BudgetExceeded, ReservationNotFound
from services.usage.ports import Repeated, SystemWorkFactory, UnitOfWork, WorkKind
from services.usage.usecases.recording import charge, priced_entry, record

# What others hold is free again about so soon.
HELD_RETRY_SECONDS = 2.0
REAPED_AT_ONCE = 100
FORGOTTEN_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Reserve:
    """Work that is about to use a model."""

    organization_id: str
    reservation_id: str
    model: str
    operation: str
    user_id: str
    key_id: str
    ticket_id: str
    conversation_id: str
    turn_id: str
    lease: timedelta

    @property
    def key(self) -> ReservationKey:
        """Organization and identifier."""
        return self.organization_id, self.reservation_id

    @property
    def kind(self) -> WorkKind:
        """What is learned from."""
        return self.organization_id, self.model, self.operation

    @property
    def targets(self) -> list[Target]:
        """What budgets may limit it."""
        return targets(self.organization_id, self.user_id, self.key_id, self.model, self.ticket_id)


@dataclass(frozen=True, slots=True)
class Extend:
    """A reservation that should be `wanted` as a whole, and hold for `lease` from now on."""

    organization_id: str
    reservation_id: str
    wanted: int
    lease: timedelta

    @property
    def key(self) -> ReservationKey:
        """Organization and identifier."""
        return self.organization_id, self.reservation_id


@dataclass(frozen=True, slots=True)
class Settle:
    """The end of the work, with what it used."""

    organization_id: str
    reservation_id: str
    entries: tuple[Entry, ...]

    @property
    def key(self) -> ReservationKey:
        """Organization and identifier."""
        return self.organization_id, self.reservation_id


@dataclass(frozen=True, slots=True)
class Settled:
    """What the work cost."""

    cost: int
    at: datetime


class ReservationDesk:
    """The reservations' use cases, each for many calls in one transaction."""

    def __init__(
        self,
        system: SystemWorkFactory,
        prices: Prices,
        clock: Clock,
        unknown_cost: Callable[[Price], int],
        overshoot_percent: int,
    ) -> None:
        self._system = system
        self._prices = prices
        self._clock = clock
        self._unknown_cost = unknown_cost
        self._overshoot_percent = overshoot_percent

    def price(self, model: str) -> Price:
        """What a model costs."""
        return self._prices.of(model)

    async def reserve(self, commands: Sequence[Reserve]) -> list[Reservation | DomainError]:
        """Reserve for each in the order given, in all its budgets or in none; errors are answers.

        BudgetExceeded when a budget has nothing left; ReservationNotFound when the reservation has ended already.
        """
        try:
            return await self._reserve(commands)
        except Repeated:
            # Another process was asked the same at the same time; what it made is there to be found now.
            return await self._reserve(commands)

    async def _reserve(self, commands: Sequence[Reserve]) -> list[Reservation | DomainError]:
        now = self._clock()
        async with self._system() as work:
            known = await work.reservations.find(sorted({command.key for command in commands}))
            new = [command for command in commands if command.key not in known]
            books = await self._books(work, [target for command in new for target in command.targets], now)
            sizes = await self._sizes(work, new)
            made: dict[ReservationKey, Reservation] = {}
            answers: list[Reservation | DomainError] = []
            for command in commands:
                earlier = known.get(command.key) or made.get(command.key)
                if earlier is not None:
                    held = earlier.state is ReservationState.HELD
                    answers.append(earlier if held else ReservationNotFound(resource_name=command.reservation_id))
                    continue
                keys = books.keys_of(command.targets)
                decided = admit([books.level(key) for key in keys], sizes[command.kind])
                if isinstance(decided, Refusal):
                    answers.append(exceeded(decided, now))
                    continue
                books.hold(keys, decided.amount)
                made[command.key] = reservation = _reservation(command, decided, keys, now)
                answers.append(reservation)
            await work.accounts.save(books.changed)
            await work.reservations.add(list(made.values()))
            await work.commit()
        return answers

    async def extend(self, commands: Sequence[Extend]) -> list[Reservation | DomainError]:
        """Raise each reservation to what is wanted or to what is left; errors are answers, as for `reserve`."""
        now = self._clock()
        async with self._system() as work:
            found = await work.reservations.find(sorted({command.key for command in commands}), lock=True)
            books = await self._books_of(work, list(found.values()))
            changed: dict[ReservationKey, Reservation] = {}
            answers: list[Reservation | DomainError] = []
            for command in commands:
                reservation = changed.get(command.key) or found.get(command.key)
                if reservation is None or reservation.state is not ReservationState.HELD:
                    answers.append(ReservationNotFound(resource_name=command.reservation_id))
                    continue
                keys = [key for key in reservation.holds if books.has(key)]
                more = command.wanted - reservation.granted
                decided = extend([books.level(key) for key in keys], more) if more > 0 else Grant(0)
                reservation = replace(reservation, lease_until=now + command.lease)
                if isinstance(decided, Refusal):
                    answers.append(exceeded(decided, now))
                else:
                    books.hold(keys, decided.amount)
                    reservation = replace(reservation, granted=reservation.granted + decided.amount)
                    answers.append(reservation)
                changed[command.key] = reservation
            await work.accounts.save(books.changed)
            if changed:
                await work.reservations.extend(list(changed.values()))
            await work.commit()
        return answers

    async def settle(self, commands: Sequence[Settle]) -> list[Settled | DomainError]:
        """End each: lines to the ledger, the rest free. Repeats change nothing; what was reaped is corrected."""
        now = self._clock()
        async with self._system() as work:
            entries = [entry for command in commands for entry in command.entries]
            await record(work, self._prices, entries, now, {command.key for command in commands})
            await work.commit()
        return [
            Settled(sum(priced_entry(entry, self._prices, now).cost for entry in one.entries), now) for one in commands
        ]

    async def reap(self) -> int:
        """Charge held reservations whose lease has ended in full, as an estimate; returns how many those were."""
        now = self._clock()
        async with self._system() as work:
            lapsed = await work.reservations.take_lapsed(now, REAPED_AT_ONCE)
            if not lapsed:
                return 0
            await work.reservations.end([one.key for one in lapsed], ReservationState.REAPED, now)
            await work.ledger.share(sorted({one.organization_id for one in lapsed}))
            estimates = [one.correction(Kind.ESTIMATED, one.lease_until) for one in lapsed]
            await charge(work, await work.ledger.add(estimates, now), lapsed, now)
            await work.commit()
        return len(lapsed)

    async def forget(self, older_than: timedelta) -> int:
        """Remove reservations that ended so long ago that nobody asks for them; returns how many."""
        async with self._system() as work:
            removed = await work.reservations.forget(self._clock() - older_than, FORGOTTEN_AT_ONCE)
            await work.commit()
        return removed

    async def _books(self, work: UnitOfWork, wanted: Sequence[Target], now: datetime) -> "Books":
        budgets = await work.budgets.matching(wanted) if wanted else []
        by_key = {(budget.id, budget.period.start(now)): budget for budget in budgets}
        accounts = await work.accounts.lock({key: budget.organization_id for key, budget in by_key.items()})
        return Books(by_key, accounts, self._overshoot_percent)

    async def _books_of(self, work: UnitOfWork, reservations: Sequence[Reservation]) -> "Books":
        wanted = [
            target
            for one in reservations
            for target in targets(one.organization_id, one.user_id, one.key_id, one.model, one.ticket_id)
        ]
        budgets = {budget.id: budget for budget in await work.budgets.matching(wanted)} if wanted else {}
        by_key = {key: budgets[key[0]] for one in reservations for key in one.holds if key[0] in budgets}
        accounts = await work.accounts.lock({key: budget.organization_id for key, budget in by_key.items()})
        return Books(by_key, accounts, self._overshoot_percent)

    async def _sizes(self, work: UnitOfWork, commands: Sequence[Reserve]) -> dict[WorkKind, Size]:
        kinds = {command.kind for command in commands}
        costs = await work.sizes.costs(sorted(kinds)) if kinds else {}
        return {kind: learned_size(costs.get(kind, ()), self._unknown_cost(self._prices.of(kind[1]))) for kind in kinds}


class Books:
    """Accounts that this transaction has locked, as they change within it."""

    def __init__(
        self, budgets: Mapping[PeriodKey, Budget], accounts: Mapping[PeriodKey, Account], overshoot_percent: int
    ) -> None:
        # A budget that was removed after it was read has no account and limits nothing.
        self._budgets = {key: budget for key, budget in budgets.items() if key in accounts}
        self._accounts = dict(accounts)
        self._overshoot_percent = overshoot_percent
        self._by_target: dict[Target, list[PeriodKey]] = defaultdict(list)
        for key, budget in self._budgets.items():
            for target in budget.targets:
                self._by_target[target].append(key)
        self.changed: dict[PeriodKey, Account] = {}

    def has(self, key: PeriodKey) -> bool:
        """True when the budget is still there."""
        return key in self._budgets

    def keys_of(self, wanted: Sequence[Target]) -> list[PeriodKey]:
        """The periods of the budgets that limit these."""
        return [key for target in wanted for key in self._by_target.get(target, ())]

    def level(self, key: PeriodKey) -> Level:
        """One of them as it stands."""
        budget = self._budgets[key]
        return Level(budget, self._accounts[key], overshoot_bound(budget.limit, self._overshoot_percent))

    def hold(self, keys: Sequence[PeriodKey], amount: int) -> None:
        """Reserve an amount in each."""
        for key in keys:
            account = self._accounts[key]
            self._accounts[key] = self.changed[key] = replace(account, reserved=account.reserved + amount)


def exceeded(refusal: Refusal, now: datetime) -> BudgetExceeded:
    """The error that tells of a refusal: which budget, and when it may help to try again."""
    budget = refusal.level.budget
    end = budget.period.end(now)
    if refusal.passing:
        wait: float | None = HELD_RETRY_SECONDS
    else:
        wait = (end - now).total_seconds() if end else None
    return BudgetExceeded(
        retry_after_seconds=wait,
        quota=[(f"budgets/{budget.id}", f"The {budget.scope.value} budget ({budget.period.value}) has nothing left.")],
        metadata={
            "budget_id": budget.id,
            "scope": budget.scope.value.upper(),
            "period": budget.period.value.upper(),
            "held": str(refusal.passing).lower(),
        },
    )


def _reservation(command: Reserve, grant: Grant, keys: Sequence[PeriodKey], now: datetime) -> Reservation:
    return Reservation(
        organization_id=command.organization_id,
        id=command.reservation_id,
        model=command.model,
        operation=command.operation,
        user_id=command.user_id,
        key_id=command.key_id,
        conversation_id=command.conversation_id,
        ticket_id=command.ticket_id,
        turn_id=command.turn_id,
        granted=grant.amount,
        holds=tuple(keys),
        state=ReservationState.HELD,
        created_at=now,
        lease_until=now + command.lease,
    )

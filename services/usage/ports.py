"""What the use cases need from outside, in the domain's words."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from services.common.context import IdempotencyKey
from services.usage.domain import (
    Account,
    Alert,
    Budget,
    Entry,
    PeriodKey,
    Reservation,
    ReservationKey,
    ReservationState,
    Scope,
    Target,
)


class Dimension(StrEnum):
    """What usage can be grouped by."""

    DAY = "day"
    MODEL = "model"
    USER = "user_id"
    KEY = "key_id"
    CONVERSATION = "conversation_id"
    TICKET = "ticket_id"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which usage to add up, from a moment on until before another; empty fields let all pass."""

    start: datetime
    end: datetime
    model: str = ""
    user_id: str = ""
    conversation_id: str = ""
    ticket_id: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Usage of one group; `keys` in the order of the dimensions asked for."""

    keys: tuple[str, ...]
    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    elapsed: timedelta
    cost: int


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which lines to list; empty fields let all pass."""

    turn_id: str = ""
    conversation_id: str = ""
    ticket_id: str = ""


# When a line was written down and its identifier, after which a page begins.
EntryPosition = tuple[datetime, str]


class Ledger(Protocol):
    """Lines of all organizations that the transaction sees."""

    async def share(self, organization_ids: Sequence[str]) -> None:
        """Keep budgets of these organizations from being made until the transaction ends."""

    async def own(self, organization_id: str) -> None:
        """Keep lines of this organization from being added until the transaction ends."""

    async def add(self, entries: Sequence[Entry], at: datetime) -> list[Entry]:
        """Add what is not there yet; returns that."""

    async def spent(self, budget: Budget, start: datetime, end: datetime | None) -> int:
        """What was spent on the budget's target in a time."""

    async def groups(
        self, chosen: UsageFilter, dimensions: Sequence[Dimension], after: Sequence[str] | None, limit: int
    ) -> list[Group]:
        """At most `limit` groups whose keys follow, in the order of the keys."""

    async def page(self, chosen: EntryFilter, after: EntryPosition | None, limit: int) -> list[Entry]:
        """At most `limit` lines that follow, newest first."""


class Budgets(Protocol):
    """Budgets of the organizations that the transaction sees."""

    async def add(self, budget: Budget) -> None:
        """Keep a new one. Raises BudgetExists."""

    async def get(self, budget_id: str, *, lock: bool = False) -> Budget:
        """One budget. Raises BudgetNotFound."""

    async def save(self, budget: Budget) -> None:
        """Keep the limit, the version and when it changed."""

    async def remove(self, budget_id: str) -> None:
        """Forget one, with its accounts and alerts."""

    async def page(self, scope: Scope | None, after: tuple[datetime, str] | None, limit: int) -> list[Budget]:
        """At most `limit` budgets that follow, oldest first."""

    async def matching(self, targets: Sequence[Target]) -> list[Budget]:
        """The budgets that limit any of these."""


class Accounts(Protocol):
    """What is spent and held, by period of a budget."""

    async def read(self, keys: Sequence[PeriodKey]) -> dict[PeriodKey, Account]:
        """The accounts as they are; those that nothing happened on are left out."""

    async def lock(self, keys: Mapping[PeriodKey, str]) -> dict[PeriodKey, Account]:
        """The accounts, made where missing, for this transaction alone; keys with their organizations.

        Those of budgets that are gone are left out.
        """

    async def save(self, accounts: Mapping[PeriodKey, Account]) -> None:
        """Keep accounts that were locked."""


class Alerts(Protocol):
    """Shares of limits that were reached."""

    async def add(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Keep those that are the first of their budget, period and threshold; returns them."""

    async def page(
        self, budget_id: str, after: tuple[datetime, str, int] | None, limit: int
    ) -> list[tuple[Alert, tuple[datetime, str, int]]]:
        """At most `limit` alerts that follow, newest first, each with its position."""


class Reservations(Protocol):
    """Reservations of the organizations that the transaction sees."""

    async def find(self, keys: Sequence[ReservationKey], *, lock: bool = False) -> dict[ReservationKey, Reservation]:
        """Those that there are."""

    async def add(self, reservations: Sequence[Reservation]) -> None:
        """Keep new ones. Raises Repeated when another transaction made one of them meanwhile."""

    async def extend(self, reservations: Sequence[Reservation]) -> None:
        """Keep what is granted and until when."""

    async def end(self, keys: Sequence[ReservationKey], state: ReservationState, at: datetime) -> None:
        """Change the state."""

    async def take_lapsed(self, at: datetime, limit: int) -> list[Reservation]:
        """Held ones whose lease has ended, locked; those that others work on are left out."""

    async def forget(self, before: datetime, limit: int) -> int:
        """Remove those that ended before; returns how many."""


class Repeated(Exception):
    """Another transaction made the same reservation; begin again."""


# Organization, model and operation.
WorkKind = tuple[str, str, str]


class Sizes(Protocol):
    """The latest costs of each kind of work."""

    async def costs(self, kinds: Sequence[WorkKind]) -> dict[WorkKind, list[int]]:
        """The costs, oldest first; unknown kinds are left out."""

    async def observe(self, costs: Mapping[WorkKind, Sequence[int]]) -> None:
        """Remember costs, and forget the oldest beyond the window."""


class Requests(Protocol):
    """The request_ids seen."""

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        """None if the key is new; else what it made before. Raises RequestIdReused."""


class Outbox(Protocol):
    """What other services are told, after the commit and at least once."""

    async def alerted(self, alert: Alert) -> None:
        """A budget reached a share of its limit."""


class UnitOfWork(Protocol):
    """One transaction; leaving it without commit undoes everything."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def budgets(self) -> Budgets: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def alerts(self) -> Alerts: ...
    @property
    def reservations(self) -> Reservations: ...
    @property
    def sizes(self) -> Sizes: ...
    @property
    def requests(self) -> Requests: ...
    @property
    def outbox(self) -> Outbox: ...

    async def commit(self) -> None: ...


# Of one organization, for requests of people.
UnitOfWorkFactory = Callable[[str], AbstractAsyncContextManager[UnitOfWork]]
# Of all organizations, for work that serves many calls, or none.
SystemWorkFactory = Callable[[], AbstractAsyncContextManager[UnitOfWork]]

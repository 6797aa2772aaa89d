"""Entries of the ledger, prices, budgets and their periods. Amounts are micros: millionths of the currency's unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

MILLION = 1_000_000
HOUR_MICROSECONDS = 3_600 * MILLION
# Prices of models that have none of their own.
ANY_MODEL = "*"
THRESHOLDS = (50, 80, 100)


class Kind(StrEnum):
    """What kind of line of the ledger."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    REVERSED = "reversed"


class Scope(StrEnum):
    """What a budget limits."""

    ORGANIZATION = "organization"
    TEAM = "team"
    USER = "user"
    KEY = "key"
    MODEL = "model"
    TICKET = "ticket"


class Period(StrEnum):
    """When a budget begins anew; days and months are those of UTC."""

    DAY = "day"
    MONTH = "month"
    ALL = "all"

    def start(self, at: datetime) -> datetime:
        """When the period that holds this moment began."""
        at = at.astimezone(UTC)
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        match self:
            case Period.DAY:
                return midnight
            case Period.MONTH:
                return midnight.replace(day=1)
            case Period.ALL:
                return datetime.fromtimestamp(0, UTC)

    def end(self, at: datetime) -> datetime | None:
        """When the period that holds this moment ends; None for never."""
        start = self.start(at)
        match self:
            case Period.DAY:
                return start + timedelta(days=1)
            case Period.MONTH:
                return (start + timedelta(days=32)).replace(day=1)
            case Period.ALL:
                return None


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs: micros a million tokens, and micros an hour of its work."""

    prompt: int = 0
    cached_prompt: int = 0
    completion: int = 0
    hour: int = 0

    def cost(self, prompt: int, cached: int, completion: int, elapsed: timedelta) -> int:
        """The price of a use, rounded up, so that many small uses are not free."""
        tokens = (prompt - cached) * self.prompt + cached * self.cached_prompt + completion * self.completion
        work = (elapsed // timedelta(microseconds=1)) * self.hour
        return -(-tokens // MILLION) - (-work // HOUR_MICROSECONDS)


class Prices:
    """The price of every model."""

    def __init__(self, by_model: Mapping[str, Price]) -> None:
        self._by_model = dict(by_model)

    def of(self, model: str) -> Price:
        """The model's own price, or that of any model."""
        return self._by_model.get(model) or self._by_model[ANY_MODEL]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of an organization's ledger; `elapsed` is how long the model worked."""

    organization_id: str
    id: str
    occurred_at: datetime
    step: str
    model: str
    user_id: str = ""
    key_id: str = ""
    conversation_id: str = ""
    ticket_id: str = ""
    turn_id: str = ""
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    elapsed: timedelta = timedelta()
    reservation_id: str = ""
    cost: int = 0
    kind: Kind = Kind.MEASURED


Target = tuple[str, Scope, str]


def targets(organization_id: str, user_id: str, key_id: str, model: str, ticket_id: str) -> list[Target]:
    """What budgets may limit a use of a model: organization, scope and subject."""
    subjects = {
        Scope.ORGANIZATION: "",
        Scope.USER: user_id,
        Scope.KEY: key_id,
        Scope.MODEL: model,
        Scope.TICKET: ticket_id,
    }
    return [
        (organization_id, scope, subject)
        for scope, subject in subjects.items()
        if subject or scope is Scope.ORGANIZATION
    ]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent in a period."""

    id: str
    organization_id: str
    scope: Scope
    subject: str
    period: Period
    limit: int
    version: int
    created_at: datetime
    updated_at: datetime
    # Who belongs to a team; nobody for other scopes.
    members: tuple[str, ...] = ()

    @property
    def targets(self) -> list[Target]:
        """What it limits: for a team, each of its members."""
        if self.scope is Scope.TEAM:
            return [(self.organization_id, Scope.USER, member) for member in self.members]
        return [(self.organization_id, self.scope, self.subject)]

    @property
    def etag(self) -> str:
        """Changes with every change of the budget."""
        return str(self.version)


# A period of a budget: the budget's identifier and when the period began.
PeriodKey = tuple[str, datetime]


@dataclass(frozen=True, slots=True)
class Account:
    """What was spent and is held in one period of a budget."""

    spent: int = 0
    reserved: int = 0


def thresholds_reached(limit: int, spent: int) -> list[int]:
    """The shares of the limit, in percent, that spending has reached; none before anything is spent."""
    return [percent for percent in THRESHOLDS if spent > 0 and spent * 100 >= limit * percent]


@dataclass(frozen=True, slots=True)
class Alert:
    """A budget reached a share of its limit."""

    budget: Budget
    period_start: datetime
    threshold: int
    spent: int
    limit: int
    occurred_at: datetime


class ReservationState(StrEnum):
    """Where a reservation stands."""

    HELD = "held"
    SETTLED = "settled"
    # Its lease ended: charged in full, as an estimate.
    REAPED = "reaped"
    # Reaped, and the estimate was taken back since.
    CORRECTED = "corrected"


ReservationKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money held for work that uses a model; `holds` are the periods of budgets in which it is held."""

    organization_id: str
    id: str
    model: str
    operation: str
    user_id: str
    key_id: str
    conversation_id: str
    ticket_id: str
    turn_id: str
    granted: int
    holds: tuple[PeriodKey, ...]
    state: ReservationState
    created_at: datetime
    lease_until: datetime

    @property
    def key(self) -> ReservationKey:
        """Organization and identifier."""
        return self.organization_id, self.id

    @property
    def limited(self) -> bool:
        """False when no budget applied."""
        return bool(self.holds)

    def correction(self, kind: Kind, at: datetime) -> Entry:
        """The line that charges what was reserved, or takes that back."""
        sign = -1 if kind is Kind.REVERSED else 1
        return Entry(
            organization_id=self.organization_id,
            id=f"{self.id}:{kind.value}",
            occurred_at=at,
            step=self.operation,
            model=self.model,
            user_id=self.user_id,
            key_id=self.key_id,
            conversation_id=self.conversation_id,
            ticket_id=self.ticket_id,
            turn_id=self.turn_id,
            reservation_id=self.id,
            cost=sign * self.granted,
            kind=kind,
        )

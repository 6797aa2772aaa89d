"""Whether work may begin, and with how much: pure decisions over what budgets have left."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.usage.domain import Account, Budget

# Costs of the latest works of a kind, from which the size of the next reservation is learned.
WINDOW = 128
# Below this many, what is configured is used instead.
ENOUGH = 8
AMPLE_PERCENT = 95


@dataclass(frozen=True, slots=True)
class Size:
    """Micros to reserve: `ample` covers 95 of 100 works, `usual` the mean one. Both at least 1."""

    ample: int
    usual: int


def learned_size(costs: Sequence[int], unknown: int) -> Size:
    """The size of a reservation, from the costs of such works; `unknown` while there are too few of them."""
    if len(costs) < ENOUGH:
        return Size(max(unknown, 1), max(unknown, 1))
    ordered = sorted(costs)
    rank = -(-AMPLE_PERCENT * len(ordered) // 100)
    mean = -(-sum(ordered) // len(ordered))
    return Size(max(ordered[rank - 1], 1), max(min(mean, ordered[rank - 1]), 1))


@dataclass(frozen=True, slots=True)
class Level:
    """One budget that applies, in its present period. `overshoot` is how far many at once may go beyond the limit."""

    budget: Budget
    account: Account
    overshoot: int

    @property
    def room(self) -> int:
        """Micros below the limit that are neither spent nor held."""
        return self.budget.limit - self.account.spent - self.account.reserved

    @property
    def widest_room(self) -> int:
        """The same, up to the bound of the overshoot."""
        return self.room + self.overshoot

    @property
    def is_spent(self) -> bool:
        """True when the limit is reached by spending alone."""
        return self.account.spent >= self.budget.limit


@dataclass(frozen=True, slots=True)
class Grant:
    """Work may use this much before it asks for more."""

    amount: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The budget that has nothing left. When others hold what is left, trying again soon may help."""

    level: Level

    @property
    def passing(self) -> bool:
        """True when the limit is held, but not spent."""
        return not self.level.is_spent


def admit(levels: Sequence[Level], size: Size) -> Grant | Refusal:
    """Reserve amply while little is held, the usual amount when much runs at once.

    After every grant, spent + reserved ≤ limit + overshoot on every level. What is held amply never exceeds the
    overshoot's bound, so work is refused only on a level that is spent, or where the usual costs of all that runs do
    not fit below the limit. A level on which nothing is held and that is not spent never refuses: the work gets what
    is there.
    """
    for level in levels:
        if level.is_spent:
            return Refusal(level)
    if all(level.room >= size.ample and level.account.reserved + size.ample <= level.overshoot for level in levels):
        return Grant(size.ample)
    amount = size.usual
    for level in levels:
        if level.widest_room >= size.usual:
            continue
        if level.account.reserved:
            return Refusal(level)
        amount = min(amount, level.widest_room)
    return Grant(amount)


def extend(levels: Sequence[Level], more: int) -> Grant | Refusal:
    """What can be added to a grant: all that is asked for, or what is left up to the overshoot's bound."""
    amount = more
    for level in levels:
        if level.is_spent or level.widest_room < 1:
            return Refusal(level)
        amount = min(amount, level.widest_room)
    return Grant(amount)


def overshoot_bound(limit: int, percent: int) -> int:
    """Micros by which spending and reservations together may exceed a limit."""
    return limit * percent // 100

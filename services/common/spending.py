"""What a use of a model costs while it runs, and where it ends when its budgets have nothing left."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.common.errors import Exhausted, Unavailable

# More is asked for when so much of the grant is used, and then so many times the grant.
TOP_UP_SHARE = 0.7
TOP_UP_FACTOR = 2


class BudgetExceeded(Exhausted):
    """A budget that applies has nothing left; the metadata name it, and say whether others merely hold the rest."""

    reason = "BUDGET_EXCEEDED"
    message = "A budget that applies has nothing left."


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of calls of a model; the cached ones are among the prompt's."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in millionths of a currency's unit: a million tokens, an hour of work."""

    prompt: int
    cached_prompt: int
    completion: int
    hour: int = 0

    def cost(self, usage: Usage, seconds: float = 0.0) -> int:
        """What a use costs, rounded up."""
        fresh = usage.prompt_tokens - usage.cached_prompt_tokens
        tokens = (
            fresh * self.prompt
            + usage.cached_prompt_tokens * self.cached_prompt
            + usage.completion_tokens * self.completion
        )
        return -(-tokens // 1_000_000) + math.ceil(seconds * self.hour / 3600)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a reservation allows: micros to use before asking for more; not `limited` when no budget applies."""

    amount: int
    limited: bool
    price: Price


class Meter:
    """Compares what runs with what was granted for it. `extend` asks for more, as a whole, and returns what is held."""

    def __init__(self, granted: Granted, extend: Callable[[int], Awaitable[int]]) -> None:
        self._granted = granted
        self._extend = extend
        self._amount = granted.amount
        self._extending: asyncio.Future[int] | None = None
        # True when the model was cut off because the budget had nothing left.
        self.cut_off = False

    async def used(self, usage: Usage) -> None:
        """What was used up to now, while the model writes. Raises BudgetExceeded when no more can be had."""
        if not self._granted.limited:
            return
        cost = self._granted.price.cost(usage)
        if self._extending is None and cost >= self._amount * TOP_UP_SHARE:
            wanted = max(cost + 1, self._amount) * TOP_UP_FACTOR
            self._extending = asyncio.ensure_future(self._extend(wanted))
        if self._extending is None or (cost < self._amount and not self._extending.done()):
            return
        extending, self._extending = self._extending, None
        try:
            self._amount = await extending
        except BudgetExceeded as error:
            self._end_at(cost, error)
        except Unavailable:
            # The work began with the budgets' word: it may use once more what it was granted.
            if cost >= self._amount:
                self._amount += self._granted.amount
        self._end_at(cost, BudgetExceeded())

    async def stop(self) -> None:
        """Nothing more is asked for."""
        if self._extending is not None:
            self._extending.cancel()
            await asyncio.gather(self._extending, return_exceptions=True)

    def _end_at(self, cost: int, error: BudgetExceeded) -> None:
        if cost >= self._amount:
            self.cut_off = True
            raise error

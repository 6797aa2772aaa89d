"""Money around a call: held before, settled however it ends, also when the usage service does not answer at once."""

import asyncio
from collections.abc import Sequence

import pytest

from services.common.context import Caller
from services.common.errors import Unavailable
from services.common.spending import BudgetExceeded, Granted, Meter, Price, Usage
from services.gateway.openai import spending
from services.gateway.openai.domain import Line
from services.gateway.openai.spending import Spending

CALLER = Caller("edge", "org_1", "usr_1", session_id="key_1")
LINE = Line("chat", "m", Usage(10, 0, 2), 0.1)
PRICE = Price(prompt=1_000_000, cached_prompt=1_000_000, completion=1_000_000)


class FakeBudgets:
    """Notes what it is asked; fails as told."""

    def __init__(self) -> None:
        self.refusals: list[Exception] = []
        self.settle_failures = 0
        self.reserved: list[str] = []
        self.settled: list[tuple[str, str, Sequence[Line]]] = []

    async def reserve(
        self, reservation_id: str, *, model: str, operation: str, key_id: str, lease_seconds: float
    ) -> Granted:
        self.reserved.append(reservation_id)
        if self.refusals:
            raise self.refusals.pop(0)
        return Granted(100, limited=True, price=PRICE)

    async def extend(self, reservation_id: str, wanted: int, lease_seconds: float) -> int:
        return wanted

    async def settle(self, reservation_id: str, *, user_id: str, key_id: str, lines: Sequence[Line]) -> None:
        if self.settle_failures:
            self.settle_failures -= 1
            raise Unavailable
        self.settled.append((reservation_id, key_id, lines))


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "HELD_WAITS_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(spending, "SETTLE_WAITS_SECONDS", (0.0, 0.0))


async def test_what_was_used_is_settled_with_the_key_once_usage_answers() -> None:
    budgets = FakeBudgets()
    budgets.settle_failures = 2
    async with Spending(budgets) as process:
        held = process.hold(CALLER, "m", "chat")
        await held.granted()
        held.end([LINE])
    assert budgets.settled == [(budgets.reserved[0], "key_1", (LINE,))]


async def test_what_others_hold_is_asked_for_again_and_what_is_used_up_is_not() -> None:
    budgets = FakeBudgets()
    budgets.refusals = [BudgetExceeded(metadata={"held": "true"})]
    async with Spending(budgets) as process:
        await process.hold(CALLER, "m", "chat").granted()
        assert len(set(budgets.reserved)) == 2
        budgets.refusals = [BudgetExceeded()]
        held = process.hold(CALLER, "m", "chat")
        with pytest.raises(BudgetExceeded):
            await held.granted()
        held.end(())
    assert len(budgets.reserved) == 3
    assert budgets.settled == []


async def test_a_reservation_that_may_have_been_made_is_given_back() -> None:
    budgets = FakeBudgets()
    budgets.refusals = [Unavailable()]
    async with Spending(budgets) as process:
        held = process.hold(CALLER, "m", "chat")
        with pytest.raises(Unavailable):
            await held.granted()
        held.end(())
    assert [lines for _, _, lines in budgets.settled] == [()]


async def test_a_meter_asks_for_more_in_time_and_ends_what_cannot_have_it() -> None:
    wanted: list[int] = []

    async def extend(amount: int) -> int:
        wanted.append(amount)
        if len(wanted) > 1:
            raise BudgetExceeded
        return amount

    meter = Meter(Granted(100, limited=True, price=PRICE), extend)
    await meter.used(Usage(60))
    assert wanted == []
    await meter.used(Usage(80))
    await asyncio.sleep(0)
    await meter.used(Usage(90))
    await meter.used(Usage(150))
    await asyncio.sleep(0)
    await meter.used(Usage(160))
    assert wanted == [200, 400]
    with pytest.raises(BudgetExceeded):
        await meter.used(Usage(200))
    assert meter.cut_off


async def test_without_a_budget_nothing_is_metered() -> None:
    async def extend(_amount: int) -> int:
        raise AssertionError

    await Meter(Granted(0, limited=False, price=PRICE), extend).used(Usage(10**9))

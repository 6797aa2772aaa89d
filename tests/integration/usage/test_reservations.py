"""Reserving, topping up, settling, and what happens to reservations whose holders are gone."""

import asyncio
from datetime import timedelta

from deskmesh.usage.v1 import budget_pb2, usage_pb2
from services.common.ids import new_id
from tests.integration.usage.desk import Desk, Person, entry
from tests.support.server import refused

USER, BY_MODEL = budget_pb2.BUDGET_SCOPE_USER, budget_pb2.BUDGET_SCOPE_MODEL


async def state_of(person: Person, budget: budget_pb2.Budget) -> tuple[int, int]:
    found = await person.get(budget.id)
    return found.spent_micros, found.reserved_micros


async def reaped(person: Person, budget: budget_pb2.Budget) -> None:
    """Wait until what a dead holder held is charged."""
    async with asyncio.timeout(10):
        while True:
            if await state_of(person, budget) == (100, 0):
                return
            await asyncio.sleep(0.02)


async def test_without_budgets_everything_may_begin(desk: Desk) -> None:
    granted = await desk.reserve("res_free_1")
    assert not granted.limited
    assert granted.price.prompt_micros_per_million == 1_000_000
    assert await desk.settle("res_free_1", entry(12, reservation_id="res_free_1")) == 12
    assert (await desk.person().read()).groups[0].cost_micros == 12


async def test_what_is_held_becomes_what_is_spent(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(1_000)
    granted = await desk.reserve("res_settled")
    assert (granted.granted_micros, granted.limited) == (100, True)
    assert await desk.reserve("res_settled") == granted
    assert await state_of(admin, budget) == (0, 100)
    line = entry(30, reservation_id="res_settled")
    for _ in range(2):
        assert await desk.settle("res_settled", line) == 30
        assert await state_of(admin, budget) == (30, 0)
    async with refused() as refusal:
        await desk.reserve("res_settled")
    assert refusal.error.reason == "RESERVATION_NOT_FOUND"


async def test_work_that_used_nothing_costs_nothing(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(1_000)
    await desk.reserve("res_cancelled")
    assert await desk.settle("res_cancelled") == 0
    assert await state_of(admin, budget) == (0, 0)


async def test_lines_that_arrive_by_another_way_settle_too(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(1_000)
    await desk.reserve("res_by_stream")
    line = entry(30, reservation_id="res_by_stream")
    assert await desk.record(line) == 1
    assert await state_of(admin, budget) == (30, 0)
    await desk.settle("res_by_stream", line)
    assert await state_of(admin, budget) == (30, 0)


async def test_all_levels_or_none(desk: Desk) -> None:
    admin = desk.person()
    wide, narrow = await admin.make(10_000), await admin.make(50, scope=USER, subject="usr_1")
    other = await admin.make(10_000, scope=BY_MODEL, subject="another model")
    assert (await desk.reserve("res_first_1")).granted_micros == 55  # what is left, the overshoot's bound included
    async with refused() as refusal:
        await desk.reserve("res_second")
    error = refusal.error
    assert (error.reason, error.metadata["budget_id"], error.metadata["scope"]) == (
        "BUDGET_EXCEEDED",
        narrow.id,
        "USER",
    )
    assert error.metadata["held"] == "true"
    assert error.retry_after_seconds == 2.0
    assert [await state_of(admin, one) for one in (wide, narrow, other)] == [(0, 55), (0, 55), (0, 0)]
    await desk.settle("res_first_1", entry(50, reservation_id="res_first_1"))
    async with refused() as refusal:
        await desk.reserve("res_second")
    assert refusal.error.metadata["held"] == "false"
    assert refusal.error.retry_after_seconds is not None
    assert 30_000 < refusal.error.retry_after_seconds < 32_000  # until midnight


async def test_a_budget_for_all_time_says_not_when_to_try_again(desk: Desk) -> None:
    await desk.person().make(0, period=budget_pb2.BUDGET_PERIOD_ALL)
    async with refused() as refusal:
        await desk.reserve()
    assert (refusal.error.reason, refusal.error.retry_after_seconds) == ("BUDGET_EXCEEDED", None)


async def test_topping_up_goes_as_far_as_the_bound_and_then_ends(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(250)
    await desk.reserve("res_growing")
    assert await desk.extend("res_growing", 200) == 200
    assert await desk.extend("res_growing", 150) == 200
    assert await desk.extend("res_growing", 400) == 275
    async with refused() as refusal:
        await desk.extend("res_growing", 400)
    assert refusal.error.reason == "BUDGET_EXCEEDED"
    assert await state_of(admin, budget) == (0, 275)
    assert await desk.settle("res_growing", entry(280, reservation_id="res_growing")) == 280
    assert await state_of(admin, budget) == (280, 0)
    async with refused() as refusal:
        await desk.extend("res_growing", 500)
    assert refusal.error.reason == "RESERVATION_NOT_FOUND"


async def test_an_organization_knows_nothing_of_anothers_reservations(desk: Desk) -> None:
    await desk.person().make(1_000)
    await desk.reserve("res_mine_alone")
    stranger = Desk(desk.service, new_id("org"), desk.clock)
    async with refused() as refusal:
        await stranger.extend("res_mine_alone", 5)
    assert refusal.error.reason == "RESERVATION_NOT_FOUND"
    assert await stranger.settle("res_mine_alone") == 0
    assert await desk.extend("res_mine_alone", 150) == 150


async def test_the_size_is_learned_from_what_such_work_cost(desk: Desk) -> None:
    await desk.person().make(1_000_000)
    for number in range(20):
        reservation_id = f"res_learn_{number}"
        await desk.reserve(reservation_id)
        await desk.settle(reservation_id, entry(10 * (number + 1), reservation_id=reservation_id))
    assert (await desk.reserve()).granted_micros == 190  # 95 of 100 cost at most that
    assert (await desk.reserve(operation="another")).granted_micros == 100


async def test_what_a_dead_holder_held_is_charged_and_taken_back_when_the_truth_arrives(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(1_000)
    await desk.reserve("res_orphaned", turn_id="trn_dead")
    desk.clock.now += timedelta(seconds=61)
    await reaped(admin, budget)
    (line,) = (await admin.entries(turn_id="trn_dead")).entries
    assert (line.kind, line.cost_micros) == (usage_pb2.USAGE_ENTRY_KIND_ESTIMATED, 100)
    true = entry(30, reservation_id="res_orphaned", turn_id="trn_dead")
    assert await desk.record(true) == 1
    assert await desk.record(true) == 0
    await desk.settle("res_orphaned", true)
    assert await state_of(admin, budget) == (30, 0)
    lines = (await admin.entries(turn_id="trn_dead")).entries
    assert sorted(line.cost_micros for line in lines) == [-100, 30, 100]
    (group,) = (await admin.read()).groups
    assert (group.calls, group.cost_micros) == (1, 30)


async def test_a_settlement_that_comes_late_and_empty_takes_the_estimate_back(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(1_000)
    await desk.reserve("res_late_one")
    desk.clock.now += timedelta(seconds=61)
    await reaped(admin, budget)
    await desk.settle("res_late_one")
    assert await state_of(admin, budget) == (0, 0)


async def test_a_removed_budget_limits_nothing_any_more(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(100)
    await desk.reserve("res_removed")
    await admin.delete(budget)
    assert await desk.extend("res_removed", 500) == 500
    assert await desk.settle("res_removed", entry(5, reservation_id="res_removed")) == 5
    assert not (await desk.reserve()).limited

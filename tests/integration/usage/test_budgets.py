"""Budgets: made, read, changed, removed; what is spent; alerts; the ends of periods."""

from datetime import timedelta

import pytest

from deskmesh.usage.v1 import budget_pb2
from services.common.ids import new_id
from services.common.outbox import stream_name
from tests.integration.usage.desk import MODEL, Desk, entry
from tests.support.server import refused
from tests.support.streams import entries_of

MONTH, ALL = budget_pb2.BUDGET_PERIOD_MONTH, budget_pb2.BUDGET_PERIOD_ALL
USER, KEY = budget_pb2.BUDGET_SCOPE_USER, budget_pb2.BUDGET_SCOPE_KEY
TEAM = budget_pb2.BUDGET_SCOPE_TEAM
BY_MODEL, TICKET = budget_pb2.BUDGET_SCOPE_MODEL, budget_pb2.BUDGET_SCOPE_TICKET


async def test_a_budget_is_made_read_changed_and_removed(desk: Desk) -> None:
    admin = desk.person("billing")
    made = await admin.make(1_000)
    assert (made.limit_micros, made.spent_micros, made.reserved_micros) == (1_000, 0, 0)
    assert (made.overshoot_bound_micros, made.currency) == (100, "USD")
    assert made.period_start.ToDatetime().isoformat() == "2026-03-14T00:00:00"
    assert made.period_end.ToDatetime().isoformat() == "2026-03-15T00:00:00"
    assert await admin.get(made.id) == made
    changed = await admin.change(made, 2_000)
    assert (changed.limit_micros, changed.etag != made.etag) == (2_000, True)
    async with refused() as refusal:
        await admin.change(made, 3_000)
    assert refusal.error.reason == "STALE_ETAG"
    async with refused() as refusal:
        await admin.delete(made)
    assert refusal.error.reason == "STALE_ETAG"
    await admin.delete(changed)
    for call in (admin.get(made.id), admin.change(changed, 1), admin.delete(changed), admin.alerts(budget_id=made.id)):
        async with refused() as refusal:
            await call
        assert refusal.error.reason == "BUDGET_NOT_FOUND"


async def test_a_repeated_request_makes_one(desk: Desk) -> None:
    admin = desk.person()
    request_id = new_id("req")
    made = await admin.make(5, request_id=request_id)
    assert await admin.make(5, request_id=request_id) == made
    async with refused() as refusal:
        await admin.make(6, request_id=request_id)
    assert refusal.error.reason == "REQUEST_ID_REUSED"
    async with refused() as refusal:
        await admin.make(7)
    assert refusal.error.reason == "BUDGET_EXISTS"
    assert len((await admin.list()).budgets) == 1


async def test_budgets_are_listed_a_page_at_a_time(desk: Desk) -> None:
    admin = desk.person()
    made = []
    for number in range(5):
        desk.clock.now += timedelta(seconds=1)
        made.append((await admin.make(number, scope=USER, subject=f"usr_{number}")).id)
    await admin.make(9)
    listed, token = [], ""
    while True:
        page = await admin.list(scope=USER, page_size=2, page_token=token)
        listed += [budget.id for budget in page.budgets]
        token = page.next_page_token
        if not token:
            break
    assert listed == made


@pytest.mark.parametrize(
    "values",
    [
        {"limit_micros": -1},
        {"limit_micros": 10**15 + 1},
        {"scope": 0},
        {"period": 0},
        {"subject": "usr_1"},
        {"scope": USER},
        {"scope": TEAM, "subject": "Support"},
        {"scope": USER, "subject": "usr_1", "member_ids": ["usr_1"]},
        {"scope": TEAM, "subject": "Support", "member_ids": ["usr_1", "usr_1"]},
    ],
    ids=str,
)
async def test_budgets_that_make_no_sense_are_refused(desk: Desk, values: dict[str, object]) -> None:
    async with refused() as refusal:
        await desk.person().make(1, **values)
    assert refusal.error.reason == "INVALID_FIELD"


async def test_only_who_may_does(desk: Desk) -> None:
    budget = await desk.person("owner").make(1)
    for role in ("customer", "agent", "supervisor"):
        person = desk.person(role)
        for call in (person.make(1), person.get(budget.id), person.list(), person.delete(budget), person.alerts()):
            async with refused() as refusal:
                await call
            assert refusal.error.reason == "PERMISSION_MISSING"
    stranger = desk.person("owner", new_id("org"))
    for call in (stranger.get(budget.id), stranger.change(budget, 9), stranger.delete(budget)):
        async with refused() as refusal:
            await call
        assert refusal.error.reason == "BUDGET_NOT_FOUND"
    assert not (await stranger.list()).budgets
    assert not (await stranger.alerts()).alerts


async def test_every_level_counts_what_it_limits(desk: Desk) -> None:
    admin = desk.person()
    everything = await admin.make(1_000)
    user = await admin.make(1_000, scope=USER, subject="usr_1")
    key = await admin.make(1_000, scope=KEY, subject="key_1")
    model = await admin.make(1_000, scope=BY_MODEL, subject=MODEL)
    ticket = await admin.make(1_000, scope=TICKET, subject="tkt_1")
    month = await admin.make(1_000, period=MONTH)
    await desk.record(
        entry(1),
        entry(2, user_id="usr_2", key_id="key_1"),
        entry(4, user_id="", model="other", ticket_id="tkt_1"),  # twice the price
        entry(8, user_id="usr_3"),
    )
    spent = {budget.id: budget.spent_micros for budget in (await admin.list()).budgets}
    assert [spent[one.id] for one in (everything, user, key, model, ticket, month)] == [19, 1, 2, 11, 8, 19]


async def test_a_team_spends_together_and_its_members_may_change(desk: Desk) -> None:
    admin = desk.person()
    await desk.record(entry(5, user_id="usr_2"), entry(50, user_id="usr_9"))
    team = await admin.make(100, scope=TEAM, subject="Support", member_ids=["usr_1", "usr_2"])
    other = await admin.make(100, scope=TEAM, subject="Sales", member_ids=["usr_9", "svc_1"])
    assert (team.spent_micros, other.spent_micros) == (5, 50)
    assert list(team.member_ids) == ["usr_1", "usr_2"]
    # One transaction that concerns several members of one team counts each line once.
    await desk.record(entry(30, user_id="usr_1"), entry(20, user_id="usr_2"), entry(7, user_id="svc_1"))
    assert [(await admin.get(one.id)).spent_micros for one in (team, other)] == [55, 57]
    await desk.record(entry(45, user_id="usr_1"))
    async with refused() as refusal:
        await desk.reserve()  # for usr_1
    assert (refusal.error.reason, refusal.error.metadata["scope"]) == ("BUDGET_EXCEEDED", "TEAM")
    assert {one.threshold_percent for one in (await admin.alerts(budget_id=team.id)).alerts} == {50, 80, 100}
    team = await admin.change(await admin.get(team.id), 100, members=["usr_2"])
    assert (list(team.member_ids), team.spent_micros) == (["usr_2"], 100)
    assert not (await desk.reserve()).limited
    async with refused() as refusal:
        await admin.change(await admin.make(1, scope=USER, subject="usr_7"), 1, members=["usr_7"])
    assert [field for field, _ in refusal.error.violations] == ["member_ids"]


async def test_a_budget_counts_what_its_period_saw_before_it_was_made(desk: Desk) -> None:
    now = desk.clock.now
    await desk.record(
        entry(1), entry(10, occurred_at=now - timedelta(days=2)), entry(100, occurred_at=now - timedelta(days=60))
    )
    admin = desk.person()
    assert (await admin.make(1_000)).spent_micros == 1
    assert (await admin.make(1_000, period=MONTH)).spent_micros == 11
    assert (await admin.make(1_000, period=ALL)).spent_micros == 111
    assert (await admin.make(1_000, scope=USER, subject="usr_2")).spent_micros == 0


async def test_a_new_day_begins_anew_and_late_lines_count_where_they_belong(desk: Desk) -> None:
    admin = desk.person()
    day, month = await admin.make(100), await admin.make(1_000, period=MONTH)
    await desk.record(entry(100))
    async with refused() as refusal:
        await desk.reserve()
    assert refusal.error.reason == "BUDGET_EXCEEDED"
    yesterday = desk.clock.now
    desk.clock.now = yesterday.replace(hour=23, minute=59, second=59, microsecond=999_999)
    async with refused():
        await desk.reserve()
    desk.clock.now += timedelta(microseconds=1)
    assert (await desk.reserve()).granted_micros == 100
    await desk.record(entry(7, occurred_at=yesterday))
    assert (await admin.get(day.id)).spent_micros == 0
    assert (await admin.get(month.id)).spent_micros == 107


async def test_a_reservation_across_midnight_is_freed_where_it_was_held(desk: Desk) -> None:
    admin = desk.person()
    day = await admin.make(1_000)
    desk.clock.now = before = desk.clock.now.replace(hour=23, minute=59, second=59)
    await desk.reserve("res_midnight")
    assert (await admin.get(day.id)).reserved_micros == 100
    desk.clock.now += timedelta(seconds=2)
    assert (await admin.get(day.id)).reserved_micros == 0
    await desk.settle("res_midnight", entry(30, occurred_at=desk.clock.now, reservation_id="res_midnight"))
    today = await admin.get(day.id)
    assert (today.spent_micros, today.reserved_micros) == (30, 0)
    desk.clock.now = before
    assert (await admin.get(day.id)).reserved_micros == 0


async def test_a_clock_that_runs_ahead_spends_nothing_of_tomorrow(desk: Desk) -> None:
    admin = desk.person()
    day = await admin.make(1_000)
    await desk.record(entry(30, occurred_at=desk.clock.now + timedelta(days=1)))
    assert (await admin.get(day.id)).spent_micros == 30
    desk.clock.now += timedelta(days=1)
    assert (await admin.get(day.id)).spent_micros == 0


async def test_a_limit_below_what_is_spent_stops_new_work_only(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(1_000)
    await desk.reserve("res_running")
    await desk.record(entry(500))
    budget = await admin.change(budget, 400)
    assert budget.spent_micros == 500
    async with refused() as refusal:
        await desk.reserve()
    assert refusal.error.reason == "BUDGET_EXCEEDED"
    assert await desk.settle("res_running", entry(60, reservation_id="res_running")) == 60
    after = await admin.get(budget.id)
    assert (after.spent_micros, after.reserved_micros) == (560, 0)
    await admin.change(budget, 10_000)
    assert (await desk.reserve()).granted_micros == 100


async def test_each_share_of_the_limit_is_told_once_a_period(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(100)
    await desk.record(entry(49))
    assert not (await admin.alerts()).alerts
    await desk.record(entry(1))
    await desk.record(entry(1))
    await desk.record(entry(70))
    alerts = (await admin.alerts(budget_id=budget.id)).alerts
    assert [(alert.threshold_percent, alert.spent_micros) for alert in alerts] == [(100, 121), (80, 121), (50, 50)]
    assert {(alert.budget_id, alert.limit_micros, alert.scope) for alert in alerts} == {
        (budget.id, 100, budget_pb2.BUDGET_SCOPE_ORGANIZATION)
    }
    budget = await admin.change(budget, 1_000)
    await desk.record(entry(400))
    assert len((await admin.alerts()).alerts) == 3
    desk.clock.now += timedelta(days=1)
    await desk.record(entry(600, occurred_at=desk.clock.now))
    first = await admin.alerts(page_size=1)
    assert first.alerts[0].threshold_percent == 50
    rest = await admin.alerts(page_token=first.next_page_token)
    assert len(rest.alerts) == 3
    events = await entries_of(
        desk.service.settings.redis_url, stream_name("usage", "budget.alert"), desk.organization_id, count=4
    )
    told = [budget_pb2.BudgetAlert.FromString(event[b"payload"]) for event in events]
    assert sorted(alert.threshold_percent for alert in told) == [50, 50, 80, 100]


async def test_lowering_a_limit_tells_of_the_shares_it_reaches(desk: Desk) -> None:
    admin = desk.person()
    budget = await admin.make(1_000)
    await desk.record(entry(90))
    await admin.change(budget, 100)
    assert {alert.threshold_percent for alert in (await admin.alerts()).alerts} == {50, 80}
    await admin.make(95, period=MONTH)
    assert {alert.threshold_percent for alert in (await admin.alerts()).alerts} == {50, 80}
    assert len((await admin.alerts()).alerts) == 4

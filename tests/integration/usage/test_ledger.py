"""The ledger: lines are written once, never changed, and added up as asked."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from deskmesh.usage.v1 import usage_pb2
from deskmesh.usage.v1 import usage_service_pb2 as pb
from services.common.db import SqlUnitOfWork, create_engine, create_sessionmaker
from services.common.ids import new_id
from tests.integration.usage.desk import MODEL, Desk, entry
from tests.support.server import refused

DAY, MODELS, USERS = pb.USAGE_DIMENSION_DAY, pb.USAGE_DIMENSION_MODEL, pb.USAGE_DIMENSION_USER


async def test_lines_are_added_once_and_priced(desk: Desk) -> None:
    line = entry(100, cached_prompt_tokens=40, completion_tokens=7, ticket_id="tkt_1")
    line.elapsed.FromTimedelta(timedelta(seconds=1.5))
    assert await desk.record(line) == 1
    assert await desk.record(line, entry(1)) == 1
    page = await desk.person().entries(ticket_id="tkt_1")
    (found,) = page.entries
    assert found.cost_micros == 60 + 20 + 14
    assert found.kind == usage_pb2.USAGE_ENTRY_KIND_MEASURED
    assert (found.prompt_tokens, found.cached_prompt_tokens, found.completion_tokens) == (100, 40, 7)
    assert found.elapsed.ToTimedelta() == timedelta(seconds=1.5)
    assert page.currency == "USD"


async def test_the_same_lines_at_the_same_time_are_added_once(desk: Desk) -> None:
    lines = [entry(1) for _ in range(20)]
    added = await asyncio.gather(*(desk.record(*lines[::step]) for step in (1, -1, 1, -1)))
    assert sum(added) == 20
    (everything,) = (await desk.person().read()).groups
    assert (everything.calls, everything.cost_micros) == (20, 20)


async def test_usage_is_added_up_by_what_is_asked_for_a_page_at_a_time(desk: Desk) -> None:
    days = [datetime(2026, 3, day, 23, 59, 59, tzinfo=UTC) for day in (12, 13)]
    await desk.record(
        *(
            entry(tokens, occurred_at=day, user_id=user, model=model)
            for tokens, (day, user, model) in enumerate(
                ((day, user, model) for day in days for user in ("usr_a", "usr_b") for model in (MODEL, "other")),
                start=1,
            )
        )
    )
    admin = desk.person()
    by_day = await admin.read(DAY)
    assert [(list(group.keys), group.prompt_tokens) for group in by_day.groups] == [
        (["2026-03-12"], 1 + 2 + 3 + 4),
        (["2026-03-13"], 5 + 6 + 7 + 8),
    ]
    seen: list[tuple[str, ...]] = []
    token = ""
    while True:
        page = await admin.read(MODELS, USERS, DAY, page_size=3, page_token=token)
        assert len(page.groups) <= 3
        seen += [tuple(group.keys) for group in page.groups]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(seen)
    assert len(set(seen)) == 8
    (only,) = (await admin.read(USERS, model="other", user_id="usr_b")).groups
    assert (list(only.keys), only.calls, only.prompt_tokens) == (["usr_b"], 2, 4 + 8)
    start, end = days[0], days[1]
    request = pb.GetUsageRequest(until=end)
    getattr(request, "from").FromDatetime(start)
    (until,) = (await admin.usage.GetUsage(request, metadata=admin.headers)).groups
    assert until.prompt_tokens == 1 + 2 + 3 + 4


async def test_a_token_of_another_list_is_refused(desk: Desk) -> None:
    await desk.record(*(entry(1, user_id=f"usr_{number}") for number in range(3)))
    admin = desk.person()
    token = (await admin.read(USERS, page_size=1)).next_page_token
    for call in (admin.read(MODELS, page_token=token), admin.entries(page_token=token)):
        async with refused() as refusal:
            await call
        assert refusal.error.reason == "INVALID_PAGE_TOKEN"


async def test_only_who_may_read_usage_does_and_only_the_own(desk: Desk) -> None:
    await desk.record(entry(5))
    assert (await desk.person("billing").read()).groups[0].cost_micros == 5
    assert (await desk.person(organization_id=new_id("org")).read()).groups[0].calls == 0
    assert not (await desk.person(organization_id=new_id("org")).entries()).entries
    for role in ("customer", "agent", "supervisor"):
        async with refused() as refusal:
            await desk.person(role).read()
        assert refusal.error.reason == "PERMISSION_MISSING"


async def test_people_do_not_write_the_ledger(desk: Desk) -> None:
    admin = desk.person("owner")
    async with refused() as refusal:
        await admin.usage.RecordUsage(pb.RecordUsageRequest(entries=[entry()]), metadata=admin.headers)
    assert refusal.error.reason == "WORKLOAD_NOT_ALLOWED"


@pytest.mark.parametrize(
    "values",
    [
        {"prompt_tokens": -1},
        {"completion_tokens": 10**9 + 1},
        {"prompt_tokens": 1, "cached_prompt_tokens": 2},
        {"model": ""},
        {"id": "short"},
        {"occurred_at": None},
        {"elapsed": timedelta(seconds=-1)},
        {"elapsed": timedelta(days=2)},
    ],
    ids=str,
)
async def test_amounts_that_make_no_sense_are_refused(desk: Desk, values: dict[str, object]) -> None:
    async with refused() as refusal:
        await desk.record(entry(**values))  # type: ignore[arg-type]
    assert refusal.error.reason == "INVALID_FIELD"
    assert (await desk.person().read()).groups[0].calls == 0


async def test_a_clock_that_runs_ahead_does_not_date_lines_into_the_future(desk: Desk) -> None:
    await desk.record(entry(1, occurred_at=desk.clock.now + timedelta(days=400)))
    (found,) = (await desk.person().entries()).entries
    assert found.occurred_at.ToDatetime(UTC) == desk.clock.now


async def test_nobody_changes_the_ledger(desk: Desk) -> None:
    await desk.record(entry(5))
    engine = create_engine(desk.service.settings)
    sessions = create_sessionmaker(engine)
    for statement in ("update entries set cost_micros = 0", "delete from entries", "truncate entries"):
        async with SqlUnitOfWork(sessions, system=True) as work:
            with pytest.raises(DBAPIError, match="permission denied"):
                await work.session.execute(sa.text(statement))
    await engine.dispose()

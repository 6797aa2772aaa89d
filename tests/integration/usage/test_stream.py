"""Usage that arrives by the stream: recorded once, whatever is killed or flushed on the way."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from deskmesh.usage.v1 import usage_service_pb2
from services.common.clients import ChannelFactory
from services.common.clock import utc_now
from services.common.ids import new_id
from services.common.outbox import OutboxRelay
from services.common.spending import Usage
from services.common.tls import CertificateFiles
from services.orchestrator import tables as orchestrator_tables
from services.orchestrator.adapters.reports import SqlUnsentReports
from services.orchestrator.adapters.sql import SqlWork
from services.orchestrator.adapters.usage import BudgetsClient
from services.orchestrator.delivery import Delivery
from services.orchestrator.domain import UsageLine, UsageReport
from services.usage.adapters.stream import GROUP, TURN_USAGE, UsageStream
from services.usage.domain import Entry
from services.usage.settings import UsageSettings
from tests.integration.usage.desk import Desk, entry
from tests.support.server import TestStack
from tests.support.valkey import running_valkey

REPORTS = 300
STARTS, FLUSHES = 3, 7


async def eventually(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def valkey(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    store = redis.asyncio.Redis.from_url(url)
    try:
        yield store
    finally:
        await store.aclose()


async def publish(store: redis.asyncio.Redis, organization_id: str, payload: bytes, name: str = TURN_USAGE) -> None:
    await store.xadd(name, {"id": 1, "organization_id": organization_id, "key": "trn_1", "payload": payload})


def payload_of(*entries: Any) -> bytes:
    return usage_service_pb2.RecordUsageRequest(entries=entries).SerializeToString()


async def test_what_is_published_is_recorded_once_and_what_cannot_be_read_is_passed_over(desk: Desk) -> None:
    one, two = entry(1), entry(2)
    async with valkey(desk.service.settings.redis_url) as store:
        for payload in (payload_of(one), b"\xff\xff", payload_of(entry(-1)), payload_of(one, two), payload_of(two)):
            await publish(store, desk.organization_id, payload)

        async def everything_is_read() -> bool:
            pending: Any = await store.xpending(TURN_USAGE, GROUP)
            return len((await desk.person().entries()).entries) == 2 and pending["pending"] == 0

        await eventually(everything_is_read)
    assert sorted(line.cost_micros for line in (await desk.person().entries()).entries) == [1, 2]


async def test_after_a_flush_the_stream_is_read_on(desk: Desk) -> None:
    async with valkey(desk.service.settings.redis_url) as store:
        await store.flushall()
        await publish(store, desk.organization_id, payload_of(entry(3)))

        async def is_recorded() -> bool:
            return bool((await desk.person().entries()).entries)

        await eventually(is_recorded)


async def test_what_a_dead_consumer_had_read_is_taken_over(redis_url: str) -> None:
    recorded: list[str] = []

    async def record(entries: Any) -> int:
        lines: list[Entry] = list(entries)
        recorded.extend(line.id for line in lines)
        return len(lines)

    name = f"test:{new_id('stream')}"
    async with valkey(redis_url) as store:
        await store.xgroup_create(name, GROUP, id="0", mkstream=True)
        lines = [entry(1) for _ in range(3)]
        for line in lines:
            await publish(store, "org_1", payload_of(line), name)
        await store.xreadgroup(GROUP, "dead", {name: ">"}, count=2)
        async with UsageStream(store, record, "alive", takeover_seconds=0.05, name=name):

            async def all_are_recorded() -> bool:
                return sorted(recorded) == sorted(line.id for line in lines)

            await eventually(all_are_recorded)


async def test_a_ledger_that_fails_leaves_the_messages_for_later(redis_url: str) -> None:
    calls = 0

    async def record(entries: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError
        return len(entries)

    name = f"test:{new_id('stream')}"
    async with valkey(redis_url) as store:
        await store.xgroup_create(name, GROUP, id="0", mkstream=True)
        await publish(store, "org_1", payload_of(entry(1)), name)
        stream = UsageStream(store, record, "one", takeover_seconds=0.05, name=name)
        with pytest.raises(ConnectionError):
            await stream.read_batch()
        assert (await store.xpending(name, GROUP))["pending"] == 1
        await asyncio.sleep(0.06)  # as long as a message must lie untouched

        async def is_acknowledged() -> bool:
            await stream.read_batch()
            return bool((await store.xpending(name, GROUP))["pending"] == 0)

        await eventually(is_acknowledged)


class Killable:
    """The usage service as a process that is killed and started again."""

    def __init__(self, settings: UsageSettings) -> None:
        values = settings.model_dump(mode="json", exclude={"prices"})
        self._environment = {f"DESKMESH_{name.upper()}": str(value) for name, value in values.items()}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        arguments = (sys.executable, "-m", "services.usage")
        self._process = await asyncio.create_subprocess_exec(
            *arguments, env=os.environ | self._environment, stderr=asyncio.subprocess.DEVNULL
        )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()


def report(organization_id: str, number: int) -> UsageReport:
    turn_id = f"trn_{number:04}_{organization_id}"
    line = UsageLine(
        f"{turn_id}:1:0",
        datetime.now(UTC),
        "usr_1",
        "",
        "cnv_1",
        "",
        turn_id,
        "score",
        "any",
        Usage(1_000_000),
        0.1,
        "",
    )
    return UsageReport(f"{turn_id}:1", organization_id, "usr_1", (line,))


async def test_nothing_is_lost_or_doubled_while_the_ledger_is_killed_and_the_stream_flushed(
    stack: TestStack, organization_id: str
) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    engine = create_async_engine(stack.postgres.url("orchestrator"))
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    unsent = SqlUnsentReports(sessions)
    with running_valkey() as redis_url:
        settings = stack.settings("usage", UsageSettings, redis_url=redis_url, listen_address=address)
        ledger = Killable(settings)
        channels = ChannelFactory(CertificateFiles(stack.settings("orchestrator", UsageSettings)))
        channel = channels.channel(address, "usage")
        budgets = BudgetsClient(channel)
        async with (
            valkey(redis_url) as store,
            OutboxRelay("orchestrator", sessions, store, orchestrator_tables.outbox),
            Delivery(unsent, budgets, utc_now, poll_seconds=0.1),
        ):
            work = partial(SqlWork, sessions, organization_id)
            try:
                for number in range(REPORTS):
                    if number % (REPORTS // STARTS) == 0:
                        await ledger.kill()
                        await ledger.start()
                        async with asyncio.timeout(60):
                            await channel.channel_ready()
                    if number % (REPORTS // FLUSHES) == 0:
                        await store.flushall()
                    async with work() as writing:
                        due_at = utc_now() + timedelta(seconds=1)
                        await writing.reports.add(report(organization_id, number), due_at)
                        await writing.reports.add(report(organization_id, number), due_at)
                        await writing.commit()
                    await asyncio.sleep(0.01)

                async def all_is_confirmed() -> bool:
                    async with work() as reading:
                        left = sa.select(sa.func.count()).select_from(orchestrator_tables.usage_reports)
                        return not await reading.session.scalar(left)

                await eventually(all_is_confirmed, 60)
            finally:
                await ledger.kill()
        await channels.close()
    await engine.dispose()
    check = create_async_engine(stack.postgres.url("usage"))
    async with check.connect() as connection:
        await connection.execute(sa.text("select set_config('app.system', 'on', true)"))
        counted = await connection.execute(
            sa.text("select count(*), sum(cost_micros) from entries where organization_id = :organization"),
            {"organization": organization_id},
        )
        assert tuple(counted.one()) == (REPORTS, REPORTS * 150_000)
    await check.dispose()

"""Reserving in a budget that everybody shares: a transaction for all who wait, one for each, or a script.

All reserve on three levels at once. "batched" is what the usage service does; "each" is the same use case with a
transaction a call, on ten connections; "script" does the arithmetic alone in one Lua script on Valkey, without the
transaction in Postgres that would have to follow it. Rates are reservations a second of wall time.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import redis.asyncio
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.harness import alternate, compare, report
from services.common.clock import utc_now
from services.common.context import IdempotencyKey
from services.common.ids import new_id
from services.usage.adapters.units import SqlUsageWork
from services.usage.domain import Period, Price, Prices, Reservation, Scope
from services.usage.usecases.batching import Batcher
from services.usage.usecases.budgets import BudgetDesk, MakeBudget
from services.usage.usecases.reservations import ReservationDesk, Reserve
from tests.support.postgres import running_postgres
from tests.support.valkey import running_valkey

CALLS = 1_000
CONCURRENCY = 200
CONNECTIONS = 10
ALONE = 100
LIMIT = 10**12
SCRIPT = """
for _, key in ipairs(KEYS) do
  local account = redis.call('HMGET', key, 'limit', 'spent', 'reserved')
  if tonumber(account[2]) + tonumber(account[3]) + tonumber(ARGV[2]) > tonumber(account[1]) then return 0 end
end
for _, key in ipairs(KEYS) do redis.call('HINCRBY', key, 'reserved', ARGV[2]) end
redis.call('SET', 'reservation:' .. ARGV[1], ARGV[2], 'EX', 90)
return ARGV[2]
"""


class Bench:
    """An organization with three budgets, in Postgres and in Valkey."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], store: redis.asyncio.Redis) -> None:
        self._organization_id = new_id("org")
        self._store = store
        work = partial(SqlUsageWork, sessions, lambda: None)
        self._budgets = BudgetDesk(work, utc_now, 10)
        prices = Prices({"*": Price(prompt=1_000_000)})
        self.desk = ReservationDesk(partial(work, system=True), prices, utc_now, lambda _: 100, 10)
        self.latencies: dict[str, list[float]] = {}

    async def prepare(self) -> None:
        """Make the budgets."""
        for scope, subject in ((Scope.ORGANIZATION, ""), (Scope.USER, "usr_1"), (Scope.MODEL, "model")):
            key = IdempotencyKey(new_id("req"), "/bench", b"")
            await self._budgets.make(MakeBudget(self._organization_id, key, scope, subject, Period.DAY, LIMIT))
            account: Any = {"limit": LIMIT, "spent": 0, "reserved": 0}
            await self._store.hset(f"account:{scope.value}", mapping=account)
        self._script = self._store.register_script(SCRIPT)

    def command(self) -> Reserve:
        """A reservation to make."""
        names = ("model", "turn", "usr_1", "", "", "cnv_1", "trn_1")
        return Reserve(self._organization_id, new_id("res"), *names, timedelta(seconds=60))

    async def script(self) -> None:
        """One reservation by script."""
        keys = [f"account:{scope.value}" for scope in (Scope.ORGANIZATION, Scope.USER, Scope.MODEL)]
        assert await self._script(keys=keys, args=[new_id("res"), 100])

    def rate(self, name: str, once: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
        """A measurement: many at once, then some one after the other for the latency of one alone."""

        async def caller(count: int) -> None:
            for _ in range(count):
                await once()

        async def measure() -> float:
            began = time.perf_counter()
            await asyncio.gather(*(caller(CALLS // CONCURRENCY) for _ in range(CONCURRENCY)))
            rate = CALLS / (time.perf_counter() - began)
            for _ in range(ALONE):
                began = time.perf_counter()
                await once()
                self.latencies.setdefault(name, []).append(time.perf_counter() - began)
            return rate

        return measure


async def main() -> None:
    """Measure, print and keep the result."""
    with running_postgres() as postgres, running_valkey() as url:
        engine = create_async_engine(postgres.url("usage"), pool_size=CONNECTIONS)
        store = redis.asyncio.Redis.from_url(url, max_connections=CONCURRENCY + 8)
        bench = Bench(async_sessionmaker(engine, expire_on_commit=False), store)
        await bench.prepare()
        async with Batcher[Reserve, Reservation]("bench", bench.desk.reserve) as batcher:
            enough = asyncio.Semaphore(CONNECTIONS)

            async def each() -> None:
                async with enough:
                    assert isinstance((await bench.desk.reserve([bench.command()]))[0], Reservation)

            batched = bench.rate("batched", lambda: batcher.submit(bench.command()))
            pairs = await alternate(batched, bench.rate("each", each))
            against_script = await alternate(batched, bench.rate("script", bench.script))
        alone = {name: round(statistics.median(seen) * 1e3, 3) for name, seen in bench.latencies.items()}
        report(
            compare(
                "reservations",
                "reservations a second",
                pairs,
                script=round(statistics.median(rate for _, rate in against_script), 1),
                ratio_to_script=round(statistics.median(one / other for one, other in against_script), 4),
                alone_p50_milliseconds=alone,
                calls_a_measurement=CALLS,
                concurrency=CONCURRENCY,
                connections=CONNECTIONS,
            )
        )
        await store.aclose()
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())

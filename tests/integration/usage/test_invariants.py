"""What must hold whatever happens in whatever order, on real Postgres."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from services.common.context import IdempotencyKey
from services.common.errors import DomainError
from services.common.ids import new_id
from services.usage.adapters.units import SqlUsageWork
from services.usage.domain import Entry, Period, Price, Prices, Reservation, Scope
from services.usage.errors import BudgetExceeded
from services.usage.ports import EntryFilter, SystemWorkFactory
from services.usage.usecases.batching import Batcher
from services.usage.usecases.budgets import BudgetDesk, MakeBudget, Standing
from services.usage.usecases.ledger import UsageLedger
from services.usage.usecases.reservations import Extend, ReservationDesk, Reserve, Settle, Settled
from tests.support.postgres import Postgres

# Long after the clock of any usage service that runs beside the test and would reap what seems forgotten.
START = datetime(2126, 3, 14, 12, tzinfo=UTC)
MODEL = "model"
PERCENT = 10
# A token costs a micro.
PRICES = Prices({"*": Price(prompt=1_000_000)})
UNKNOWN = 100
LEASE = timedelta(seconds=60)


def nothing() -> None:
    """Nobody waits for commits here."""


@dataclass
class World:
    """The use cases of one process, with an organization of its own."""

    sessionmaker: async_sessionmaker[AsyncSession]
    organization_id: str = field(default_factory=lambda: new_id("org"))
    now: datetime = START

    def __post_init__(self) -> None:
        work = partial(SqlUsageWork, self.sessionmaker, nothing)
        self.system: SystemWorkFactory = partial(work, system=True)
        self.work = work
        self.ledger = UsageLedger(work, self.system, PRICES, self.clock)
        self.budgets = BudgetDesk(work, self.clock, PERCENT)
        self.desk = ReservationDesk(self.system, PRICES, self.clock, lambda _: UNKNOWN, PERCENT)

    def clock(self) -> datetime:
        return self.now

    async def budget(self, limit: int, scope: Scope = Scope.ORGANIZATION, subject: str = "") -> Standing:
        key = IdempotencyKey(new_id("req"), "/test", b"")
        return await self.budgets.make(MakeBudget(self.organization_id, key, scope, subject, Period.DAY, limit))

    def command(self, reservation_id: str, user_id: str = "usr_1") -> Reserve:
        return Reserve(self.organization_id, reservation_id, MODEL, "turn", user_id, "", "", "", "", LEASE)

    def entry(self, reservation_id: str, cost: int, user_id: str = "usr_1") -> Entry:
        return Entry(
            self.organization_id,
            f"{reservation_id}:line",
            self.now,
            "score",
            MODEL,
            user_id=user_id,
            prompt_tokens=cost,
            reservation_id=reservation_id,
        )

    async def lines(self) -> list[Entry]:
        async with self.work(self.organization_id) as work:
            return await work.ledger.page(EntryFilter(), None, 100_000)


@pytest_asyncio.fixture(scope="module")
async def sessionmaker(postgres: Postgres) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(postgres.url("usage"), pool_size=10)
    yield async_sessionmaker(engine, expire_on_commit=False)
    await engine.dispose()


async def burst(
    world: World,
    count: int,
    each: Callable[[Batcher[Reserve, Reservation], Batcher[Settle, Settled], int], Awaitable[int]],
) -> list[int]:
    """Run `count` callers at once against two processes; returns what each says."""
    other = ReservationDesk(world.system, PRICES, world.clock, lambda _: UNKNOWN, PERCENT)
    async with (
        Batcher("one", world.desk.reserve) as one,
        Batcher("two", other.reserve) as two,
        Batcher("three", world.desk.settle) as settling,
    ):
        return list(await asyncio.gather(*(each((one, two)[number % 2], settling, number) for number in range(count))))


async def test_ten_thousand_at_once_never_exceed_the_bound(sessionmaker: async_sessionmaker[AsyncSession]) -> None:
    world = World(sessionmaker)
    made = await world.budget(50_000)

    async def reserve(reserving: Batcher[Reserve, Reservation], _: object, number: int) -> int:
        try:
            return (await reserving.submit(world.command(f"res_{number:05}"))).granted
        except BudgetExceeded:
            return 0

    granted = await burst(world, 10_000, reserve)
    standing = await world.budgets.get(world.organization_id, made.budget.id)
    assert sum(granted) == standing.account.reserved
    assert standing.account.reserved <= 50_000 + standing.overshoot == 55_000
    # Nothing that fits is refused: what is left is less than one usual work.
    assert standing.account.reserved > 55_000 - UNKNOWN
    assert sum(amount > 0 for amount in granted) == 550


async def test_a_burst_at_zero_spend_is_not_refused(sessionmaker: async_sessionmaker[AsyncSession]) -> None:
    """Two thousand whose usual costs fit the budget, though what they would reserve amply is more than twice that."""
    world = World(sessionmaker)
    for number in range(40):
        cost = 30 if number % 10 == 0 else 10
        await world.desk.reserve([world.command(f"res_before_{number}")])
        one = Settle(world.organization_id, f"res_before_{number}", (world.entry(f"res_before_{number}", cost),))
        await world.desk.settle([one])
    world.now += timedelta(days=1)
    # The mean of the latest costs moves by a few hundredths with the order in which works end.
    made = await world.budget(2_000 * 12 * 115 // 100)

    async def work(reserving: Batcher[Reserve, Reservation], settling: Batcher[Settle, Settled], number: int) -> int:
        reservation_id = f"res_{number:05}"
        await reserving.submit(world.command(reservation_id))
        cost = 30 if number % 10 == 0 else 10
        entries = (world.entry(reservation_id, cost),)
        return (await settling.submit(Settle(world.organization_id, reservation_id, entries))).cost

    costs = await burst(world, 2_000, work)
    standing = await world.budgets.get(world.organization_id, made.budget.id)
    assert standing.account.spent == sum(costs) == 2_000 * 12
    assert standing.account.reserved == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 7), st.sampled_from(["usr_1", "usr_2"])),
        st.tuples(st.just("extend"), st.integers(0, 7), st.integers(0, 400)),
        st.tuples(st.just("settle"), st.integers(0, 7), st.integers(0, 150)),
        st.tuples(st.just("record"), st.integers(0, 7), st.integers(0, 150)),
        st.tuples(st.just("die"), st.just(0), st.just(0)),
    ),
    min_size=5,
    max_size=30,
)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, limit=st.integers(0, 800))
@pytest.mark.asyncio(loop_scope="session")
async def test_the_books_agree_after_every_step(
    sessionmaker: async_sessionmaker[AsyncSession], steps: list[tuple[str, int, object]], limit: int
) -> None:
    world = World(sessionmaker)
    everything = await world.budget(limit)
    of_user = await world.budget(limit // 2, Scope.USER, "usr_1")
    held: dict[str, Reservation] = {}
    users: dict[str, str] = {}
    for name, number, value in steps:
        reservation_id = f"res_{number}_xx"
        match name, value:
            case "reserve", str(user_id):
                users.setdefault(reservation_id, user_id)
                (answer,) = await world.desk.reserve([world.command(reservation_id, users[reservation_id])])
                if isinstance(answer, Reservation):
                    held[reservation_id] = answer
            case "extend", int(wanted):
                (answer,) = await world.desk.extend([Extend(world.organization_id, reservation_id, wanted, LEASE)])
                if isinstance(answer, Reservation):
                    assert reservation_id in held
                    held[reservation_id] = answer
                else:
                    assert isinstance(answer, DomainError)
            case "settle", int(cost):
                line = world.entry(reservation_id, cost, users.get(reservation_id, ""))
                await world.desk.settle([Settle(world.organization_id, reservation_id, (line,) if cost else ())])
                held.pop(reservation_id, None)
            case "record", int(cost):
                await world.ledger.record([world.entry(reservation_id, cost, users.get(reservation_id, ""))])
                held.pop(reservation_id, None)
            case _:
                world.now += LEASE + timedelta(seconds=1)
                while await world.desk.reap():
                    held.clear()
        lines = await world.lines()
        for standing, user_id in ((everything, ""), (of_user, "usr_1")):
            account = (await world.budgets.get(world.organization_id, standing.budget.id)).account
            assert account.spent == sum(line.cost for line in lines if not user_id or line.user_id == user_id)
            assert account.reserved == sum(
                one.granted for one in held.values() if not user_id or one.user_id == user_id
            )
            # Lines tell of the past and are always written; only what is granted beyond them is bounded.
            if account.reserved:
                assert account.reserved <= standing.budget.limit + standing.overshoot
        assert len({line.id for line in lines}) == len(lines)

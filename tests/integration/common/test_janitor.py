"""What has had its time is deleted, in batches, by several processes at once, and nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from services.auth import tables as auth
from services.auth.adapters.retention import purges
from services.auth.settings import AuthSettings
from services.common.db import SqlUnitOfWork, create_sessionmaker
from services.common.ids import new_id
from services.common.janitor import Janitor, Purge
from services.tickets import tables as tickets
from tests.support.postgres import Postgres
from tests.support.server import TestStack

# The true time: a service's own janitor may sweep the same tables.
NOW = datetime.now(UTC)
WEEK = timedelta(days=7)
REQUESTS = tickets.idempotency_records


@pytest_asyncio.fixture
async def sessions(postgres: Postgres) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(postgres.url("tickets"), pool_size=6)
    yield create_sessionmaker(engine)
    await engine.dispose()


def janitor(
    sessions: async_sessionmaker[AsyncSession],
    *purged: Purge,
    batch: int = 4,
    registry: CollectorRegistry | None = None,
) -> Janitor:
    return Janitor(
        purged or (Purge(REQUESTS, "created_at", WEEK),),
        sessions,
        lambda: NOW,
        registry or CollectorRegistry(),
        interval_seconds=3600,
        batch_rows=batch,
    )


async def add(sessions: async_sessionmaker[AsyncSession], organization_id: str, *ages: timedelta) -> None:
    rows = [
        {
            "organization_id": organization_id,
            "method": "/m",
            "request_id": uuid4().hex,
            "fingerprint": b"",
            "resource_id": "tkt_1",
            "created_at": NOW - age,
        }
        for age in ages
    ]
    async with SqlUnitOfWork(sessions, organization_id) as work:
        await work.session.execute(sa.insert(REQUESTS).values(rows))
        await work.commit()


async def ages(sessions: async_sessionmaker[AsyncSession], organization_id: str) -> list[timedelta]:
    async with SqlUnitOfWork(sessions, organization_id) as work:
        return sorted(NOW - at for at in await work.session.scalars(sa.select(REQUESTS.c.created_at)))


async def test_only_what_is_old_goes_whoever_it_belongs_to(sessions: async_sessionmaker[AsyncSession]) -> None:
    first, second = new_id("org"), new_id("org")
    hour = timedelta(hours=1)
    await add(sessions, first, *[WEEK + hour] * 9, WEEK - hour, hour)
    await add(sessions, second, WEEK * 2)
    registry = CollectorRegistry()
    assert await janitor(sessions, registry=registry).sweep() >= 10
    assert await ages(sessions, first) == [hour, WEEK - hour]
    assert await ages(sessions, second) == []
    assert (registry.get_sample_value("deskmesh_purged_rows_total", {"table": "idempotency_records"}) or 0) >= 10
    assert registry.get_sample_value("deskmesh_purge_last_success_timestamp_seconds")
    assert await janitor(sessions).sweep() == 0


async def test_several_sweep_at_once(sessions: async_sessionmaker[AsyncSession]) -> None:
    organization_id = new_id("org")
    await add(sessions, organization_id, *[WEEK * 2] * 60)
    counts = await asyncio.gather(*(janitor(sessions, batch=5).sweep() for _ in range(3)))
    # One that finds only rows that others hold is done; what is left then is theirs.
    assert await ages(sessions, organization_id) == []
    assert sum(counts) == 60


async def test_a_row_that_somebody_holds_is_left_for_later(sessions: async_sessionmaker[AsyncSession]) -> None:
    organization_id = new_id("org")
    await add(sessions, organization_id, WEEK * 2, WEEK * 3)
    async with SqlUnitOfWork(sessions, organization_id) as work:
        await work.session.execute(
            sa.select(REQUESTS).where(REQUESTS.c.created_at < NOW - WEEK * 2.5).with_for_update()
        )
        async with asyncio.timeout(10):
            assert await janitor(sessions).sweep() == 1
    assert await janitor(sessions).sweep() == 1


async def test_it_sweeps_while_it_is_entered(
    sessions: async_sessionmaker[AsyncSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    organization_id, swept = new_id("org"), asyncio.Event()
    await add(sessions, organization_id, WEEK * 2)
    beside, sweep = janitor(sessions), Janitor.sweep

    async def noticed(self: Janitor) -> int:
        count = await sweep(self)
        swept.set()
        return count

    monkeypatch.setattr(Janitor, "sweep", noticed)
    async with beside, asyncio.timeout(20):
        await swept.wait()
    assert await ages(sessions, organization_id) == []


async def test_auth_forgets_what_ended(stack: TestStack, postgres: Postgres) -> None:
    settings = stack.settings("auth", AuthSettings, secrets_folder=stack.folder)
    engine = create_async_engine(postgres.url("auth"))
    sessions = create_sessionmaker(engine)
    user_id, living, dying = new_id("usr"), new_id("fam"), new_id("fam")
    day = timedelta(days=1)

    def token(family_id: str, expires_at: datetime) -> dict[str, object]:
        return {
            "hash": uuid4().bytes,
            "family_id": family_id,
            "organization_id": "org_1",
            "expires_at": expires_at,
        }

    async with SqlUnitOfWork(sessions, system=True) as work:
        user = {"id": user_id, "email": f"{user_id}@example.org", "display_name": "A", "password_hash": ""}
        await work.session.execute(sa.insert(auth.users).values(**user, created_at=NOW))
        for family_id in (living, dying):
            family = {"id": family_id, "organization_id": "org_1", "user_id": user_id, "created_at": NOW - day * 60}
            await work.session.execute(sa.insert(auth.refresh_families).values(**family))
        tokens = [token(living, NOW - day * 2), token(living, NOW + day), token(dying, NOW - day * 2)]
        await work.session.execute(sa.insert(auth.refresh_tokens).values(tokens))
        links = [{"hash": uuid4().bytes, "expires_at": at} for at in (NOW - day * 2, NOW + day)]
        of_user = {"user_id": user_id, "purpose": "verify", "email": user["email"]}
        await work.session.execute(sa.insert(auth.mail_links).values([link | of_user for link in links]))
        revoked = [{"subject": user_id, "not_before": at.timestamp(), "revoked_at": at} for at in (NOW - day, NOW)]
        await work.session.execute(sa.insert(auth.revocations).values(revoked))
        await work.commit()
    await janitor(sessions, *purges(settings)).sweep()
    async with SqlUnitOfWork(sessions, system=True) as work:
        families = await work.session.scalars(
            sa.select(auth.refresh_families.c.id).where(auth.refresh_families.c.user_id == user_id)
        )
        left = await work.session.scalars(
            sa.select(auth.refresh_tokens.c.expires_at).where(auth.refresh_tokens.c.family_id == living)
        )
        assert (list(families), list(left)) == ([living], [NOW + day])
        for table, column, kept in (
            (auth.mail_links, auth.mail_links.c.expires_at, NOW + day),
            (auth.revocations, auth.revocations.c.revoked_at, NOW),
        ):
            mine = table.c.user_id if table is auth.mail_links else table.c.subject
            assert list(await work.session.scalars(sa.select(column).where(mine == user_id))) == [kept]
    await engine.dispose()

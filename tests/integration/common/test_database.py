"""Row-level security, request_ids, migrations and the outbox on real Postgres and Valkey."""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from services.common import migrate as migrate_module
from services.common.context import IdempotencyKey
from services.common.db import IdempotencyRecords, SqlUnitOfWork, create_sessionmaker
from services.common.errors import RequestIdReused, Unavailable
from services.common.ids import new_id
from services.common.migrate import migrate
from services.common.outbox import Outbox, OutboxRelay, stream_name
from tests.support.postgres import Postgres, services_with_tables

SUPPORT = Path(__file__).parents[2] / "support"
scratch: Any = importlib.import_module("tests.support.scratch.migrations.0001_tables")
things, idempotency_records, outbox = scratch.TABLES


@pytest.fixture(scope="module")
def migrated(postgres: Postgres) -> Iterator[Postgres]:
    migrate(postgres.admin_url, ["scratch"], folder=SUPPORT)
    yield postgres
    migrate(postgres.admin_url, ["scratch"], revision="base", folder=SUPPORT)


@pytest_asyncio.fixture
async def sessions(migrated: Postgres) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(migrated.url("scratch"), pool_size=20)
    yield create_sessionmaker(engine)
    await engine.dispose()


@pytest_asyncio.fixture
async def store(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url)
    yield client
    await client.aclose()


async def _add(sessions: async_sessionmaker[AsyncSession], organization_id: str, thing_id: str) -> None:
    async with SqlUnitOfWork(sessions, organization_id) as work:
        await work.session.execute(sa.insert(things).values(id=thing_id, organization_id=organization_id))
        await work.commit()


async def _seen(sessions: async_sessionmaker[AsyncSession], work: SqlUnitOfWork) -> set[str]:
    async with work:
        return set(await work.session.scalars(sa.select(things.c.id)))


async def test_a_tenant_sees_and_writes_only_its_rows(sessions: async_sessionmaker[AsyncSession]) -> None:
    first, second = new_id("org"), new_id("org")
    mine, theirs = new_id("thg"), new_id("thg")
    await _add(sessions, first, mine)
    await _add(sessions, second, theirs)
    assert await _seen(sessions, SqlUnitOfWork(sessions, first)) == {mine}
    assert await _seen(sessions, SqlUnitOfWork(sessions, "")) == set()
    assert {mine, theirs} <= await _seen(sessions, SqlUnitOfWork(sessions, system=True))
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
        async with SqlUnitOfWork(sessions, first) as work:
            await work.session.execute(sa.insert(things).values(id=new_id("thg"), organization_id=second))
    async with SqlUnitOfWork(sessions, first) as work:
        changed = await work.session.execute(sa.delete(things).where(things.c.id == theirs).returning(things.c.id))
        assert changed.all() == []
        await work.commit()
        # The scope holds in the transaction that follows a commit, too.
        assert set(await work.session.scalars(sa.select(things.c.id))) == {mine}


async def test_a_scope_does_not_outlive_its_transaction(sessions: async_sessionmaker[AsyncSession]) -> None:
    organization_id = new_id("org")
    await _add(sessions, organization_id, new_id("thg"))
    async with sessions() as session:
        assert (await session.scalars(sa.select(things.c.id))).all() == []


async def test_leaving_without_commit_rolls_back(sessions: async_sessionmaker[AsyncSession]) -> None:
    organization_id = new_id("org")
    async with SqlUnitOfWork(sessions, organization_id) as work:
        await work.session.execute(sa.insert(things).values(id=new_id("thg"), organization_id=organization_id))
    assert await _seen(sessions, SqlUnitOfWork(sessions, organization_id)) == set()


async def test_a_service_role_can_change_no_table(sessions: async_sessionmaker[AsyncSession]) -> None:
    async with sessions() as session:
        with pytest.raises(sa.exc.ProgrammingError, match="must be owner"):
            await session.execute(sa.text("alter table things disable row level security"))


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    engine = create_async_engine(f"postgresql+asyncpg://deskmesh_scratch@/deskmesh?host={tmp_path}")
    with pytest.raises(Unavailable):
        async with SqlUnitOfWork(create_sessionmaker(engine), "org") as work:
            await work.session.execute(sa.text("select 1"))
    await engine.dispose()


async def test_of_racing_calls_with_one_request_id_one_has_an_effect(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    organization_id = new_id("org")
    key = IdempotencyKey("req-1", "/a.B/C", b"same")

    async def create() -> str:
        async with SqlUnitOfWork(sessions, organization_id) as work:
            thing_id = new_id("thg")
            records = IdempotencyRecords(work.session, organization_id, idempotency_records)
            if made := await records.claim(key, thing_id):
                return made
            await work.session.execute(sa.insert(things).values(id=thing_id, organization_id=organization_id))
            await asyncio.sleep(0.02)
            await work.commit()
            return thing_id

    answers = await asyncio.gather(*(create() for _ in range(15)))
    assert set(answers) == await _seen(sessions, SqlUnitOfWork(sessions, organization_id))
    assert len(set(answers)) == 1
    async with SqlUnitOfWork(sessions, organization_id) as work:
        records = IdempotencyRecords(work.session, organization_id, idempotency_records)
        with pytest.raises(RequestIdReused):
            await records.claim(IdempotencyKey("req-1", "/a.B/C", b"other"), "thg_x")


async def _publish(sessions: async_sessionmaker[AsyncSession], topic: str, *keys: str) -> None:
    async with SqlUnitOfWork(sessions, "org_1") as work:
        for key in keys:
            await Outbox(work.session, "org_1", outbox).add(topic, key, b"\x00\xff" + key.encode())
        await work.commit()


async def _entries(store: redis.asyncio.Redis, topic: str) -> list[dict[bytes, bytes]]:
    entries: Any = await store.xrange(stream_name("scratch", topic))
    return [fields for _, fields in entries]


async def _at_least(count: int, store: redis.asyncio.Redis, topic: str) -> list[dict[bytes, bytes]]:
    for _ in range(200):
        entries = await _entries(store, topic)
        if len(entries) >= count:
            return entries
        await asyncio.sleep(0.05)
    raise AssertionError(f"fewer than {count} events were published")


async def test_events_are_published_once_committed_in_their_order(
    sessions: async_sessionmaker[AsyncSession], store: redis.asyncio.Redis
) -> None:
    topic = new_id("topic")
    async with OutboxRelay("scratch", sessions, store, outbox) as relay:
        async with SqlUnitOfWork(sessions, "org_1") as work:
            await Outbox(work.session, "org_1", outbox).add(topic, "never", b"")
        await _publish(sessions, topic, *(f"key-{number}" for number in range(450)))
        relay.wake()
        entries = await _at_least(450, store, topic)
    assert [entry[b"key"].decode() for entry in entries] == [f"key-{number}" for number in range(450)]
    assert entries[0][b"payload"] == b"\x00\xffkey-0"
    assert entries[0][b"organization_id"] == b"org_1"
    identifiers = [int(entry[b"id"]) for entry in entries]
    assert identifiers == sorted(set(identifiers))


async def test_an_event_outlives_a_relay_that_dies_between_publishing_and_forgetting(
    sessions: async_sessionmaker[AsyncSession], store: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = new_id("topic")
    await _publish(sessions, topic, "a", "b")

    async def dies(_work: SqlUnitOfWork) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(SqlUnitOfWork, "commit", dies)
        with pytest.raises(Unavailable):
            await OutboxRelay("scratch", sessions, store, outbox).publish_batch()
    await OutboxRelay("scratch", sessions, store, outbox).publish_batch()
    entries = await _entries(store, topic)
    assert [entry[b"key"] for entry in entries] == [b"a", b"b", b"a", b"b"]
    assert entries[0][b"id"] == entries[2][b"id"]


async def test_the_relay_goes_on_when_its_stores_come_back(
    sessions: async_sessionmaker[AsyncSession], store: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = new_id("topic")
    monkeypatch.setattr("services.common.outbox.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("services.common.outbox.POLL_SECONDS", 0.05)
    away = redis.asyncio.Redis(unix_socket_path="/nonexistent/valkey.sock")
    await _publish(sessions, topic, "a")
    async with OutboxRelay("scratch", sessions, away, outbox) as relay:
        await asyncio.sleep(0.2)
        monkeypatch.setattr(relay, "_redis", store)
        await _at_least(1, store, topic)
    await away.aclose()


def test_migrating_again_changes_nothing_and_every_migration_goes_back(postgres: Postgres) -> None:
    """In a database of its own, since the others are in use."""
    url = str(sa.make_url(postgres.admin_url).set(database="back_and_forth"))
    services = services_with_tables()
    assert "auth" in services
    passwords = dict.fromkeys(services, "a secret for one test")
    migrate(url, services, passwords)
    migrate(url, services, passwords)
    before = _tables(url)
    migrate(url, services, revision="base")
    assert {table for _, table in _tables(url)} == {"alembic_version"}
    migrate(url, services)
    assert _tables(url) == before


def test_every_table_of_a_tenant_is_under_row_level_security(postgres: Postgres) -> None:
    engine = sa.create_engine(sa.make_url(postgres.admin_url).set(drivername="postgresql+psycopg"))
    statement = sa.text(
        "select n.nspname, c.relname, c.relrowsecurity and c.relforcerowsecurity from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and n.nspname = any(:services)"
    )
    with engine.connect() as connection:
        rows = connection.execute(statement, {"services": services_with_tables()}).all()
    engine.dispose()
    open_tables = {(schema, table) for schema, table, secured in rows if not secured and table != "alembic_version"}
    assert open_tables == set()


def test_the_command_reads_its_settings_from_the_environment(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "passwords.json"
    passwords.write_text(json.dumps({"auth": "a secret"}))
    monkeypatch.setenv("DESKMESH_DATABASE_ADMIN_URL", postgres.admin_url)
    monkeypatch.setenv("DESKMESH_DATABASE_PASSWORDS_FILE", str(passwords))
    monkeypatch.setattr(migrate_module, "configure_logging", lambda *_: None)
    assert migrate_module.main(["auth"]) == 0


def _tables(url: str) -> set[tuple[str, str]]:
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    statement = sa.text(
        "select table_schema, table_name from information_schema.tables"
        " where table_schema not in ('pg_catalog', 'information_schema')"
    )
    with engine.connect() as connection:
        found = {(row.table_schema, row.table_name) for row in connection.execute(statement)}
    engine.dispose()
    return found

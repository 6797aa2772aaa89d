"""Signing keys are sealed, shared, published before they sign and replaced smoothly; passwords are slow."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from services.auth import tables
from services.auth.adapters.attempts import Limits, ValkeyAttempts
from services.auth.adapters.passwords import ArgonPasswords
from services.auth.adapters.signing import PUBLISHED_AFTER, PUBLISHED_AHEAD, JwtAccessTokens, KeyRing, Sealer
from services.auth.errors import TooManyAttempts
from services.common.db import SqlUnitOfWork, create_sessionmaker
from services.common.ids import new_id
from services.common.migrate import migrate
from services.common.tokens import Keys, KeySet, TokenVerifier, parse_jwks
from tests.support.postgres import Postgres


@pytest_asyncio.fixture
async def sessions(postgres: Postgres) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """A database of its own: keys belong to all who sign."""
    name = new_id("keys")
    migrate(str(sa.make_url(postgres.admin_url).set(database=name)), ["auth"])
    engine = create_async_engine(sa.make_url(postgres.url("auth")).set(database=name))
    yield create_sessionmaker(engine)
    await engine.dispose()


class Time:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_are_gone(
    sessions: async_sessionmaker[AsyncSession], tmp_path: Path
) -> None:
    clock = Time()
    ring = KeyRing(sessions, Sealer.of_file(tmp_path / "key"), clock, key_days=30)
    other_process = KeyRing(sessions, Sealer.of_file(tmp_path / "key"), clock, key_days=30)
    await ring.refresh()
    await other_process.refresh()
    first = ring.current().id
    assert other_process.current().id == first
    await ring.refresh(rotate=True)
    await other_process.refresh()
    assert ring.current().id == first
    assert len(_published(other_process)) == 2
    clock.now += PUBLISHED_AHEAD
    second = ring.current().id
    assert second != first
    assert other_process.current().id == second
    clock.now += PUBLISHED_AFTER + timedelta(seconds=1)
    await ring.refresh()
    assert _published(ring) == [second]
    clock.now += timedelta(days=30)
    await ring.refresh()
    assert len(_published(ring)) == 2


async def test_tokens_of_old_and_new_keys_hold_while_keys_are_replaced(
    sessions: async_sessionmaker[AsyncSession], tmp_path: Path
) -> None:
    clock = Time()
    async with KeyRing(sessions, Sealer.of_file(tmp_path / "key"), clock, key_days=30) as ring:

        async def fetch() -> Keys:
            return parse_jwks(json.loads(ring.jwks()))

        verifier = TokenVerifier(KeySet(fetch), issuer="i", audience="a")
        signer = JwtAccessTokens(ring, issuer="i", audience="a", lifetime_seconds=600)
        await ring.refresh(rotate=True)
        old = signer.issue("usr_1", "org_1", ["agent"]).value
        assert (await verifier.verify(old)).user_id == "usr_1"
        clock.now += PUBLISHED_AHEAD
        new = signer.issue("usr_2", "org_1", ["agent"]).value
        assert (await verifier.verify(new)).user_id == "usr_2"
        assert (await TokenVerifier(KeySet(fetch), issuer="i", audience="a").verify(old)).user_id == "usr_1"


async def test_the_database_alone_signs_nothing(sessions: async_sessionmaker[AsyncSession], tmp_path: Path) -> None:
    clock = Time()
    ring = KeyRing(sessions, Sealer.of_file(tmp_path / "key"), clock, key_days=30)
    await ring.refresh()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    secret = ring.current().private_key.private_bytes_raw()
    async with SqlUnitOfWork(sessions, system=True) as work:
        (sealed,) = await work.session.scalars(sa.select(tables.signing_keys.c.sealed_private_key))
    assert secret not in sealed
    async with SqlUnitOfWork(sessions, "org_1") as work:
        assert (await work.session.scalars(sa.select(tables.signing_keys.c.id))).all() == []
    # With the sealing key lost, new keys are made and the old ones are not trusted.
    stranger = KeyRing(sessions, Sealer.of_file(tmp_path / "another"), clock, key_days=30)
    await stranger.refresh()
    assert _published(stranger) != _published(ring)
    assert (
        Sealer.of_file(tmp_path / "another").open("key_1", Sealer.of_file(tmp_path / "key").seal("key_1", _key()))
        is None
    )


async def test_the_answer_takes_as_long_for_an_unknown_user(tmp_path: Path) -> None:
    with ArgonPasswords(memory_kib=4096, passes=2, threads=1, queue=4) as passwords:
        known = await passwords.hash("a long enough phrase")
        assert known.startswith("$argon2id$")
        assert await passwords.verify("a long enough phrase", known)
        assert not await passwords.verify("a long enough phrase", None)
        assert not await passwords.verify("a long enough phrase", "no hash at all")
        assert await passwords.verify("ａ long enough phrase", known)
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(15):
            for exists in (True, False):
                started = time.process_time()
                assert not await passwords.verify("wrong", known if exists else None)
                times[exists].append(time.process_time() - started)
        ratio = statistics.median(times[True]) / statistics.median(times[False])
        assert 0.5 < ratio < 2
    with ArgonPasswords(memory_kib=8192, passes=2, threads=1, queue=4) as dearer:
        assert dearer.needs_rehash(known)


async def test_a_flood_of_passwords_is_refused_before_it_piles_up() -> None:
    with ArgonPasswords(memory_kib=8192, passes=2, threads=1, queue=2) as passwords:
        results = await asyncio.gather(*(passwords.hash("x") for _ in range(10)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, TooManyAttempts)]
    assert len(refused) == 7
    assert refused[0].retry_after_seconds


async def test_an_account_under_attack_slows_each_place_sooner_and_lets_its_owner_in(redis_url: str) -> None:
    store = redis.asyncio.Redis.from_url(redis_url)
    limits = Limits(window_seconds=60, pair=4, place=20, attack=12, pair_under_attack=2)
    attempts = ValkeyAttempts(store, limits)
    email, run = f"{new_id('p')}@example.com", new_id("run")

    async def allowed(place: str, tries: int, address: str = email) -> int:
        for count in range(tries):
            try:
                await attempts.begin(address, f"{run}-{place}")
            except TooManyAttempts as refusal:
                assert refusal.retry_after_seconds
                assert 0 < refusal.retry_after_seconds <= 60
                return count
        return tries

    assert [await allowed(f"bot-{number}", 10) for number in range(3)] == [4, 4, 4]
    assert [await allowed(f"bot-{number}", 10) for number in range(3, 6)] == [2, 2, 2]
    await attempts.begin(email, f"{run}-home")
    await attempts.succeeded(email, f"{run}-home")
    assert await allowed("home", 1) == 1
    # One place that tries many accounts is slowed, too.
    tried = [await allowed("sprayer", 1, f"{number}-{email}") for number in range(25)]
    assert sum(tried) == 20
    assert not [key async for key in store.scan_iter(f"*{email}*")]
    await store.aclose()


def _key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def _published(ring: KeyRing) -> list[str]:
    return [key["kid"] for key in json.loads(ring.jwks())["keys"]]


@pytest.mark.parametrize("times", [1, 2])
def test_the_sealing_key_is_made_once(tmp_path: Path, times: int) -> None:
    for _ in range(times):
        Sealer.of_file(tmp_path / "deep" / "key")
    assert len((tmp_path / "deep" / "key").read_bytes()) == 32
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["key"]

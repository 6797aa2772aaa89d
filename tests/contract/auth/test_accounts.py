"""What the use cases of accounts and second factors rely on, held by the ports in memory and by Postgres alike."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import create_async_engine

from services.auth.accounts import Account, Letter, Link, MailJob, Purpose, hash_token, new_token
from services.auth.adapters.sql import SqlWorkFactory
from services.auth.domain import RefreshFamily, User
from services.auth.factor_errors import PasskeyInvalid
from services.auth.factors import Challenge, ChallengeKind, Totp
from services.auth.passkeys import Passkey
from services.auth.ports import WorkFactory
from services.common.db import create_sessionmaker
from services.common.ids import new_id
from services.common.revocations import Revocation
from tests.unit.auth.fakes import FakeWorkFactory

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def works(request: pytest.FixtureRequest) -> AsyncIterator[WorkFactory]:
    if request.param == "memory":
        yield FakeWorkFactory()
        return
    engine = create_async_engine(request.getfixturevalue("postgres").url("auth"))
    yield SqlWorkFactory(create_sessionmaker(engine))
    await engine.dispose()


@pytest_asyncio.fixture
async def user(works: WorkFactory) -> User:
    made = User(new_id("usr"), f"{new_id('p')}@example.com", "Ann", "hash", NOW)
    async with works.system() as work:
        await work.users.add(made)
        await work.commit()
    return made


async def test_an_account_is_new_until_it_is_kept(works: WorkFactory, user: User) -> None:
    async with works.system() as work:
        assert await work.accounts.get(user.id) == Account(user.id)
        for account in (Account(user.id), Account(user.id, NOW, password_alone=False)):
            await work.accounts.put(account)
            assert await work.accounts.get(user.id) == account


async def test_a_link_is_found_for_its_purpose_until_it_is_forgotten(works: WorkFactory, user: User) -> None:
    link = Link(hash_token(new_token()), user.id, Purpose.VERIFY_EMAIL, user.email, NOW)
    other = replace(link, hash=hash_token(new_token()), purpose=Purpose.RESET_PASSWORD)
    async with works.system() as work:
        for one in (link, other):
            await work.links.add(one)
        await work.commit()
    async with works.system() as work:
        assert await work.links.find_locked(link.hash, Purpose.VERIFY_EMAIL) == link
        assert await work.links.find_locked(link.hash, Purpose.RESET_PASSWORD) is None
        await work.links.forget(user.id, Purpose.VERIFY_EMAIL)
        assert await work.links.find_locked(link.hash, Purpose.VERIFY_EMAIL) is None
        assert await work.links.find_locked(other.hash, Purpose.RESET_PASSWORD) == other


async def test_a_letter_waits_until_it_is_due_and_is_sent_once(works: WorkFactory) -> None:
    # Before any other test's letters, so that it is the next one.
    due = NOW - timedelta(days=3650)
    job = MailJob.new(Letter.VERIFY_EMAIL, "ann@example.com", at=due)
    async with works.tenant(new_id("org")) as work:
        await work.mail_jobs.add(job)
        await work.commit()
    async with works.system() as work:
        assert await work.mail_jobs.next_due(due - timedelta(seconds=1)) is None
        assert await work.mail_jobs.next_due(due) == job
        later = replace(job, due_at=due + timedelta(minutes=1), attempts=1)
        await work.mail_jobs.postpone(later)
        assert await work.mail_jobs.next_due(due) is None
        assert await work.mail_jobs.next_due(later.due_at) == later
        await work.mail_jobs.remove(later)
        assert await work.mail_jobs.next_due(later.due_at) is None
        await work.commit()


async def test_a_tenant_may_revoke_and_the_system_hears_of_it(works: WorkFactory) -> None:
    revocation = Revocation(new_id("usr"), NOW.timestamp())
    async with works.tenant(new_id("org")) as work:
        await work.revocations.add(revocation, at=NOW)
        await work.commit()
    async with works.system() as work:
        assert revocation in await work.revocations.since(NOW)
        assert revocation not in await work.revocations.since(NOW + timedelta(seconds=1))


async def test_what_was_proved_is_kept_with_the_sign_in_while_it_lives(works: WorkFactory, user: User) -> None:
    family = RefreshFamily(new_id("rff"), user.id, "org_1", NOW, authenticated_at=NOW, methods=("pwd",))
    token, later = hash_token(new_token()), NOW + timedelta(hours=1)
    async with works.system() as work:
        await work.refresh_tokens.begin(family, token, later)
        await work.commit()
    async with works.system() as work:
        stored = await work.refresh_tokens.find_locked(token)
        assert stored
        assert stored.family == family
        proved = await work.refresh_tokens.prove(family.id, ("pwd", "otp"), at=later)
        assert proved == replace(family, authenticated_at=later, methods=("pwd", "otp"))
        await work.refresh_tokens.revoke_user(user.id, at=later)
        assert await work.refresh_tokens.prove(family.id, ("pwd",), at=later) is None
        assert await work.refresh_tokens.prove("rff_unknown", ("pwd",), at=later) is None


async def test_a_step_is_spent_once_and_wrong_codes_are_counted(works: WorkFactory, user: User) -> None:
    totp = Totp(user.id, b"sealed", NOW)
    async with works.system() as work:
        assert await work.factors.totp(user.id) is None
        await work.factors.put_totp(totp)
        assert [await work.factors.count_failure(user.id) for _ in range(3)] == [1, 2, 3]
        assert await work.factors.totp(user.id) == replace(totp, failures=3)
        spent = [await work.factors.spend_step(user.id, step) for step in (10, 10, 9, 11)]
        assert spent == [True, False, False, True]
        assert await work.factors.totp(user.id) == replace(totp, last_step=11)
        await work.factors.put_totp(replace(totp, confirmed_at=NOW))
        assert await work.factors.totp(user.id) == replace(totp, confirmed_at=NOW)


async def test_recovery_codes_are_spent_once_and_replaced_as_a_whole(works: WorkFactory, user: User) -> None:
    async with works.system() as work:
        await work.factors.put_totp(Totp(user.id, b"sealed", NOW))
        await work.factors.replace_codes(user.id, (b"1", b"2"))
        await work.factors.count_failure(user.id)
        spent = [await work.factors.spend_code(user.id, code, at=NOW) for code in (b"1", b"1", b"3")]
        assert spent == [True, False, False]
        assert not await work.factors.spend_code("usr_other", b"2", at=NOW)
        assert await work.factors.codes_left(user.id) == 1
        totp = await work.factors.totp(user.id)
        assert totp
        assert totp.failures == 0
        await work.factors.replace_codes(user.id, (b"4",))
        assert not await work.factors.spend_code(user.id, b"2", at=NOW)
        await work.factors.remove_totp(user.id)
        assert await work.factors.totp(user.id) is None
        assert await work.factors.codes_left(user.id) == 0


async def test_a_challenge_counts_its_attempts_until_it_is_answered(works: WorkFactory) -> None:
    token = hash_token(new_token())
    challenge = Challenge(token, ChallengeKind.SIGN_IN, "usr_1", "org_1", NOW, b"data")
    async with works.system() as work:
        await work.challenges.add(challenge)
        assert await work.challenges.find_locked(token, ChallengeKind.PASSKEY_SIGN_IN) is None
        assert await work.challenges.find_locked(token, ChallengeKind.SIGN_IN) == challenge
        await work.challenges.count_attempt(challenge)
        tried = await work.challenges.find_locked(token, ChallengeKind.SIGN_IN)
        assert tried == replace(challenge, attempts=1)
        await work.challenges.remove(tried)
        assert await work.challenges.find_locked(token, ChallengeKind.SIGN_IN) is None


async def test_a_passkey_belongs_to_one_person(works: WorkFactory, user: User) -> None:
    first = Passkey(new_token().encode(), user.id, "Phone", b"key", 0, ("internal",), NOW)
    second = replace(first, id=new_token().encode(), name="Key", created_at=NOW + timedelta(days=1))
    async with works.system() as work:
        for passkey in (second, first):
            await work.passkeys.add(passkey)
        await work.commit()
    async with works.system() as work:
        with pytest.raises(PasskeyInvalid):
            await work.passkeys.add(first)
    async with works.system() as work:
        assert list(await work.passkeys.of(user.id)) == [first, second]
        await work.passkeys.used(first.id, 7, at=NOW)
        assert await work.passkeys.find(first.id) == replace(first, sign_count=7, used_at=NOW)
        assert not await work.passkeys.remove("usr_other", first.id)
        assert await work.passkeys.remove(user.id, first.id)
        assert await work.passkeys.find(first.id) is None

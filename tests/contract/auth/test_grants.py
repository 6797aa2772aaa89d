"""What letting programs in relies on, held by the ports in memory and by Postgres alike."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import create_async_engine

from services.auth.adapters.sql import SqlWorkFactory
from services.auth.domain import Membership, Organization, RefreshFamily, Role, User
from services.auth.oauth import Approval, AuthorizationCode, DeviceRequest, hash_secret
from services.auth.ports import WorkFactory
from services.common.db import create_sessionmaker
from services.common.ids import new_id
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


def an_approval() -> Approval:
    return Approval(new_id("usr"), new_id("org"), new_id("rff"), NOW, ("pwd", "otp"))


async def test_a_code_is_found_as_it_was_kept_and_remembers_what_it_bought(works: WorkFactory) -> None:
    code = AuthorizationCode(
        hash_secret(new_id("code")), "shop", "https://x.example/", ("openid",), "c", "n", an_approval(), NOW
    )
    async with works.system() as work:
        assert await work.grants.find_code_locked(code.hash) is None
        await work.grants.add_code(code)
        await work.commit()
    async with works.system() as work:
        assert await work.grants.find_code_locked(code.hash) == code
        await work.grants.redeem_code(code.hash, "rff_1")
        await work.commit()
    async with works.system() as work:
        assert await work.grants.find_code_locked(code.hash) == replace(code, issued_family_id="rff_1")


async def test_a_device_is_found_by_both_codes_until_it_is_removed(works: WorkFactory) -> None:
    hashes = hash_secret(new_id("device")), hash_secret(new_id("code"))
    device = DeviceRequest(*hashes, "deskmesh-cli", ("deskmesh",), NOW + timedelta(minutes=10))
    answered = replace(device, approval=an_approval(), polled_at=NOW, interval_seconds=10)
    async with works.system() as work:
        await work.grants.add_device(device)
        assert await work.grants.find_device_locked(hashes[0]) == device
        await work.grants.update_device(answered)
        await work.commit()
    async with works.system() as work:
        assert await work.grants.find_user_code_locked(hashes[1]) == answered
        await work.grants.update_device(replace(device, denied=True))
        assert await work.grants.find_device_locked(hashes[0]) == replace(device, denied=True)
        await work.grants.remove_device(hashes[0])
        assert await work.grants.find_device_locked(hashes[0]) is None
        assert await work.grants.find_user_code_locked(hashes[1]) is None


async def test_a_sign_in_remembers_its_program(works: WorkFactory) -> None:
    user = User(new_id("usr"), f"{new_id('p')}@example.com", "Ann", "hash", NOW)
    organization = Organization(new_id("org"), new_id("slug"), "A shop", NOW)
    family = RefreshFamily(
        new_id("rff"), user.id, organization.id, NOW, None, NOW, ("pwd",), "shop", ("openid", "email")
    )
    async with works.system() as work:
        await work.organizations.add(organization)
        await work.users.add(user)
        await work.memberships.add(Membership(user, organization.id, (Role.CUSTOMER,), NOW))
        assert await work.refresh_tokens.find_family(family.id) is None
        await work.refresh_tokens.begin(family, hash_secret(family.id), NOW + timedelta(days=1))
        assert await work.refresh_tokens.find_family(family.id) == family
        stored = await work.refresh_tokens.find_locked(hash_secret(family.id))
        assert stored is not None
        assert stored.family == family
        await work.commit()
    async with works.system() as work:
        now = NOW + timedelta(hours=1)
        assert await work.refresh_tokens.families_of_programs(user.id, now) == [family]
        assert await work.refresh_tokens.families_of_programs(new_id("usr"), now) == []
        assert await work.refresh_tokens.families_of_programs(user.id, NOW + timedelta(days=1)) == []
        await work.refresh_tokens.revoke_family(family.id, at=now)
        assert await work.refresh_tokens.families_of_programs(user.id, now) == []


async def test_what_was_granted_and_not_fetched_can_be_withdrawn(works: WorkFactory) -> None:
    approval = an_approval()
    unused, used = (
        AuthorizationCode(hash_secret(new_id("code")), "shop", "https://x.example/", (), "c", "n", approval, NOW)
        for _ in range(2)
    )
    device = DeviceRequest(hash_secret(new_id("device")), hash_secret(new_id("code")), "shop", (), NOW)
    async with works.system() as work:
        for code in (unused, used):
            await work.grants.add_code(code)
        await work.grants.redeem_code(used.hash, "rff_1")
        await work.grants.add_device(device)
        await work.grants.update_device(replace(device, approval=approval))
        await work.grants.withdraw(approval.user_id, "another")
        assert await work.grants.find_code_locked(unused.hash) == unused
        await work.grants.withdraw(approval.user_id, "shop")
        assert await work.grants.find_code_locked(unused.hash) is None
        assert await work.grants.find_device_locked(device.hash) is None
        # One that was used must be known, should it come again.
        assert await work.grants.find_code_locked(used.hash) is not None

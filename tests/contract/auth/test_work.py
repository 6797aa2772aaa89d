"""What the use cases rely on, held by the ports in memory and by Postgres alike."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import create_async_engine

from services.auth.adapters.sql import SqlWorkFactory
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership, Organization, RefreshFamily, Role, User
from services.auth.errors import (
    EmailTaken,
    OrganizationNotFound,
    RoleNameTaken,
    RoleNotFound,
    SlugTaken,
    UserNotFound,
)
from services.auth.groups import GroupRole
from services.auth.identity_providers import IdentityProvider
from services.auth.ports import AuditFilter, WorkFactory
from services.auth.roles import CustomRole
from services.common.context import IdempotencyKey
from services.common.db import create_sessionmaker
from services.common.errors import RequestIdReused
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


def a_user(name: str = "Ann") -> User:
    return User(new_id("usr"), f"{new_id('p')}@example.com", name, "hash", NOW)


def an_organization() -> Organization:
    return Organization(new_id("org"), new_id("slug"), "A shop", NOW)


async def a_member(
    works: WorkFactory, organization: Organization, *roles: Role, name: str = "Ann", days: int = 0
) -> Membership:
    """A member who is kept, with an organization that may be new."""
    membership = Membership(a_user(name), organization.id, roles or (Role.CUSTOMER,), NOW + timedelta(days=days))
    async with works.system() as work:
        try:
            await work.organizations.get(organization.id)
        except OrganizationNotFound:
            await work.organizations.add(organization)
        await work.users.add(membership.user)
        await work.memberships.add(membership)
        await work.commit()
    return membership


async def test_leaving_without_commit_keeps_nothing(works: WorkFactory) -> None:
    user = a_user()
    async with works.system() as work:
        await work.users.add(user)
    async with works.system() as work:
        assert await work.users.find_by_email(user.email) is None


async def test_users_are_found_as_they_were_kept(works: WorkFactory) -> None:
    user = a_user()
    async with works.system() as work:
        await work.users.add(user)
        await work.commit()
    async with works.system() as work:
        assert await work.users.get(user.id) == user
        assert await work.users.find_by_email(user.email) == user
        await work.users.set_password_hash(user.id, "another")
        await work.commit()
    async with works.system() as work:
        assert await work.users.get(user.id) == replace(user, password_hash="another")
        with pytest.raises(UserNotFound):
            await work.users.get("usr_unknown")


async def test_an_address_and_a_slug_are_taken_once(works: WorkFactory) -> None:
    member = await a_member(works, organization := an_organization())
    async with works.system() as work:
        with pytest.raises(EmailTaken):
            await work.users.add(replace(a_user(), email=member.user.email))
    async with works.system() as work:
        with pytest.raises(SlugTaken):
            await work.organizations.add(replace(an_organization(), slug=organization.slug))
    async with works.system() as work:
        assert await work.organizations.get_by_slug(organization.slug) == organization
        with pytest.raises(OrganizationNotFound):
            await work.organizations.get_by_slug("no-such-slug")


async def test_an_address_taken_elsewhere_is_taken_for_a_tenant_that_cannot_see_it(works: WorkFactory) -> None:
    stranger = await a_member(works, an_organization())
    async with works.tenant(new_id("org")) as work:
        assert await work.users.find_by_email(stranger.user.email) is None
        with pytest.raises(EmailTaken):
            await work.users.add(replace(a_user(), email=stranger.user.email))


async def test_a_tenant_sees_itself_and_its_members_only(works: WorkFactory) -> None:
    own, other = an_organization(), an_organization()
    member, stranger = await a_member(works, own), await a_member(works, other)
    async with works.tenant(own.id) as work:
        assert await work.organizations.get(own.id) == own
        assert await work.users.get(member.user.id) == member.user
        assert await work.memberships.find(own.id, member.user.id) == member
        assert await work.memberships.find(other.id, stranger.user.id) is None
        assert await work.memberships.list(other.id, None, None, 10) == []
        with pytest.raises(UserNotFound):
            await work.users.get(stranger.user.id)
        with pytest.raises(OrganizationNotFound):
            await work.organizations.get(other.id)


async def test_members_are_listed_by_name_after_a_name(works: WorkFactory) -> None:
    organization = an_organization()
    cora = await a_member(works, organization, Role.AGENT, name="Cora")
    abel = await a_member(works, organization, Role.AGENT, Role.OWNER, name="Abel")
    bea = await a_member(works, organization, Role.CUSTOMER, name="Bea")
    async with works.tenant(organization.id) as work:
        memberships = work.memberships
        assert await memberships.list(organization.id, None, None, 2) == [abel, bea]
        after = ("Bea", bea.user.id)
        assert await memberships.list(organization.id, None, after, 2) == [cora]
        assert await memberships.list(organization.id, Role.AGENT, None, 10) == [abel, cora]
        assert await memberships.count_owners(organization.id) == 1
        found = await memberships.batch(organization.id, [bea.user.id, "usr_unknown"])
        assert list(found) == [bea]


async def test_memberships_change_and_end(works: WorkFactory) -> None:
    member = await a_member(works, organization := an_organization())
    async with works.tenant(organization.id) as work:
        await work.organizations.lock(organization.id)
        await work.memberships.set_roles(replace(member, roles=(Role.AGENT,)))
        await work.commit()
    async with works.tenant(organization.id) as work:
        assert await work.memberships.find(organization.id, member.user.id) == replace(member, roles=(Role.AGENT,))
        await work.memberships.remove(organization.id, member.user.id)
        await work.commit()
    async with works.system() as work:
        assert await work.memberships.oldest_of(member.user.id) is None


async def test_what_groups_gave_is_known_from_what_was_granted_by_hand(works: WorkFactory) -> None:
    member = await a_member(works, shop := an_organization(), Role.CUSTOMER)
    await a_member(works, shop, Role.AGENT, name="Bob")
    role = CustomRole.new(shop.id, "Auditor", "", ["audit.read"], at=NOW)
    given = replace(member.with_groups([Role.AGENT], [role.id]), custom_permissions=role.permissions)
    async with works.tenant(shop.id) as work:
        assert await work.memberships.by_groups(shop.id) == []
        await work.roles.add(role)
        await work.memberships.set_roles(given)
        await work.commit()
    async with works.tenant(shop.id) as work:
        assert await work.memberships.by_groups(shop.id) == [given]
        assert await work.memberships.find(shop.id, member.user.id) == given
        await work.memberships.set_roles(member)
        await work.commit()
    async with works.tenant(shop.id) as work:
        assert await work.memberships.by_groups(shop.id) == []


@pytest.mark.parametrize("rules", [(), (GroupRole("a=b", Role.AGENT), GroupRole("ü", None, "rol_1"))], ids=len)
async def test_a_provider_is_found_as_it_was_kept(works: WorkFactory, rules: tuple[GroupRole, ...]) -> None:
    shop = (await a_member(works, an_organization())).organization_id
    claim = "groups" if rules else ""
    provider = IdentityProvider(
        shop,
        "Acme",
        f"https://{shop}",
        "desk",
        b"s",
        ("a.example",),
        ("keys.a.example",),
        creates_users=True,
        role=Role.AGENT,
        updated_at=NOW,
        groups_claim=claim,
        group_roles=rules,
    )
    async with works.tenant(shop) as work:
        await work.identity_providers.put(provider)
        await work.commit()
    async with works.system() as work:
        assert await work.identity_providers.find(shop) == provider
        assert await work.identity_providers.of_issuer(provider.issuer) == [provider]


async def test_the_oldest_membership_is_found(works: WorkFactory) -> None:
    newer = await a_member(works, an_organization(), days=2)
    older = an_organization()
    async with works.system() as work:
        await work.organizations.add(older)
        await work.memberships.add(Membership(newer.user, older.id, (Role.AGENT,), NOW))
        await work.commit()
    async with works.system() as work:
        oldest = await work.memberships.oldest_of(newer.user.id)
    assert oldest
    assert oldest.organization_id == older.id


async def test_refresh_tokens_are_spent_and_families_revoked(works: WorkFactory) -> None:
    member = await a_member(works, organization := an_organization())
    family = RefreshFamily(new_id("rff"), member.user.id, organization.id, NOW)
    first, second, third = (new_id("hash").encode() for _ in range(3))
    expires_at = NOW + timedelta(days=1)
    async with works.system() as work:
        await work.refresh_tokens.begin(family, first, expires_at)
        await work.commit()
    for old, new in ((first, second), (second, third)):
        async with works.system() as work:
            stored = await work.refresh_tokens.find_locked(old)
            assert stored
            assert (stored.family, stored.spent_at, stored.successor_spent) == (family, None, False)
            await work.refresh_tokens.spend(stored, new, expires_at, at=NOW)
            await work.commit()
    async with works.system() as work:
        spent = await work.refresh_tokens.find_locked(first)
        assert spent
        assert (spent.spent_at, spent.successor_spent) == (NOW, True)
        assert await work.refresh_tokens.find_locked(b"unknown") is None
        await work.refresh_tokens.revoke_family(family.id, at=NOW)
        await work.commit()
    async with works.system() as work:
        revoked = await work.refresh_tokens.find_locked(third)
        assert revoked
        assert not revoked.is_live(NOW)


async def test_all_sign_ins_of_a_member_end_together(works: WorkFactory) -> None:
    member = await a_member(works, organization := an_organization())
    hashes = [new_id("hash").encode() for _ in range(2)]
    async with works.system() as work:
        for token_hash in hashes:
            family = RefreshFamily(new_id("rff"), member.user.id, organization.id, NOW)
            await work.refresh_tokens.begin(family, token_hash, NOW + timedelta(days=1))
        await work.commit()
    async with works.tenant(organization.id) as work:
        await work.refresh_tokens.revoke_member(organization.id, member.user.id, at=NOW)
        await work.commit()
    async with works.system() as work:
        found = [await work.refresh_tokens.find_locked(token_hash) for token_hash in hashes]
    assert [stored is not None and stored.family.revoked_at for stored in found] == [NOW, NOW]


async def test_a_request_id_stands_for_what_it_made(works: WorkFactory) -> None:
    organization_id = new_id("org")
    key = IdempotencyKey("req-12345", "/a.B/C", b"fingerprint")
    async with works.tenant(organization_id) as work:
        assert await work.requests.claim(key, "usr_1") is None
        await work.commit()
    async with works.tenant(organization_id) as work:
        assert await work.requests.claim(key, "usr_2") == "usr_1"
        with pytest.raises(RequestIdReused):
            await work.requests.claim(replace(key, fingerprint=b"other"), "usr_2")
    async with works.tenant(new_id("org")) as work:
        assert await work.requests.claim(key, "usr_3") is None


async def test_the_log_keeps_what_was_committed_for_its_organization(works: WorkFactory) -> None:
    organization_id, other = new_id("org"), new_id("org")
    first, second, third = (
        AuditEvent.of(
            kind, organization_id, at=NOW + timedelta(hours=hour), actor_id=f"usr_{hour}", details={"hour": str(hour)}
        )
        for hour, kind in enumerate((EventType.SIGN_IN, EventType.SIGN_OUT, EventType.SIGN_IN))
    )
    async with works.system() as work:
        await work.audit.add(first)
        await work.audit.add(second)
        await work.commit()
        await work.audit.add(third)
    everything = AuditFilter(organization_id)
    async with works.tenant(organization_id) as work:
        assert await work.audit.list(everything, "", 10) == [second, first]
        assert await work.audit.list(everything, second.id, 10) == [first]
        assert await work.audit.list(everything, "", 1) == [second]
        assert await work.audit.list(replace(everything, types=(EventType.SIGN_IN,)), "", 10) == [first]
        assert await work.audit.list(replace(everything, actor_id="usr_1"), "", 10) == [second]
        assert await work.audit.list(replace(everything, subject_id="usr_1"), "", 10) == []
        assert await work.audit.list(replace(everything, since=second.occurred_at), "", 10) == [second]
        assert await work.audit.list(replace(everything, until=second.occurred_at), "", 10) == [first]
    async with works.tenant(other) as work:
        assert await work.audit.list(everything, "", 10) == []


async def test_custom_roles_are_kept_and_count_for_who_holds_them(works: WorkFactory) -> None:
    member = await a_member(works, organization := an_organization())
    role = CustomRole.new(organization.id, "Auditor", "Reads", ["audit.read", "members.read"], at=NOW)
    held = replace(member, custom_role_ids=(role.id,), custom_permissions=role.permissions)
    async with works.tenant(organization.id) as work:
        await work.roles.add(role)
        await work.memberships.set_roles(held)
        await work.commit()
    async with works.tenant(organization.id) as work:
        assert await work.roles.get(role.id) == role
        assert list(await work.roles.list()) == [role]
        assert list(await work.roles.holders(role.id, 5)) == [member.user.id]
        assert await work.memberships.find(organization.id, member.user.id) == held
        with pytest.raises(RoleNameTaken):
            await work.roles.add(CustomRole.new(organization.id, "AUDITOR", "", ["audit.read"], at=NOW))
    changed = role.changed("Reader", "", ["articles.read"], at=NOW + timedelta(days=1))
    async with works.tenant(organization.id) as work:
        await work.roles.update(changed)
        await work.commit()
    async with works.system() as work:
        oldest = await work.memberships.oldest_of(member.user.id)
        assert oldest
        assert oldest.custom_permissions == {"articles.read"}
    async with works.tenant(new_id("org")) as work:
        assert list(await work.roles.list()) == []
        with pytest.raises(RoleNotFound):
            await work.roles.get(role.id)
    async with works.tenant(organization.id) as work:
        await work.memberships.set_roles(member)
        await work.roles.delete(role.id)
        await work.commit()
    async with works.tenant(organization.id) as work:
        assert list(await work.roles.list()) == []

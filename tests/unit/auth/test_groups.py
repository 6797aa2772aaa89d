"""Roles that groups at an organization's provider give: gained and lost at each sign-in, on ports in memory."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.auth.audit import EventType
from services.auth.domain import Membership, Role
from services.auth.errors import PermissionNotHeld, RoleInUse, RoleNotFound
from services.auth.groups import MOST_GROUPS, GroupRole, GroupsUnreadable, groups_in
from services.auth.roles import CustomRole, Granter
from services.auth.usecases.identity_links import IdentityLinks
from services.auth.usecases.members import Members
from services.auth.usecases.opening import SignedIn
from services.auth.usecases.roles import Roles
from services.common.permissions import permissions_of
from services.common.revocations import membership_subject
from tests.unit.auth.test_provider_sign_in import ACME, ANN, House

RULES = (GroupRole("desk", Role.AGENT), GroupRole("leads", Role.SUPERVISOR), GroupRole("leads", None, "rol_1"))


class Groups(House):
    """An organization whose groups give roles, and newcomers who are customers."""

    def __init__(self) -> None:
        super().__init__()
        self.members = Members(self.desk.work, self.desk.passwords, self.desk.announcer, self.desk.clock)
        self.here = ""

    async def opened(self, *rules: GroupRole) -> None:
        owner = await self.open(role=Role.CUSTOMER)
        self.here = owner.principal.organization.id
        role = CustomRole.new(self.here, "Auditor", "", ["audit.read"], at=self.desk.now)
        self.desk.work.store.roles["rol_1"] = replace(role, id="rol_1")
        await self.change(*rules or RULES)

    async def change(self, *rules: GroupRole, by: Granter = ANN, **settings: Any) -> None:
        changed = replace(ACME, role=Role.CUSTOMER, group_roles=rules, **settings)
        await self.providers.set(self.here, changed, by)

    async def come(self, *groups: str) -> SignedIn:
        """Sign in as somebody who is in these groups, a moment later."""
        self.desk.now += timedelta(seconds=1)
        self.says(groups=frozenset(groups))
        return await self.enter()

    def place(self, entered: SignedIn) -> Membership:
        return self.desk.work.store.memberships[self.here, entered.principal.user.id]

    def ended(self, entered: SignedIn) -> int:
        """How often the tokens that say what somebody was were ended."""
        subject = membership_subject(self.here, entered.principal.user.id)
        return sum(one.subject == subject for one in self.desk.announcer.announced)


@pytest.fixture
def house() -> Groups:
    return Groups()


async def test_groups_give_and_take_roles_at_each_sign_in(house: Groups) -> None:
    await house.opened()
    entered = await house.come("leads", "desk", "unheard of")
    assert entered.principal.roles == (Role.CUSTOMER, Role.AGENT, Role.SUPERVISOR)
    assert entered.principal.custom_permissions == {"audit.read"}
    place = house.place(entered)
    assert (place.group_roles, place.group_custom_role_ids) == ((Role.AGENT, Role.SUPERVISOR), ("rol_1",))
    event = next(one for one in house.desk.work.store.events if one.type is EventType.MEMBER_ROLES_CHANGED)
    assert event.subject_id == entered.principal.user.id
    assert event.details == {
        "before": "customer",
        "after": "customer,agent,supervisor,rol_1",
        "groups_of": ACME.issuer,
    }
    before = house.ended(entered)
    assert (await house.come("desk", "leads")).principal.roles == entered.principal.roles
    # Nothing changed, so nobody has to fetch anything anew.
    assert house.ended(entered) == before
    lost = await house.come("desk")
    assert (lost.principal.roles, lost.principal.custom_permissions) == ((Role.CUSTOMER, Role.AGENT), frozenset())
    assert house.ended(entered) == before + 1
    # The roles that a token says were ended at the moment they changed.
    assert house.desk.announcer.announced[-1].not_before == house.desk.now.timestamp()
    assert (await house.come()).principal.roles == (Role.CUSTOMER,)


async def test_what_was_granted_by_hand_stays(house: Groups) -> None:
    await house.opened()
    entered = await house.come("leads")
    user_id = entered.principal.user.id
    await house.members.set_roles(house.here, user_id, [Role.AGENT, Role.SUPERVISOR], ["rol_1"], ANN)
    # Those that were there already by groups still are; the one that came is by hand.
    assert house.place(entered).group_roles == (Role.SUPERVISOR,)
    assert house.place(entered).group_custom_role_ids == ("rol_1",)
    assert (await house.come("desk", "leads")).principal.roles == (Role.AGENT, Role.SUPERVISOR)
    assert (await house.come()).principal.roles == (Role.AGENT,)


async def test_who_is_left_with_nothing_is_a_customer(house: Groups) -> None:
    await house.opened()
    entered = await house.come("desk")
    await house.members.set_roles(house.here, entered.principal.user.id, [Role.AGENT], [], ANN)
    for _ in range(2):
        assert (await house.come()).principal.roles == (Role.CUSTOMER,)
        assert (await house.come("desk")).principal.roles == (Role.AGENT,)


async def test_an_owner_stays_one_whatever_groups_say(house: Groups) -> None:
    await house.opened()
    entered = await house.come("desk")
    user_id = entered.principal.user.id
    await house.members.set_roles(house.here, user_id, [Role.OWNER, Role.AGENT], [], ANN)
    # The last one, too.
    for place in list(house.desk.work.store.memberships.values()):
        if place.user.id != user_id:
            del house.desk.work.store.memberships[house.here, place.user.id]
    assert (await house.come()).principal.roles == (Role.OWNER,)
    assert (await house.come("desk")).principal.roles == (Role.AGENT, Role.OWNER)
    # A rule that was never to be there gives nothing.
    place = house.place(entered)
    assert place.with_groups([Role.OWNER], []).group_roles == ()


async def test_a_role_that_no_group_gives_any_more_is_taken_at_once(house: Groups) -> None:
    await house.opened()
    entered = await house.come("desk", "leads")
    before = house.ended(entered)
    await house.change(RULES[0])
    assert house.place(entered).roles == (Role.CUSTOMER, Role.AGENT)
    assert house.place(entered).custom_role_ids == ()
    assert house.ended(entered) == before + 1
    await house.change(RULES[0], GroupRole("more", Role.AGENT))
    assert house.ended(entered) == before + 1
    # Another provider's groups are others, though they be called the same.
    await house.change(RULES[0], issuer="https://id.other.example", client_secret="another")
    assert house.place(entered).roles == (Role.CUSTOMER,)


async def test_what_groups_gave_ends_with_the_provider_and_with_the_link(house: Groups) -> None:
    await house.opened()
    entered = await house.come("desk")
    links = IdentityLinks(house.desk.work, house.desk.announcer, house.desk.clock)
    await links.remove_all(house.here, entered.principal.user.id, [Role.OWNER])
    assert house.place(entered).roles == (Role.CUSTOMER,)
    assert house.ended(entered)
    house.says(subject="sub-2", email="bob@acme.example")
    other = await house.come("leads")
    await house.providers.remove(house.here)
    assert (house.place(other).roles, house.place(other).custom_role_ids) == ((Role.CUSTOMER,), ())
    assert house.ended(other)


async def test_nobody_lets_a_group_do_more_than_they_may(house: Groups) -> None:
    await house.opened()
    configurer = Granter("usr_c", ("agent",), permissions_of(("agent", "+identity_providers.write")))
    for rule in (GroupRole("all", Role.ADMIN), GroupRole("all", None, "rol_1")):
        with pytest.raises(PermissionNotHeld):
            await house.change(*RULES, rule, by=configurer)
    # What others gave stays, and what one holds oneself may be added.
    await house.change(*RULES, GroupRole("all", Role.AGENT), by=configurer)
    # Read from another claim, what stands in it may be anything.
    with pytest.raises(PermissionNotHeld):
        await house.change(*RULES, by=configurer, groups_claim="teams")
    with pytest.raises(PermissionNotHeld):
        await house.providers.set(house.here, replace(ACME, role=Role.ADMIN), configurer)
    with pytest.raises(RoleNotFound):
        await house.change(GroupRole("all", None, "rol_made_up"))


async def test_a_role_that_a_group_gives_is_not_deleted(house: Groups) -> None:
    await house.opened()
    roles = Roles(house.desk.work, house.desk.announcer, house.desk.clock, {})
    with pytest.raises(RoleInUse):
        await roles.delete(house.here, "rol_1")
    await house.change(RULES[0])
    await roles.delete(house.here, "rol_1")


@pytest.mark.parametrize(
    ("claims", "groups"),
    [
        ({}, set()),
        ({"groups": None}, set()),
        ({"groups": []}, set()),
        ({"groups": "desk"}, {"desk"}),
        ({"groups": ["desk", "leads", "desk", ""]}, {"desk", "leads", ""}),
        ({"groups": [str(n) for n in range(MOST_GROUPS)]}, {str(n) for n in range(MOST_GROUPS)}),
        ({"groups": ["desk"], "_claim_names": {"groups": "src1"}}, {"desk"}),
        ({"_claim_names": ["groups"]}, set()),
    ],
    ids=lambda value: str(value)[:40],
)
def test_groups_that_can_be_read(claims: Mapping[str, object], groups: set[str]) -> None:
    assert groups_in(claims, "groups") == groups


@pytest.mark.parametrize(
    "claims",
    [
        {"groups": 5},
        {"groups": True},
        {"groups": {"desk": True}},
        {"groups": ["desk", 5]},
        {"groups": ["desk", None]},
        {"groups": [["desk"]]},
        {"groups": [{"value": "desk"}]},
        {"groups": [str(n) for n in range(MOST_GROUPS + 1)]},
        {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://evil.example"}}},
    ],
    ids=lambda value: str(value)[:40],
)
def test_groups_that_cannot(claims: Mapping[str, object]) -> None:
    with pytest.raises(GroupsUnreadable):
        groups_in(claims, "groups")

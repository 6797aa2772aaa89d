"""Signing in by an organization's provider: whose word counts for what, on ports in memory."""

from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from services.auth.audit import EventType
from services.auth.domain import Membership, Role
from services.auth.errors import CredentialsInvalid, OnlyOwners, RefreshTokenInvalid, UserNotFound
from services.auth.groups import GroupRole
from services.auth.identity_providers import NEVER, Assertion, IdentityProvider, SignedOut
from services.auth.oauth import Refused
from services.auth.provider_errors import (
    IdentityNotAllowed,
    IdentityNotLinked,
    IdentityProviderNotFound,
    ProviderSignInInvalid,
    ProviderSignInRefused,
)
from services.auth.roles import Granter
from services.auth.usecases.identity_links import IdentityLinks, Unlinked
from services.auth.usecases.identity_providers import IdentityProviders, Settings
from services.auth.usecases.opening import SignedIn
from services.auth.usecases.places import Person, Places
from services.auth.usecases.provider_sign_in import LIFETIME, ProviderSignIns
from services.auth.usecases.provider_sign_out import ProviderSignOuts
from services.auth.usecases.sessions import SignIn
from services.common.errors import InvalidInput, PermissionDenied
from services.common.permissions import EVERY_PERMISSION
from tests.unit.auth.factor_fakes import FakeEnvelope
from tests.unit.auth.provider_fakes import FakeExternal
from tests.unit.auth.test_usecases import Desk

ACME = Settings(
    "Acme", "https://id.acme.example", "desk", "a secret", ("acme.example",), (), creates_users=True, role=Role.AGENT
)

# An owner holds everything.
ANN = Granter("usr_ann", ("owner",), EVERY_PERMISSION)


class House:
    """An organization, its provider and the desk where people come in."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.external = FakeExternal()
        self.openings = self.desk.openings
        common = (self.desk.work, self.external, FakeEnvelope())
        self.providers = IdentityProviders(*common, self.desk.announcer, self.desk.clock)
        self.sign_ins = ProviderSignIns(
            *common,
            self.desk.passwords,
            self.openings,
            self.desk.allowances,
            self.desk.announcer,
            self.desk.clock,
            public_url="https://desk.example",
        )

    async def open(self, **changes: object) -> SignedIn:
        """Found the organization and set up its provider; returns the owner."""
        owner = await self.desk.founder()
        settings = replace(ACME, **changes)  # type: ignore[arg-type]
        await self.providers.set(owner.principal.organization.id, settings, ANN)
        return owner

    async def begin(self, slug: str = "shop") -> tuple[str, str]:
        """The token of an attempt, and the query that comes back."""
        url, token = await self.sign_ins.begin(slug, "place")
        return token, f"code=c&state={parse_qs(urlsplit(url).query)['state'][0]}"

    async def enter(self) -> SignedIn:
        return await self.sign_ins.finish(*await self.begin())

    def says(self, **changes: object) -> None:
        assert isinstance(self.external.says, Assertion)
        self.external.says = replace(self.external.says, **changes)  # type: ignore[arg-type]

    @property
    def log(self) -> list[EventType]:
        return [event.type for event in self.desk.work.store.events]


@pytest.fixture
def house() -> House:
    return House()


async def test_who_comes_for_the_first_time_gets_an_account_and_is_known_then(house: House) -> None:
    owner = await house.open()
    assert await house.sign_ins.name_of("shop") == "Acme"
    first = await house.enter()
    assert (first.principal.user.email, first.principal.roles) == ("eve@acme.example", (Role.AGENT,))
    assert first.principal.organization == owner.principal.organization
    assert house.log[-3:] == [EventType.SIGN_UP, EventType.IDENTITY_LINKED, EventType.SIGN_IN]
    house.says(email="eve.married@acme.example", name="Eve M.")
    again = await house.enter()
    assert again.principal.user.id == first.principal.user.id
    assert house.external.secrets == ["a secret"] * 2
    # No password signs in to it until its holder makes one by a letter.
    with pytest.raises(CredentialsInvalid):
        await house.desk.sessions.sign_in(SignIn("eve@acme.example", "", "shop", "place"))


async def test_the_word_of_a_provider_is_no_proof_of_ones_own(house: House) -> None:
    await house.open()
    entered = await house.enter()
    assert (entered.family.authenticated_at, entered.family.methods) == (NEVER, ("fed",))
    account = house.desk.work.store.accounts[entered.principal.user.id]
    assert account.email_verified_at is None
    me = Person(entered.principal.user.id, NEVER.timestamp(), ("fed",), entered.family.id)
    places = Places(house.desk.work, house.openings, house.desk.clock)
    with pytest.raises(PermissionDenied):
        await places.switch(me, "shop")
    with pytest.raises(PermissionDenied):
        await places.list(me)


@pytest.mark.parametrize("role", [Role.OWNER, Role.CUSTOMER])
async def test_an_account_that_is_there_is_never_taken_over_by_its_address(house: House, role: Role) -> None:
    owner = await house.open()
    place = Membership(owner.principal.user, owner.principal.organization.id, (role,), house.desk.now)
    house.desk.work.store.memberships[place.organization_id, place.user.id] = place
    await house.providers.set(place.organization_id, replace(ACME, email_domains=("example.com",)), ANN)
    house.says(email=owner.principal.user.email)
    with pytest.raises(IdentityNotLinked):
        await house.enter()
    assert not house.desk.work.store.identities
    assert house.desk.work.store.events[-1].details == {"issuer": ACME.issuer, "because": "IDENTITY_NOT_LINKED"}


async def test_its_holder_links_it_and_comes_in_by_it_then(house: House) -> None:
    owner = await house.open()
    me = owner.principal.organization.id, owner.principal.user.id
    url, token = await house.sign_ins.begin_link(*me, "place")
    answer = f"code=c&state={parse_qs(urlsplit(url).query)['state'][0]}"
    # It is no attempt to sign in, and it is nobody else's.
    with pytest.raises(ProviderSignInInvalid):
        await house.sign_ins.finish(token, answer)
    await house.sign_ins.finish_link(*me, token, answer)
    entered = await house.enter()
    assert (entered.principal.user.id, entered.family.authenticated_at) == (me[1], NEVER)
    url, token = await house.sign_ins.begin_link(*me, "place")
    answer = f"code=c&state={parse_qs(urlsplit(url).query)['state'][0]}"
    with pytest.raises(ProviderSignInInvalid):
        await house.sign_ins.finish_link(me[0], "usr_another", token, answer)


async def test_an_identity_stands_for_one_account(house: House) -> None:
    owner = await house.open()
    await house.enter()
    me = owner.principal.organization.id, owner.principal.user.id
    url, token = await house.sign_ins.begin_link(*me, "place")
    with pytest.raises(IdentityNotAllowed):
        await house.sign_ins.finish_link(*me, token, f"code=c&state={parse_qs(urlsplit(url).query)['state'][0]}")


@pytest.mark.parametrize(
    ("said", "because"),
    [
        ({"email_verified": False}, "email_unverified"),
        ({"email": ""}, "email_unverified"),
        ({"email": "eve@elsewhere.example"}, "email_domain"),
        ({"email": "eve@sub.acme.example"}, "email_domain"),
        ({"email": "eve@acme.example.evil.example"}, "email_domain"),
    ],
    ids=str,
)
async def test_only_verified_addresses_of_the_domains_are_let_in(
    house: House, said: dict[str, object], because: str
) -> None:
    await house.open()
    await house.enter()
    # Also whoever is known already.
    house.says(**said)
    with pytest.raises(IdentityNotAllowed) as caught:
        await house.enter()
    assert caught.value.metadata == {"because": because}
    assert house.log[-1] is EventType.SIGN_IN_FAILED


async def test_who_left_does_not_come_back_by_the_provider(house: House) -> None:
    await house.open()
    entered = await house.enter()
    store = house.desk.work.store
    del store.memberships[entered.principal.organization.id, entered.principal.user.id]
    with pytest.raises(IdentityNotAllowed) as caught:
        await house.enter()
    assert caught.value.metadata == {"because": "left"}


async def test_without_accounts_for_newcomers_they_stay_out(house: House) -> None:
    await house.open(creates_users=False)
    with pytest.raises(IdentityNotAllowed) as caught:
        await house.enter()
    assert caught.value.metadata == {"because": "unknown"}
    assert len(house.desk.work.store.users) == 1


async def test_another_organization_with_the_same_provider_knows_nobody_of_the_first(house: House) -> None:
    await house.open()
    await house.enter()
    other = await house.desk.founder("bob@example.com", "other")
    await house.providers.set(other.principal.organization.id, ACME, ANN)
    token, answer = await house.begin("other")
    with pytest.raises(IdentityNotLinked):
        await house.sign_ins.finish(token, answer)


async def test_an_attempt_is_answered_once_and_in_time(house: House) -> None:
    await house.open()
    token, answer = await house.begin()
    await house.sign_ins.finish(token, answer)
    late = await house.begin()
    house.desk.now += LIFETIME
    for attempt in ((token, answer), late, ("made-up", answer), (token, answer + "&state=x"), (token, "code")):
        with pytest.raises(ProviderSignInInvalid):
            await house.sign_ins.finish(*attempt)


async def test_what_was_asked_of_one_provider_is_not_answered_by_another(house: House) -> None:
    owner = await house.open()
    attempt = await house.begin()
    await house.providers.set(
        owner.principal.organization.id, replace(ACME, issuer="https://id.evil.example", client_secret="another"), ANN
    )
    with pytest.raises(ProviderSignInInvalid):
        await house.sign_ins.finish(*attempt)
    assert house.external.secrets == []


async def test_a_refusal_there_is_logged(house: House) -> None:
    await house.open()
    house.external.says = ProviderSignInRefused()
    with pytest.raises(ProviderSignInRefused):
        await house.enter()
    assert house.log[-1] is EventType.SIGN_IN_FAILED


async def test_without_a_provider_there_is_nothing_to_begin(house: House) -> None:
    await house.desk.founder()
    assert await house.sign_ins.name_of("shop") == await house.sign_ins.name_of("nowhere") == ""
    for slug in ("shop", "nowhere"):
        with pytest.raises(IdentityProviderNotFound):
            await house.sign_ins.begin(slug, "place")
    assert ("provider", "place") in house.desk.allowances.taken


async def test_removing_it_ends_what_rests_on_it_alone(house: House) -> None:
    owner = await house.open()
    entered = await house.enter()
    proved = await house.enter()
    family = replace(proved.family, methods=("pwd",), authenticated_at=house.desk.now)
    house.desk.work.store.families[family.id] = family
    assert await house.providers.remove(owner.principal.organization.id) == 1
    with pytest.raises(RefreshTokenInvalid):
        await house.desk.sessions.refresh(entered.tokens.refresh)
    assert await house.desk.sessions.refresh(proved.tokens.refresh)
    assert house.log[-1] is EventType.IDENTITY_PROVIDER_REMOVED
    with pytest.raises(IdentityProviderNotFound):
        await house.providers.get(owner.principal.organization.id)
    with pytest.raises(IdentityProviderNotFound):
        await house.providers.remove(owner.principal.organization.id)


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "http://id.acme.example"},
        {"issuer": "https://id.acme.example/?x=1"},
        {"issuer": "https://id.acme.example/#x"},
        {"issuer": "https://a@id.acme.example"},
        {"issuer": "https:///"},
        {"issuer": "https://id.acme.example:port"},
        {"name": "  "},
        {"role": Role.OWNER},
        {"group_roles": (GroupRole("boss", Role.OWNER),)},
        {"group_roles": (GroupRole("boss", Role.ADMIN),), "groups_claim": "sub"},
        {"client_secret": ""},
    ],
    ids=str,
)
async def test_what_cannot_be_set_up(house: House, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        await house.open(**changes)
    assert house.external.checked == []


async def test_a_secret_stays_with_its_provider(house: House) -> None:
    owner = await house.open()
    here = owner.principal.organization.id
    kept = await house.providers.set(here, replace(ACME, client_secret="", name="Acme Inc."), ANN)
    assert kept.sealed_secret == house.desk.work.store.providers[here].sealed_secret
    for changes in ({"issuer": "https://id.evil.example"}, {"client_id": "another"}):
        changed = replace(ACME, client_secret="", **changes)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            await house.providers.set(here, changed, ANN)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://id.acme.example/token", True),
        ("https://ID.acme.example/token", True),
        ("https://keys.acme.example/jwks", True),
        ("http://id.acme.example/token", False),
        ("https://id.acme.example:8443/token", False),
        ("https://keys.acme.example:8443/jwks", False),
        ("https://id.acme.example@evil.example/token", False),
        ("https://evil.example/token", False),
        ("https://id.acme.example.evil.example/token", False),
        ("https://169.254.169.254/", False),
        ("file:///etc/passwd", False),
        ("https://id.acme.example /token", False),
        ("nonsense", False),
    ],
)
def test_only_the_providers_own_hosts_are_asked(url: str, allowed: bool) -> None:
    provider = IdentityProvider(
        "org",
        "Acme",
        ACME.issuer,
        "desk",
        b"",
        (),
        ("keys.acme.example",),
        creates_users=True,
        role=Role.AGENT,
        updated_at=NEVER,
    )
    assert provider.may_ask(url) is allowed


async def linked(house: House, owner: SignedIn, subject: str) -> None:
    """Link the owner with somebody there."""
    me = owner.principal.organization.id, owner.principal.user.id
    house.says(subject=subject)
    url, token = await house.sign_ins.begin_link(*me, "place")
    await house.sign_ins.finish_link(*me, token, f"code=c&state={parse_qs(urlsplit(url).query)['state'][0]}")


async def test_an_identity_that_was_removed_signs_in_no_more(house: House) -> None:
    owner = await house.open()
    me = owner.principal.organization.id, owner.principal.user.id
    await linked(house, owner, "sub-1")
    await linked(house, owner, "sub-2")
    entered = await house.enter()
    links = IdentityLinks(house.desk.work, house.desk.announcer, house.desk.clock)
    assert [(one.identity.subject, one.active) for one in await links.of(*me)] == [("sub-1", True), ("sub-2", True)]
    # What is not one's own, or not there, changes nothing.
    for somebody, subject in (("usr_another", "sub-2"), (me[1], "sub-3")):
        assert await links.remove(me[0], somebody, ACME.issuer, subject) == Unlinked(0, 0)
    assert await links.remove(*me, ACME.issuer, "sub-2") == Unlinked(1, 1)
    assert house.log[-1] is EventType.IDENTITY_UNLINKED
    assert entered.family.id in {revoked.subject for _, revoked in house.desk.work.store.revoked}
    with pytest.raises(RefreshTokenInvalid):
        await house.desk.sessions.refresh(entered.tokens.refresh)
    assert await house.desk.sessions.refresh(owner.tokens.refresh)
    # The account is not taken over by its address afterwards.
    await house.providers.set(me[0], replace(ACME, email_domains=("example.com",)), ANN)
    house.says(email=owner.principal.user.email)
    with pytest.raises(IdentityNotLinked):
        await house.enter()
    house.says(subject="sub-1")
    assert (await house.enter()).principal.user.id == me[1]


async def test_an_identity_of_a_provider_before_does_not_count(house: House) -> None:
    owner = await house.open()
    await linked(house, owner, "sub-1")
    here = owner.principal.organization.id
    await house.providers.set(here, replace(ACME, issuer="https://id.other.example", client_secret="another"), ANN)
    links = IdentityLinks(house.desk.work, house.desk.announcer, house.desk.clock)
    assert [one.active for one in await links.of(here, owner.principal.user.id)] == [False]


async def test_who_administers_members_removes_their_links_but_owners_only_those_of_owners(house: House) -> None:
    owner = await house.open()
    here = owner.principal.organization.id
    newcomer = await house.enter()
    await linked(house, owner, "sub-2")
    links = IdentityLinks(house.desk.work, house.desk.announcer, house.desk.clock)
    with pytest.raises(OnlyOwners):
        await links.remove_all(here, owner.principal.user.id, [Role.ADMIN])
    with pytest.raises(UserNotFound):
        await links.remove_all(here, "usr_nobody", [Role.OWNER])
    assert await links.remove_all(here, newcomer.principal.user.id, [Role.ADMIN]) == Unlinked(1, 1)
    assert await links.remove_all(here, owner.principal.user.id, [Role.OWNER]) == Unlinked(1, 0)
    assert not house.desk.work.store.identities


async def test_signing_out_there_ends_what_began_before_in_the_organizations_that_hear_it(house: House) -> None:
    owner = await house.open()
    here = owner.principal.organization.id
    before = await house.enter()
    desk = house.desk
    sign_outs = ProviderSignOuts(desk.work, house.external, desk.allowances, desk.announcer, desk.clock)
    for token in ("", "https://id.nobody.example", ACME.issuer):
        with pytest.raises(Refused):
            await sign_outs.end(token, "place")
    house.external.sign_outs[here] = SignedOut("sub-1", desk.now.timestamp() + 60)
    desk.now += timedelta(seconds=61)
    after = await house.enter()
    # Another organization signs in by the same provider, for which this token does not hold.
    other = await desk.founder("bob@example.com", "other")
    await house.providers.set(other.principal.organization.id, ACME, ANN)
    assert await sign_outs.end(ACME.issuer, "place") == 1
    assert house.log[-1] is EventType.SIGN_OUT
    with pytest.raises(RefreshTokenInvalid):
        await desk.sessions.refresh(before.tokens.refresh)
    assert await desk.sessions.refresh(after.tokens.refresh)
    # Again, it ends nothing more; and it is about nobody whom no account stands for.
    assert await sign_outs.end(ACME.issuer, "place") == 0
    house.external.sign_outs[here] = SignedOut("sub-9", desk.now.timestamp() + 60)
    assert await sign_outs.end(ACME.issuer, "place") == 0
    assert ("provider-sign-out", "place") in desk.allowances.taken

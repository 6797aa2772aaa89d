"""Keys on ports in memory: when they end, what they may, how uses and refusals are kept."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.adapters.api_keys import BatchedKeyUses
from services.auth.api_key_errors import ApiKeyInvalid
from services.auth.api_keys import MAXIMUM_LIVE_KEYS, ApiKey, effective
from services.auth.audit import EventType
from services.auth.domain import Membership, Organization, Role, User
from services.auth.errors import QuotaReached
from services.auth.roles import Granter
from services.auth.usecases.api_keys import Holder, Keys, NewKey
from services.common.api_keys import hash_key, is_well_formed, new_key
from services.common.permissions import EVERY_PERMISSION, permissions_of
from tests.unit.auth.account_fakes import FakeAnnouncer
from tests.unit.auth.credential_fakes import FakeAccessTokens
from tests.unit.auth.fakes import FakeWorkFactory

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Desk:
    """The use cases on fakes, with an owner."""

    def __init__(self) -> None:
        self.now = NOW
        self.work = FakeWorkFactory()
        self.announcer = FakeAnnouncer()
        self.uses = BatchedKeyUses(self.work)
        self.keys = Keys(self.work, FakeAccessTokens(), self.uses, self.announcer, lambda: self.now, EVERY_PERMISSION)
        user = User("usr_1", "ann@example.com", "Ann", "hash", NOW)
        self.work.store.users[user.id] = user
        self.work.store.organizations["org_1"] = Organization("org_1", "shop", "Shop", NOW)
        self.work.store.memberships["org_1", user.id] = Membership(user, "org_1", (Role.OWNER,), NOW)
        self.holder = Holder("org_1", Granter(user.id, ("owner",), permissions_of(("owner",))), own_only=False)

    async def make(self, lifetime: timedelta | None = None) -> tuple[ApiKey, str]:
        return await self.keys.create(self.holder, NewKey("A key", "", ("tickets.read",), (), lifetime))

    async def exchange(self, secret: str) -> str:
        return (await self.keys.exchange(hash_key(secret), "")).token.value


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_key_holds_ninety_days_unless_told_otherwise(desk: Desk) -> None:
    _, secret = await desk.make()
    _, short = await desk.make(timedelta(hours=1))
    desk.now = NOW + timedelta(hours=1)
    with pytest.raises(ApiKeyInvalid):
        await desk.exchange(short)
    assert await desk.exchange(secret) == "usr_1 org_1 +tickets.read"
    desk.now = NOW + timedelta(days=90)
    with pytest.raises(ApiKeyInvalid):
        await desk.exchange(secret)


async def test_a_program_that_keeps_trying_leaves_one_entry_an_hour(desk: Desk) -> None:
    _, secret = await desk.make(timedelta(hours=1))
    for minutes in (60, 61, 90, 121):
        desk.now = NOW + timedelta(minutes=minutes)
        with pytest.raises(ApiKeyInvalid):
            await desk.exchange(secret)
    refused = [event for event in desk.work.store.events if event.type is EventType.API_KEY_REFUSED]
    assert [event.occurred_at for event in refused] == [NOW + timedelta(minutes=minutes) for minutes in (60, 121)]


async def test_uses_are_kept_in_batches(desk: Desk) -> None:
    key, secret = await desk.make()
    for minutes in (1, 2):
        desk.now = NOW + timedelta(minutes=minutes)
        await desk.exchange(secret)
    assert desk.work.store.keys[key.id].last_used_at is None
    await desk.uses.flush()
    assert desk.work.store.keys[key.id].last_used_at == NOW + timedelta(minutes=2)


async def test_an_organization_has_so_many_live_keys_and_no_more(desk: Desk) -> None:
    for _ in range(MAXIMUM_LIVE_KEYS):
        await desk.make(timedelta(hours=1))
    with pytest.raises(QuotaReached):
        await desk.make()
    desk.now = NOW + timedelta(hours=1)
    assert await desk.make()


@pytest.mark.parametrize(
    ("scopes", "held", "allowed"),
    [
        ({"tickets.read"}, {"tickets.read"}, {"tickets.read"}),
        ({"tickets.read"}, {"tickets.read.own"}, {"tickets.read.own"}),
        ({"tickets.read.own"}, {"tickets.read"}, {"tickets.read.own"}),
        ({"tickets.read.own"}, {"tickets.read.own"}, {"tickets.read.own"}),
        ({"tickets.read", "audit.read"}, {"audit.read"}, {"audit.read"}),
        ({"audit.read"}, set(), set()),
    ],
)
def test_a_key_may_what_both_it_and_its_person_may(scopes: set[str], held: set[str], allowed: set[str]) -> None:
    assert effective(frozenset(scopes), frozenset(held)) == allowed


@given(st.integers(min_value=8, max_value=56), st.sampled_from("0Az"))
def test_a_changed_character_makes_a_key_malformed(position: int, character: str) -> None:
    key = new_key()
    assert is_well_formed(key)
    changed = key[:position] + character + key[position + 1 :]
    assert is_well_formed(changed) == (changed == key)


@given(st.text(max_size=80))
def test_other_texts_are_no_keys(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed("dm_live_" + text)

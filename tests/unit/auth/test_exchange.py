"""Narrower tokens for programs, on ports in memory and the grammar that really judges."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from services.auth.audit import EventType
from services.auth.domain import Role
from services.auth.oauth import ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE, Form, Refused
from services.auth.oauth_ports import ReadToken
from services.auth.settings import OAuthClient
from services.auth.usecases.consents import Answerer
from services.auth.usecases.exchange import Exchanged
from services.common.permissions import EVERY_PERMISSION, OWN, ROLES, SPECIALISTS, permissions_of, singles
from tests.unit.auth.test_oauth import SECRET, Door, refusal


class Counter(Door):
    """Where a program exchanges the token of the person it works for."""

    async def person(self) -> Answerer:
        me = await super().person()
        self.give("whole", me)
        return me

    def give(self, token: str, me: Answerer, **changes: object) -> None:
        now = self.desk.now.timestamp()
        read = ReadToken(
            me.user_id, me.organization_id, me.family_id, token, "", (), "deskmesh", "us", now, now + 600, ("owner",)
        )
        self.reader.known[token] = replace(read, **changes)  # type: ignore[arg-type]

    async def exchange(self, **changes: str) -> Exchanged:
        asked = {
            "grant_type": TOKEN_EXCHANGE,
            "client_id": "worker",
            "client_secret": SECRET,
            "subject_token": "whole",
            "subject_token_type": ACCESS_TOKEN_TYPE,
            "audience": "tickets",
            "scope": "tickets.read",
        } | changes
        issued = await self.provider.token(Form({name: value for name, value in asked.items() if value}), "place")
        assert isinstance(issued, Exchanged)
        return issued

    @property
    def log(self) -> list[EventType]:
        return [event.type for event in self.desk.work.store.events]


@pytest.fixture
def counter() -> Counter:
    return Counter()


async def test_a_program_gets_a_token_that_does_less_for_a_shorter_time(counter: Counter) -> None:
    me = await counter.person()
    exchanged = await counter.exchange(scope="tickets.read tickets.comment")
    assert exchanged == Exchanged("for tickets", 300, ("tickets.comment", "tickets.read"))
    (issued,) = counter.narrow.issued
    assert (issued.subject.user_id, issued.client_id) == (me.user_id, "worker")
    event = counter.desk.work.store.events[-1]
    assert (event.type, event.actor_id, event.subject_id) == (EventType.TOKEN_EXCHANGED, "worker", me.user_id)
    assert event.details["service"] == "tickets"


async def test_it_ends_no_later_than_what_it_is_made_of(counter: Counter) -> None:
    await counter.person()
    counter.desk.now += timedelta(seconds=560)
    assert (await counter.exchange()).lifetime_seconds == 40
    counter.desk.now += timedelta(seconds=40)
    assert await refusal(counter.exchange()) == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"audience": ""}, "invalid_target"),
        ({"audience": "auth"}, "invalid_target"),
        ({"audience": "sessions"}, "invalid_target"),
        ({"audience": "made-up"}, "invalid_target"),
        ({"resource": "https://elsewhere.example"}, "invalid_request"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "deskmesh"}, "invalid_scope"),
        ({"scope": "owner"}, "invalid_scope"),
        ({"scope": "+tickets.read"}, "invalid_scope"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token": "made-up"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"actor_token": "another"}, "invalid_request"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_secret": ""}, "invalid_client"),
        ({"client_id": "shop"}, "unauthorized_client"),
        ({"client_id": "deskmesh-cli", "client_secret": ""}, "unauthorized_client"),
    ],
    ids=str,
)
async def test_what_is_not_given(counter: Counter, changes: dict[str, str], error: str) -> None:
    await counter.person()
    assert await refusal(counter.exchange(**changes)) == error
    assert not counter.narrow.issued
    assert EventType.TOKEN_EXCHANGED not in counter.log


async def test_only_a_persons_whole_token_of_a_sign_in_that_goes_on_is_exchanged(counter: Counter) -> None:
    me = await counter.person()
    counter.give("of a key", me, family_id="key_1")
    counter.give("of no sign-in", me, family_id="")
    counter.give("narrowed before", me, audience="deskmesh/tickets")
    counter.give("for userinfo", me, audience="deskmesh/userinfo", roles=())
    counter.give("of another organization", me, organization_id="org_another")
    for token in list(counter.reader.known)[1:]:
        assert await refusal(counter.exchange(subject_token=token)) == "invalid_request"
    await counter.desk.sessions.sign_out(counter.refresh_token)
    assert await refusal(counter.exchange()) == "invalid_request"
    assert not counter.narrow.issued


async def test_who_lost_a_role_since_cannot_lend_it(counter: Counter) -> None:
    me = await counter.person()
    store = counter.desk.work.store
    place = store.memberships[me.organization_id, me.user_id]
    store.memberships[me.organization_id, me.user_id] = replace(place, roles=(Role.CUSTOMER,))
    # What is left is what is theirs.
    assert (await counter.exchange()).scopes == ("tickets.read.own",)
    assert await refusal(counter.exchange(scope="members.read")) == "invalid_scope"
    counter.give("of a role they have not yet", me, roles=("customer",))
    store.memberships[me.organization_id, me.user_id] = place
    narrow = await counter.exchange(subject_token="of a role they have not yet")
    assert narrow.scopes == ("tickets.read.own",)


# Most of what is asked for at random is refused.
GIVEN, MOST_TRIED = 15, 6000


def some(dice: random.Random, of: Sequence[str], most: int) -> tuple[str, ...]:
    return tuple(dice.sample(of, dice.randint(0, most)))


async def test_nothing_is_ever_widened(counter: Counter) -> None:
    seed = random.SystemRandom().randrange(10**9)
    dice = random.Random(seed)
    me = await counter.person()
    store = counter.desk.work.store
    said_of = [*ROLES, *SPECIALISTS, "root", *singles(EVERY_PERMISSION)]
    given = tried = 0
    while given < GIVEN:
        tried += 1
        assert tried < MOST_TRIED, seed
        place = replace(
            store.memberships[me.organization_id, me.user_id], roles=tuple(map(Role, some(dice, list(Role), 2)))
        )
        store.memberships[me.organization_id, me.user_id] = place
        said, wanted = some(dice, said_of, 3), some(dice, sorted(EVERY_PERMISSION), 3)
        counter.give("some", me, roles=said)
        counter.narrow.issued.clear()
        try:
            await counter.exchange(subject_token="some", scope=" ".join(wanted))
        except Refused:
            assert not counter.narrow.issued
            continue
        given += 1
        (issued,) = counter.narrow.issued
        for rights in (permissions_of(said), permissions_of(place.grants)):
            for permission in issued.permissions:
                assert permission in rights or permission.removesuffix(OWN) in rights, (seed, said, wanted)
        assert {one.removesuffix(OWN) for one in issued.permissions} <= {one.removesuffix(OWN) for one in wanted}


def test_who_proves_nothing_cannot_be_allowed_to_exchange() -> None:
    with pytest.raises(ValueError, match="without a secret"):
        OAuthClient(id="worker", name="A worker", exchanges=("tickets",))
    with pytest.raises(ValueError, match="cannot be exchanged for auth"):
        OAuthClient(id="worker", name="A worker", secret_sha256="0" * 64, exchanges=("auth",))

"""The rules of letting programs in, on ports in memory, a clock moved by hand and the grammar that really judges."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from services.auth.adapters.oauth_grammar import AuthlibGrammar
from services.auth.audit import EventType
from services.auth.domain import RefreshFamily
from services.auth.errors import RefreshTokenInvalid
from services.auth.oauth import (
    AUTHORIZATION_CODE,
    COMMAND_LINE,
    DEVICE_CODE,
    DEVICE_LIFETIME,
    REFRESH_TOKEN,
    TOKEN_EXCHANGE,
    Client,
    Form,
    Refused,
    check_redirect_uri,
    hash_secret,
)
from services.auth.oauth_errors import ConsentRequestInvalid, NotTheirs, UserCodeInvalid
from services.auth.oauth_ports import Narrowed, ReadToken
from services.auth.settings import OAuthClient
from services.auth.usecases.consents import Answerer, Consents, Subject
from services.auth.usecases.exchange import Exchanges
from services.auth.usecases.opening import Openings, SignedIn
from services.auth.usecases.places import Person, Places
from services.auth.usecases.provider import Issued, Provider
from services.auth.usecases.sessions import SignUp
from services.common.permissions import EVERY_PERMISSION
from tests.unit.auth.account_fakes import FakeAllowances
from tests.unit.auth.credential_fakes import FakeAccessTokens
from tests.unit.auth.test_usecases import PASSWORD, Desk

ISSUER = "https://desk.example"
SECRET = "a secret that nobody guesses"
BACK = "https://shop.example/back?from=desk"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BOTH = frozenset({AUTHORIZATION_CODE, REFRESH_TOKEN})
WORKER = Client(
    "worker", "A worker", BOTH | {TOKEN_EXCHANGE}, (), (), hash_secret(SECRET), exchanges=("tickets", "knowledge")
)
SHOP = Client("shop", "The shop", BOTH, (BACK,), ("openid", "email"), hash_secret(SECRET))
CLIENTS = {client.id: client for client in (COMMAND_LINE, SHOP, WORKER, Client("other", "Another", BOTH, (BACK,)))}
LOOPBACK = "http://127.0.0.1:43210/callback"


class FakeIdTokens:
    def issue(self, claims: Mapping[str, object], family: RefreshFamily, *, nonce: str, access_token: str) -> str:
        return f"{claims['sub']} {family.client_id} {nonce}"


class FakeReader:
    """Reads what it was told."""

    def __init__(self) -> None:
        self.known: dict[str, ReadToken] = {}

    def read(self, token: str) -> ReadToken | None:
        return self.known.get(token)


class FakeNarrowTokens:
    """Keeps what it issued."""

    def __init__(self) -> None:
        self.issued: list[Narrowed] = []

    def is_whole(self, token: ReadToken) -> bool:
        return token.audience == "deskmesh"

    def issue(self, narrowed: Narrowed) -> str:
        self.issued.append(narrowed)
        return f"for {narrowed.service}"


class Door:
    """A person who is signed in, and programs that want in."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.allowances = FakeAllowances()
        self.reader = FakeReader()
        grammar = AuthlibGrammar(ISSUER, CLIENTS)
        openings = Openings(
            FakeAccessTokens(),
            self.desk.clock,
            refresh_lifetime=timedelta(days=30),
            successor_key=b"a key of the tests",
        )
        self.narrow = FakeNarrowTokens()
        exchanges = Exchanges(self.desk.work, grammar, self.reader, self.narrow, self.desk.clock, EVERY_PERMISSION)
        common = {"pepper": b"a pepper of the tests"}
        self.consents = Consents(
            self.desk.work, grammar, CLIENTS, self.allowances, self.desk.clock, issuer=ISSUER, **common
        )
        self.provider = Provider(
            self.desk.work,
            grammar,
            openings,
            self.desk.sessions,
            FakeIdTokens(),
            self.reader,
            exchanges,
            self.allowances,
            self.desk.clock,
            **common,
        )

    async def person(self) -> Answerer:
        command = SignUp("ann@example.com", PASSWORD, "Ann", "shop", "place", "A shop")
        signed_in = await self.desk.sessions.sign_up(command)
        assert isinstance(signed_in, SignedIn)
        self.refresh_token = signed_in.tokens.refresh
        principal = signed_in.principal
        return Answerer(principal.user.id, principal.organization.id, signed_in.family.id, "place")

    async def code(self, me: Answerer, **changes: str) -> str:
        """The code that comes back to the program after the person approved."""
        answer = await self.consents.answer(Subject(asking(**changes)), me, approved=True)
        return parse_qs(urlsplit(answer).query)["code"][0]

    async def token(self, **parameters: str) -> Issued:
        issued = await self.provider.token(Form(parameters), "place")
        assert isinstance(issued, Issued)
        return issued

    async def redeem(self, code: str, /, **changes: str) -> Issued:
        parameters = {
            "grant_type": AUTHORIZATION_CODE,
            "client_id": COMMAND_LINE.id,
            "code": code,
            "redirect_uri": LOOPBACK,
            "code_verifier": VERIFIER,
        } | changes
        return await self.token(**{name: value for name, value in parameters.items() if value})

    async def poll(self, device_code: str, **changes: str) -> Issued:
        parameters = {"grant_type": DEVICE_CODE, "client_id": COMMAND_LINE.id, "device_code": device_code}
        return await self.token(**parameters | changes)


def asking(**changes: str) -> str:
    """The query of an authorization request; an empty change leaves the parameter out."""
    parameters = {
        "response_type": "code",
        "client_id": COMMAND_LINE.id,
        "redirect_uri": LOOPBACK,
        "scope": "openid deskmesh",
        "state": "s t&te",
        "nonce": "n-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes
    return urlencode({name: value for name, value in parameters.items() if value})


@pytest.fixture
def door() -> Door:
    return Door()


async def refusal(call: object) -> str:
    with pytest.raises(Refused) as caught:
        await call  # type: ignore[misc]
    return caught.value.error


async def test_an_approved_program_gets_tokens_for_its_code(door: Door) -> None:
    me = await door.person()
    question = await door.consents.get(Subject(asking()), me)
    assert (question.client.name, question.scopes) == (COMMAND_LINE.name, ("openid", "deskmesh"))
    assert question.redirect_host == "127.0.0.1:43210"
    answer = await door.consents.answer(Subject(asking()), me, approved=True)
    told = parse_qs(urlsplit(answer).query)
    assert answer.startswith(f"{LOOPBACK}?")
    assert (told["state"], told["iss"]) == (["s t&te"], [ISSUER])
    issued = await door.redeem(told["code"][0])
    assert issued.id_token == f"{me.user_id} {COMMAND_LINE.id} n-1"
    kinds = [event.type for event in door.desk.work.store.events]
    assert kinds[-2:] == [EventType.CONSENT_GRANTED, EventType.SIGN_IN]
    renewed = await door.token(grant_type=REFRESH_TOKEN, client_id=COMMAND_LINE.id, refresh_token=issued.pair.refresh)
    assert renewed.scopes == ("openid", "deskmesh")


async def test_who_says_no_is_believed(door: Door) -> None:
    me = await door.person()
    told = parse_qs(urlsplit(await door.consents.answer(Subject(asking()), me, approved=False)).query)
    assert told == {"error": ["access_denied"], "state": ["s t&te"], "iss": [ISSUER]}
    assert not door.desk.work.store.codes_granted


async def test_a_code_that_comes_again_ends_what_it_bought(door: Door) -> None:
    code = await door.code(await door.person())
    issued = await door.redeem(code)
    assert await refusal(door.redeem(code)) == "invalid_grant"
    again = {"grant_type": REFRESH_TOKEN, "client_id": COMMAND_LINE.id, "refresh_token": issued.pair.refresh}
    assert await refusal(door.token(**again)) == "invalid_grant"
    assert door.desk.announcer.announced
    assert door.desk.work.store.events[-1].type is EventType.SIGN_IN_REVOKED


async def test_another_program_that_repeats_a_code_ends_nothing(door: Door) -> None:
    code = await door.code(await door.person())
    issued = await door.redeem(code)
    assert await refusal(door.redeem(code, client_id="other")) == "invalid_grant"
    assert await refusal(door.redeem(code, client_id="shop", client_secret=SECRET)) == "invalid_grant"
    assert (
        await door.token(grant_type=REFRESH_TOKEN, client_id=COMMAND_LINE.id, refresh_token=issued.pair.refresh)
    ).pair


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uri": "http://127.0.0.1:43211/callback"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code": "made-up"}, "invalid_grant"),
        ({"code": ""}, "invalid_request"),
        ({"client_id": ""}, "invalid_client"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": "shop"}, "invalid_client"),
        ({"client_id": "shop", "client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "shop", "client_secret": SECRET}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
    ],
    ids=str,
)
async def test_a_code_is_bound_to_all_it_was_asked_for_with(door: Door, changes: dict[str, str], error: str) -> None:
    code = await door.code(await door.person())
    assert await refusal(door.redeem(code, **changes)) == error
    # What was refused has not spent the code.
    assert (await door.redeem(code)).pair


async def test_a_code_holds_for_a_minute(door: Door) -> None:
    code = await door.code(await door.person())
    door.desk.now += timedelta(seconds=60)
    assert await refusal(door.redeem(code)) == "invalid_grant"


async def test_a_code_dies_with_the_sign_in_that_approved_it(door: Door) -> None:
    me = await door.person()
    code = await door.code(me)
    await door.desk.sessions.sign_out(door.refresh_token)
    assert await refusal(door.redeem(code)) == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"redirect_uri": "http://127.0.0.1:43210/callback/"}, "invalid_request", False),
        ({"redirect_uri": "http://127.0.0.1:43210/callback?x=1"}, "invalid_request", False),
        ({"redirect_uri": "http://localhost:43210/callback"}, "invalid_request", False),
        ({"redirect_uri": "http://127.0.0.1.evil.example:80/callback"}, "invalid_request", False),
        ({"redirect_uri": "http://127.0.0.1:80@evil.example/callback"}, "invalid_request", False),
        ({"redirect_uri": 'http://127.0.0.1:1/"callback'}, "invalid_request", False),
        ({"redirect_uri": "http://127.0.0.1:port/callback"}, "invalid_request", False),
        ({"redirect_uri": ""}, "invalid_request", False),
        ({"client_id": "nobody"}, "invalid_client", False),
        ({"client_id": ""}, "invalid_client", False),
        ({"code_challenge": ""}, "invalid_request", True),
        ({"code_challenge_method": ""}, "invalid_request", True),
        ({"code_challenge_method": "plain"}, "invalid_request", True),
        ({"code_challenge": "short"}, "invalid_request", True),
        ({"response_type": "token"}, "unsupported_response_type", True),
        ({"response_type": "code id_token"}, "unsupported_response_type", True),
        ({"response_type": ""}, "unsupported_response_type", True),
        ({"scope": "openid everything"}, "invalid_scope", True),
        ({"scope": ""}, "invalid_scope", True),
        ({"prompt": "none"}, "login_required", True),
        ({"prompt": "login"}, "invalid_request", True),
        ({"max_age": "60"}, "invalid_request", True),
        ({"response_mode": "fragment"}, "invalid_request", True),
        ({"request": "e30."}, "request_not_supported", False),
        ({"request_uri": "https://evil.example"}, "request_uri_not_supported", False),
    ],
    ids=str,
)
async def test_what_a_program_may_not_ask(door: Door, changes: dict[str, str], error: str, told: bool) -> None:
    query = asking(**changes)
    with pytest.raises(Refused) as caught:
        AuthlibGrammar(ISSUER, CLIENTS).authorization(Form({k: v[0] for k, v in parse_qs(query).items()}))
    assert caught.value.error == error
    # An answer goes nowhere but to the program's own address.
    assert caught.value.redirect_uri == (LOOPBACK if told else "")
    me = await door.person()
    for call in (door.consents.get(Subject(query), me), door.consents.answer(Subject(query), me, approved=True)):
        with pytest.raises(ConsentRequestInvalid):
            await call
    assert not door.desk.work.store.codes_granted


async def test_a_parameter_that_comes_twice_is_refused(door: Door) -> None:
    me = await door.person()
    with pytest.raises(ConsentRequestInvalid):
        await door.consents.get(Subject(asking() + "&redirect_uri=https%3A%2F%2Fevil.example"), me)


async def test_only_who_signed_in_here_lets_programs_in(door: Door) -> None:
    me = await door.person()
    issued = await door.redeem(await door.code(me))
    family = next(one for one in door.desk.work.store.families.values() if one.client_id)
    assert issued.scopes == family.scopes
    for sign_in in (family.id, "key_1", ""):
        with pytest.raises(NotTheirs):
            await door.consents.answer(Subject(asking()), replace(me, family_id=sign_in), approved=True)


async def test_what_a_program_opens_for_a_person_stays_its_own(door: Door) -> None:
    me = await door.person()
    await door.redeem(await door.code(me))
    family = next(one for one in door.desk.work.store.families.values() if one.client_id)
    openings = Openings(FakeAccessTokens(), door.desk.clock, refresh_lifetime=timedelta(days=1), successor_key=b"a key")
    places = Places(door.desk.work, openings, door.desk.clock)
    for family_id, client_id in ((family.id, COMMAND_LINE.id), (me.family_id, "")):
        switched = await places.switch(Person(me.user_id, 1.0, ("pwd",), family_id), "shop")
        assert switched.family.client_id == client_id


async def test_a_device_waits_until_it_is_let_in(door: Door) -> None:
    me = await door.person()
    form = Form({"client_id": COMMAND_LINE.id, "scope": "deskmesh"})
    codes = await door.provider.device_authorization(form, "place")
    assert await refusal(door.poll(codes.device_code)) == "authorization_pending"
    assert await refusal(door.poll(codes.device_code)) == "slow_down"
    door.desk.now += timedelta(seconds=9)
    # Ten seconds by now, for having come too soon.
    assert await refusal(door.poll(codes.device_code)) == "slow_down"
    door.desk.now += timedelta(seconds=15)
    assert await refusal(door.poll(codes.device_code)) == "authorization_pending"
    typed = Subject(user_code=codes.user_code.replace("-", " ").lower())
    question = await door.consents.get(typed, me)
    assert (question.client.id, question.scopes) == (COMMAND_LINE.id, ("deskmesh",))
    assert await door.consents.answer(typed, me, approved=True) == ""
    with pytest.raises(UserCodeInvalid):
        await door.consents.answer(typed, me, approved=False)
    assert await refusal(door.poll(codes.device_code, client_id="shop", client_secret=SECRET)) == "unauthorized_client"
    issued = await door.poll(codes.device_code)
    assert (issued.scopes, issued.id_token) == (("deskmesh",), "")
    assert await refusal(door.poll(codes.device_code)) == "invalid_grant"


async def test_a_device_that_is_refused_or_too_late_gets_nothing(door: Door) -> None:
    me = await door.person()
    form = Form({"client_id": COMMAND_LINE.id, "scope": "deskmesh"})
    refused = await door.provider.device_authorization(form, "place")
    late = await door.provider.device_authorization(form, "place")
    await door.consents.answer(Subject(user_code=refused.user_code), me, approved=False)
    assert await refusal(door.poll(refused.device_code)) == "access_denied"
    door.desk.now += DEVICE_LIFETIME
    assert await refusal(door.poll(late.device_code)) == "expired_token"
    with pytest.raises(UserCodeInvalid):
        await door.consents.answer(Subject(user_code=late.user_code), me, approved=True)


async def test_codes_and_devices_are_counted(door: Door) -> None:
    me = await door.person()
    with pytest.raises(UserCodeInvalid):
        await door.consents.get(Subject(user_code="WDJB-MJHT"), me)
    form = Form({"client_id": COMMAND_LINE.id, "scope": "deskmesh"})
    codes = await door.provider.device_authorization(form, "there")
    assert await refusal(door.poll(codes.device_code)) == "authorization_pending"
    counted = {(what, who) for what, who in door.allowances.taken}
    assert {("user-code", me.user_id), ("devices", "there"), ("oauth-tokens", "place")} <= counted
    assert await refusal(door.provider.device_authorization(Form({"client_id": "shop"}), "there")) == "invalid_client"
    everything = Form({"client_id": COMMAND_LINE.id, "scope": "everything"})
    assert await refusal(door.provider.device_authorization(everything, "there")) == "invalid_scope"


async def test_refresh_tokens_stay_with_who_got_them(door: Door) -> None:
    me = await door.person()
    code = await door.code(me, client_id="shop", redirect_uri=BACK, scope="openid email")
    issued = await door.redeem(code, client_id="shop", client_secret=SECRET, redirect_uri=BACK)
    token = issued.pair.refresh
    # The door for our own clients asks for no secret, so it does not renew what needs one.
    with pytest.raises(RefreshTokenInvalid):
        await door.desk.sessions.refresh(token)
    mine = {"grant_type": REFRESH_TOKEN, "client_id": "shop", "client_secret": SECRET}
    stolen = {"grant_type": REFRESH_TOKEN, "client_id": COMMAND_LINE.id, "refresh_token": token}
    assert await refusal(door.token(**stolen)) == "invalid_grant"
    # A person's own sign-in is no program's.
    assert await refusal(door.token(**mine, refresh_token=door.refresh_token)) == "invalid_grant"
    assert await refusal(door.token(**mine, refresh_token=token, scope="openid email profile")) == "invalid_scope"
    assert await refusal(door.token(**mine, refresh_token=token, scope="openid")) == "invalid_scope"
    renewed = await door.token(**mine, refresh_token=token, scope="email openid")
    door.desk.now += timedelta(seconds=6)
    assert await refusal(door.token(**mine, refresh_token=token)) == "invalid_grant"
    assert await refusal(door.token(**mine, refresh_token=renewed.pair.refresh)) == "invalid_grant"


async def test_only_programs_with_a_secret_ask_about_tokens_and_about_their_own(door: Door) -> None:
    me = await door.person()
    issued = await door.redeem(await door.code(me))
    asked = {"token": issued.pair.refresh}
    assert await refusal(door.provider.introspect(Form({"client_id": COMMAND_LINE.id} | asked))) == "invalid_client"
    shop = {"client_id": "shop", "client_secret": SECRET}
    assert await door.provider.introspect(Form(shop | asked)) == {"active": False}
    await door.provider.revoke(Form(shop | asked))
    renewed = await door.token(grant_type=REFRESH_TOKEN, client_id=COMMAND_LINE.id, refresh_token=issued.pair.refresh)
    await door.provider.revoke(Form({"client_id": COMMAND_LINE.id, "token": renewed.pair.refresh}))
    again = {"grant_type": REFRESH_TOKEN, "client_id": COMMAND_LINE.id, "refresh_token": renewed.pair.refresh}
    assert await refusal(door.token(**again)) == "invalid_grant"


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic /////w==", "Basic bm9jb2xvbg==", "Bearer x"])
async def test_nonsense_for_a_secret_is_no_secret(door: Door, header: str) -> None:
    form = Form({"grant_type": AUTHORIZATION_CODE, "code": "c"}, header)
    assert await refusal(door.provider.token(form, "place")) == "invalid_client"


@pytest.mark.parametrize(
    "uri",
    ["http://shop.example/", "javascript:alert(1)", "https://shop.example/#x", "https://a@shop.example/", "https:///x"],
)
def test_answers_go_to_safe_addresses_only(uri: str) -> None:
    with pytest.raises(ValueError, match="is no HTTPS address"):
        check_redirect_uri(uri)
    with pytest.raises(ValueError, match="is no HTTPS address"):
        OAuthClient(id="shop", name="The shop", redirect_uris=(uri,))

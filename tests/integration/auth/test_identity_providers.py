"""Signing in by another OpenID provider, which nobody here wrote, over real TLS and on real stores."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
from aiohttp import ClientSession, UnixConnector, web
from jwkest.jws import JWS
from typer.testing import CliRunner

from deskmesh.auth.v1 import auth_service_pb2, mfa_service_pb2, passkey_service_pb2, user_pb2
from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from deskmesh.auth.v1.audit_event_pb2 import AuditEventType
from deskmesh.auth.v1.audit_service_pb2 import ListAuditEventsRequest
from deskmesh.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from deskmesh.auth.v1.identity_provider_pb2 import GroupRole
from deskmesh.auth.v1.identity_provider_service_pb2_grpc import IdentityProviderServiceStub
from deskmesh.auth.v1.membership_service_pb2 import SwitchOrganizationRequest
from deskmesh.auth.v1.membership_service_pb2_grpc import MembershipServiceStub
from deskmesh.auth.v1.organization_service_pb2 import BatchGetMembersRequest
from deskmesh.auth.v1.organization_service_pb2_grpc import OrganizationServiceStub
from deskmesh_cli import records
from deskmesh_cli.main import build
from services.common.ids import new_id
from tests.integration.auth.acme import CLIENT_ID, SECRET, Acme, acme, new_key, state_of, unchanged
from tests.integration.auth.people import PASSWORD, AuthClient, Person, serve
from tests.support.server import Headers, TestStack, refused

PUBLIC = "https://desk.example"
CALLBACK = f"{PUBLIC}/sign-in/callback"


@dataclass
class House:
    """An organization that signs in by Acme."""

    auth: AuthClient
    acme: Acme
    owner: Person
    # Where auth speaks HTTP.
    socket: Path
    # Whether its provider is not as most tests want it.
    changed: bool = True

    def __post_init__(self) -> None:
        self.stub = IdentityProviderServiceStub(self.auth.service.channel("edge"))

    async def set_up(self, **changes: Any) -> Any:
        values: dict[str, Any] = {
            "name": "Acme",
            "issuer": self.acme.issuer,
            "client_id": CLIENT_ID,
            "client_secret": SECRET,
            "email_domains": ["acme.example"],
            "creates_users": True,
            "role": user_pb2.ROLE_AGENT,
        }
        request = pb.SetIdentityProviderRequest(**values | changes)
        self.changed = True
        return (await self.stub.SetIdentityProvider(request, metadata=self.owner.headers)).identity_provider

    def newcomer(self, **claims: Any) -> str:
        """Somebody at Acme; returns their name there."""
        name = new_id("p")
        self.acme.people[name] = {"email": f"{name}@acme.example", "email_verified": True, "name": "Eve"} | claims
        return name

    async def begin(self) -> tuple[str, str]:
        request = pb.BeginProviderSignInRequest(organization_slug=self.owner.slug)
        began = await self.stub.BeginProviderSignIn(request)
        return began.authorization_url, began.attempt_token

    async def finish(self, token: str, answer: str) -> Any:
        request = pb.FinishProviderSignInRequest(attempt_token=token, answer=answer)
        return await self.stub.FinishProviderSignIn(request)

    async def enter(self, person: str) -> Any:
        url, token = await self.begin()
        return await self.finish(token, self.acme.approve(url, person))

    async def refusal(self, person: str) -> str:
        async with refused() as refusal:
            await self.enter(person)
        return refusal.error.reason


@pytest_asyncio.fixture(scope="module")
async def at_home(stack: TestStack) -> AsyncIterator[House]:
    socket = stack.folder / "auth-providers.oauth.sock"
    changes = {
        "public_url": PUBLIC,
        "oauth_socket": socket,
        "identity_provider_ca_file": stack.pki.files("auth")["tls_ca_file"],
        "identity_provider_private_addresses": True,
    }
    async with acme(stack, CALLBACK) as provider, serve(stack, "providers", **changes) as auth:
        yield House(auth, provider, await auth.founder(), socket)


@pytest_asyncio.fixture
async def house(at_home: House) -> House:
    """The house as it was before anybody changed anything."""
    at_home.acme.instead = {}
    at_home.acme.discovery = at_home.acme.tokens = unchanged
    if at_home.changed:
        await at_home.set_up()
        at_home.changed = False
    return at_home


def bearer(signed_in: Any) -> Headers:
    return (("authorization", f"Bearer {signed_in.tokens.access_token}"),)


async def test_somebody_new_comes_in_by_the_provider_and_is_known_the_next_time(house: House) -> None:
    options = pb.GetSignInOptionsRequest(organization_slug=house.owner.slug)
    assert (await house.stub.GetSignInOptions(options)).provider_name == "Acme"
    person = house.newcomer()
    first = await house.enter(person)
    assert first.principal.user.email == f"{person}@acme.example"
    assert first.principal.organization.id == house.owner.organization_id
    assert list(first.principal.roles) == [user_pb2.ROLE_AGENT]
    assert (await house.enter(person)).principal.user.id == first.principal.user.id
    me = await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(first))
    assert me.principal.user.id == first.principal.user.id
    audit = AuditServiceStub(house.auth.service.channel("edge"))
    events = (await audit.ListAuditEvents(ListAuditEventsRequest(), metadata=house.owner.headers)).events
    kinds = [AuditEventType.Name(event.type).removeprefix("AUDIT_EVENT_TYPE_") for event in reversed(events)]
    assert kinds[-4:] == ["SIGN_UP", "IDENTITY_LINKED", "SIGN_IN", "SIGN_IN"]
    assert "IDENTITY_PROVIDER_SET" in kinds
    # Who signs out has to be vouched for anew.
    await house.auth.auth.SignOut(auth_service_pb2.SignOutRequest(refresh_token=first.tokens.refresh_token))
    async with refused() as refusal:
        request = auth_service_pb2.RefreshTokenRequest(refresh_token=first.tokens.refresh_token)
        await house.auth.auth.RefreshToken(request)
    assert refusal.error.reason == "REFRESH_TOKEN_INVALID"


async def test_many_who_come_for_the_first_time_at_once_are_one_person(house: House) -> None:
    person = house.newcomer()
    entered = await asyncio.gather(*(house.enter(person) for _ in range(3)))
    assert len({one.principal.user.id for one in entered}) == 1


async def test_the_providers_word_opens_one_organization_and_proves_nothing_anew(house: House) -> None:
    entered = await house.enter(house.newcomer())
    channel = house.auth.service.channel("edge")
    async with refused() as refusal:
        request = SwitchOrganizationRequest(organization_slug=house.owner.slug)
        await MembershipServiceStub(channel).SwitchOrganization(request, metadata=bearer(entered))
    assert refusal.error.code is grpc.StatusCode.PERMISSION_DENIED
    async with refused() as refusal:
        begin = passkey_service_pb2.BeginPasskeyRegistrationRequest()
        await house.auth.passkeys.BeginPasskeyRegistration(begin, metadata=bearer(entered))
    assert refusal.error.reason == "STEP_UP_REQUIRED"
    async with refused() as refusal:
        await house.auth.mfa.StepUp(mfa_service_pb2.StepUpRequest(password=PASSWORD), metadata=bearer(entered))
    assert refusal.error.reason == "CREDENTIALS_INVALID"


async def test_an_account_that_is_there_is_linked_by_its_holder_alone(house: House) -> None:
    customer = await house.auth.customer(house.owner.slug)
    await house.set_up(email_domains=["example.com"])
    person = house.newcomer(email=customer.email)
    assert await house.refusal(person) == "IDENTITY_NOT_LINKED"
    began = await house.stub.BeginIdentityLink(pb.BeginIdentityLinkRequest(), metadata=customer.headers)
    answer = house.acme.approve(began.authorization_url, person)
    finish = pb.FinishIdentityLinkRequest(attempt_token=began.attempt_token, answer=answer)
    async with refused() as refusal:
        await house.stub.FinishIdentityLink(finish, metadata=house.owner.headers)
    assert refusal.error.reason == "PROVIDER_SIGN_IN_INVALID"
    began = await house.stub.BeginIdentityLink(pb.BeginIdentityLinkRequest(), metadata=customer.headers)
    answer = house.acme.approve(began.authorization_url, person)
    finish = pb.FinishIdentityLinkRequest(attempt_token=began.attempt_token, answer=answer)
    await house.stub.FinishIdentityLink(finish, metadata=customer.headers)
    entered = await house.enter(person)
    assert entered.principal.user.id == customer.user_id
    # The provider's word alone does not unlink it; its holder's own proof does, which is a way in that stays.
    listed = await house.stub.ListIdentityLinks(pb.ListIdentityLinksRequest(), metadata=bearer(entered))
    (link,) = listed.identity_links
    assert (link.issuer, link.active) == (house.acme.issuer, True)
    remove = pb.RemoveIdentityLinkRequest(issuer=link.issuer, subject=link.subject)
    async with refused() as refusal:
        await house.stub.RemoveIdentityLink(remove, metadata=bearer(entered))
    assert refusal.error.reason == "STEP_UP_REQUIRED"
    assert (await house.stub.RemoveIdentityLink(remove, metadata=customer.headers)).ended_sign_ins == 1
    assert await house.refusal(person) == "IDENTITY_NOT_LINKED"
    async with refused() as refusal:
        await house.stub.ListIdentityLinks(pb.ListIdentityLinksRequest(), metadata=bearer(entered))
    assert refusal.error.reason == "TOKEN_REVOKED"


async def test_an_owner_unlinks_a_member(house: House) -> None:
    person = house.newcomer()
    entered = await house.enter(person)
    remove = pb.RemoveMemberIdentityLinksRequest(user_id=entered.principal.user.id)
    customer = await house.auth.customer(house.owner.slug)
    async with refused() as refusal:
        await house.stub.RemoveMemberIdentityLinks(remove, metadata=customer.headers)
    assert refusal.error.reason == "PERMISSION_MISSING"
    removed = await house.stub.RemoveMemberIdentityLinks(remove, metadata=house.owner.headers)
    assert (removed.removed, removed.ended_sign_ins) == (1, 1)
    assert await house.refusal(person) == "IDENTITY_NOT_LINKED"
    logged = await AuditServiceStub(house.auth.service.channel("edge")).ListAuditEvents(
        ListAuditEventsRequest(page_size=20), metadata=house.owner.headers
    )
    unlinked = [one for one in logged.events if one.type == AuditEventType.AUDIT_EVENT_TYPE_IDENTITY_UNLINKED]
    assert (unlinked[0].actor_id, unlinked[0].subject_id) == (house.owner.user_id, entered.principal.user.id)


@pytest.mark.parametrize(
    ("claims", "because"),
    [({"email_verified": False}, "email_unverified"), ({"email": "eve@elsewhere.example"}, "email_domain")],
    ids=["not verified", "another domain"],
)
async def test_who_is_not_let_in(house: House, claims: dict[str, Any], because: str) -> None:
    async with refused() as refusal:
        await house.enter(house.newcomer(**claims))
    assert (refusal.error.reason, refusal.error.metadata["because"]) == ("IDENTITY_NOT_ALLOWED", because)


async def test_an_answer_counts_once_for_the_attempt_of_this_browser(house: House) -> None:
    person = house.newcomer()
    url, token = await house.begin()
    answer = house.acme.approve(url, person)
    other_url, other = await house.begin()
    wrong = [
        (other, answer),
        (token, answer.replace(state_of(url), state_of(other_url))),
        ("made-up", answer),
    ]
    for attempt in wrong:
        async with refused() as refusal:
            await house.finish(*attempt)
        assert refusal.error.reason == "PROVIDER_SIGN_IN_INVALID"
    url, token = await house.begin()
    answer = house.acme.approve(url, person)
    await house.finish(token, answer)
    async with refused() as refusal:
        await house.finish(token, answer)
    assert refusal.error.reason == "PROVIDER_SIGN_IN_INVALID"


async def test_a_code_of_another_attempt_does_not_pass_as_this_ones(house: House) -> None:
    person = house.newcomer()
    stolen, _ = await house.begin()
    code = house.acme.approve(stolen, person)
    url, token = await house.begin()
    async with refused() as refusal:
        await house.finish(token, code.replace(state_of(stolen), state_of(url)))
    assert refusal.error.reason == "PROVIDER_SIGN_IN_INVALID"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("error=access_denied", "PROVIDER_SIGN_IN_REFUSED"),
        ("code=c&iss=https%3A%2F%2Fid.evil.example", "PROVIDER_SIGN_IN_INVALID"),
        ("code=made-up", "PROVIDER_SIGN_IN_INVALID"),
        ("code=", "PROVIDER_SIGN_IN_INVALID"),
        ("code=a&code=b", "PROVIDER_SIGN_IN_INVALID"),
    ],
)
async def test_answers_that_sign_nobody_in(house: House, answer: str, reason: str) -> None:
    url, token = await house.begin()
    async with refused() as refusal:
        await house.finish(token, f"{answer}&state={state_of(url)}")
    assert refusal.error.reason == reason


async def test_a_provider_that_says_it_names_itself_has_to(house: House) -> None:
    house.acme.discovery = lambda said: said | {"authorization_response_iss_parameter_supported": True}
    await house.set_up()
    person = house.newcomer()
    assert await house.refusal(person) == "PROVIDER_SIGN_IN_INVALID"
    url, token = await house.begin()
    entered = await house.finish(token, f"{house.acme.approve(url, person)}&iss={house.acme.issuer}")
    assert entered.principal.user.email == f"{person}@acme.example"


def _signed(acme_key: Any, **changes: Any) -> Any:
    """Replaces the ID token by one with other claims or another key."""

    def change(tokens: dict[str, Any]) -> dict[str, Any]:
        claims = jwt.decode(tokens["id_token"], options={"verify_signature": False})
        said = {name: value for name, value in (claims | changes).items() if value is not None}
        return tokens | {"id_token": JWS(said, alg="RS256").sign_compact([acme_key])}

    return change


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": [CLIENT_ID, "another"]},
        {"iss": "https://id.evil.example"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"sub": ""},
        {"azp": "another"},
        {"at_hash": "another"},
    ],
    ids=str,
)
async def test_an_id_token_that_does_not_hold(house: House, changes: dict[str, Any]) -> None:
    house.acme.tokens = _signed(house.acme.provider.signing_key, **changes)
    assert await house.refusal(house.newcomer()) == "PROVIDER_SIGN_IN_INVALID"


async def test_an_id_token_signed_by_somebody_else_or_by_nobody(house: House) -> None:
    own = house.acme.provider.signing_key
    stranger = new_key(own.kid)
    house.acme.tokens = _signed(stranger)
    assert await house.refusal(house.newcomer()) == "PROVIDER_SIGN_IN_INVALID"
    for forged in ("", "nonsense", "eyJhbGciOiJub25lIn0.e30.", "a.b.c.d.e"):
        house.acme.tokens = lambda tokens, forged=forged: tokens | {"id_token": forged}  # type: ignore[misc]
        assert await house.refusal(house.newcomer()) == "PROVIDER_SIGN_IN_INVALID"


async def test_the_person_that_userinfo_tells_of_is_the_one_who_signed_in(house: House) -> None:
    async def of_another(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"sub": "another", "email": "eve@acme.example", "email_verified": True})

    house.acme.instead["/userinfo"] = of_another
    assert await house.refusal(house.newcomer()) == "PROVIDER_SIGN_IN_INVALID"


async def test_what_it_says_and_its_keys_are_kept_and_new_keys_are_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.enter(house.newcomer())
    house.acme.asked.clear()
    await house.enter(house.newcomer())
    assert house.acme.asked == ["/token", "/userinfo"]
    house.acme.rotate()
    # Not for every key that is made up.
    assert await house.refusal(house.newcomer()) == "PROVIDER_SIGN_IN_INVALID"
    monkeypatch.setattr("services.auth.adapters.openid.KEYS_AGAIN_SECONDS", 0.0)
    assert (await house.enter(house.newcomer())).principal.user.id


async def set_roles(house: House, *names: str) -> None:
    """What the groups of these names give."""
    roles = {"desk": user_pb2.ROLE_AGENT, "leads": user_pb2.ROLE_SUPERVISOR}
    rules = [GroupRole(group=name, role=roles[name]) for name in names]
    shown = await house.set_up(role=user_pb2.ROLE_CUSTOMER, group_roles=rules)
    assert list(shown.group_roles) == rules
    assert (shown.groups_claim, shown.backchannel_logout_uri) == ("groups", f"{PUBLIC}/oauth/backchannel_logout")


async def test_groups_there_give_roles_here_and_take_them(house: House) -> None:
    await set_roles(house, "desk", "leads")
    person = house.newcomer(groups=["desk", "leads", "others"])
    first = await house.enter(person)
    assert list(first.principal.roles) == [user_pb2.ROLE_CUSTOMER, user_pb2.ROLE_AGENT, user_pb2.ROLE_SUPERVISOR]
    house.acme.people[person]["groups"] = ["desk"]
    again = await house.enter(person)
    assert list(again.principal.roles) == [user_pb2.ROLE_CUSTOMER, user_pb2.ROLE_AGENT]
    # The token that said more holds no longer; the sign-in goes on with less.
    async with refused() as refusal:
        await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(first))
    assert refusal.error.reason == "TOKEN_REVOKED"
    request = auth_service_pb2.RefreshTokenRequest(refresh_token=first.tokens.refresh_token)
    renewed = await house.auth.auth.RefreshToken(request)
    me = await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(renewed))
    assert me.principal.roles == again.principal.roles
    members = OrganizationServiceStub(house.auth.service.channel("edge"))
    asked = BatchGetMembersRequest(user_ids=[first.principal.user.id])
    (member,) = (await members.BatchGetMembers(asked, metadata=house.owner.headers)).members
    assert list(member.group_roles) == [user_pb2.ROLE_AGENT]
    # Whose groups are not told is in none; and what no group gives any more is gone without a sign-in.
    del house.acme.people[person]["groups"]
    assert list((await house.enter(person)).principal.roles) == [user_pb2.ROLE_CUSTOMER]
    house.acme.people[person]["groups"] = "desk"
    await house.enter(person)
    await set_roles(house, "leads")
    (member,) = (await members.BatchGetMembers(asked, metadata=house.owner.headers)).members
    assert list(member.roles) == [user_pb2.ROLE_CUSTOMER]


async def test_groups_of_the_signed_answer_count_before_those_of_the_other(house: House) -> None:
    await set_roles(house, "desk", "leads")
    house.acme.tokens = _signed(house.acme.provider.signing_key, groups=["desk"])
    entered = await house.enter(house.newcomer(groups=["leads"]))
    assert list(entered.principal.roles) == [user_pb2.ROLE_CUSTOMER, user_pb2.ROLE_AGENT]


@pytest.mark.parametrize(
    "groups",
    [{"desk": True}, ["desk", 5], [["desk"]], [str(number) for number in range(1001)]],
    ids=lambda value: str(value)[:20],
)
async def test_groups_that_cannot_be_read_let_nobody_in(house: House, groups: Any) -> None:
    await set_roles(house, "desk")
    house.acme.tokens = _signed(house.acme.provider.signing_key, groups=groups)
    async with refused() as refusal:
        await house.enter(house.newcomer())
    assert refusal.error.reason == "IDENTITY_NOT_ALLOWED"
    assert refusal.error.metadata["because"] == "groups_unreadable"


class Typed:
    """`deskmesh sso`, typed by the owner: its request and its words, with the test's own way to the service."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._house = house
        self._capsys = capsys
        self._work: list[Callable[[], Coroutine[Any, Any, int]]] = []
        monkeypatch.setattr(records, "connected", self._connected)
        monkeypatch.setattr(records, "run", lambda work, as_json: self._work.append(work))

    async def __call__(self, *arguments: str) -> str:
        result = CliRunner().invoke(build(), ["sso", *arguments])
        assert result.exit_code == 0, result.output
        await self._work.pop()()
        return self._capsys.readouterr().out

    @contextlib.asynccontextmanager
    async def _connected(self, _person: Any) -> AsyncIterator[Any]:
        calls = {
            name: functools.partial(call, metadata=self._house.owner.headers)
            for name, call in vars(self._house.stub).items()
        }
        yield SimpleNamespace(identity_providers=SimpleNamespace(**calls))


async def test_the_command_line_sets_groups_shows_what_to_register_and_unlinks(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sso = Typed(house, monkeypatch, capsys)
    house.changed = True
    said = ["set", "Acme", house.acme.issuer, CLIENT_ID, "--domain", "acme.example", "--create-users"]
    told = await sso(*said, "--group", "cn=desk,o=acme=agent")
    assert "by the claim groups" in told
    assert "cn=desk,o=acme → agent" in told
    entered = await house.enter(house.newcomer(groups=["cn=desk,o=acme"]))
    assert user_pb2.ROLE_AGENT in entered.principal.roles
    shown = await sso("show")
    assert f"logout URI    {PUBLIC}/oauth/backchannel_logout" in shown
    assert SECRET not in shown
    unlinked = await sso("unlink-member", entered.principal.user.id)
    assert unlinked == "1 identities removed; 1 sign-ins ended.\n"
    async with refused() as refusal:
        await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(entered))
    assert refusal.error.reason == "TOKEN_REVOKED"
    assert "give no roles" in await sso(*said)


async def never(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def elsewhere(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("https://localhost/elsewhere")


async def huge(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            await answer.write(b" " * 65536)
    return answer


async def packed(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})


async def deep(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="[" * 100_000)


async def broken(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


@pytest.mark.parametrize("path", ["/token", "/userinfo"])
@pytest.mark.parametrize("answer", [never, elsewhere, huge, packed, deep, broken])
async def test_a_provider_that_misbehaves_is_left_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, path: str, answer: Any
) -> None:
    monkeypatch.setattr("services.auth.adapters.outside.TIMEOUT_SECONDS", 0.2)
    house.acme.instead[path] = answer
    async with refused() as refusal:
        await house.enter(house.newcomer())
    expected = "IDENTITY_PROVIDER_UNAVAILABLE"
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAVAILABLE, expected)
    assert "/elsewhere" not in house.acme.asked


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"issuer": "https://id.evil.example"}, "issuer"),
        ({"token_endpoint": "https://evil.example/token"}, "hosts"),
        ({"jwks_uri": "https://169.254.169.254/keys"}, "hosts"),
        ({"userinfo_endpoint": "http://localhost/userinfo"}, "hosts"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "issuer"),
        ({"authorization_endpoint": None}, "issuer"),
        ({"response_types_supported": ["id_token"]}, "issuer"),
    ],
    ids=str,
)
async def test_what_is_no_provider_to_rely_on_is_not_set_up(house: House, changes: dict[str, Any], field: str) -> None:
    house.acme.discovery = lambda said: {k: v for k, v in (said | changes).items() if v is not None}
    async with refused() as refusal:
        await house.set_up()
    assert refusal.error.reason == "IDENTITY_PROVIDER_INVALID"
    assert [name for name, _ in refusal.error.violations] == [field]


async def test_only_an_owner_with_a_fresh_proof_sets_it_up_and_nobody_is_told_the_secret(house: House) -> None:
    customer = await house.auth.customer(house.owner.slug)
    for person in (customer, await house.auth.founder()):
        async with refused() as refusal:
            await house.stub.GetIdentityProvider(pb.GetIdentityProviderRequest(), metadata=person.headers)
        assert refusal.error.reason in ("PERMISSION_MISSING", "IDENTITY_PROVIDER_NOT_FOUND")
    found = await house.stub.GetIdentityProvider(pb.GetIdentityProviderRequest(), metadata=house.owner.headers)
    assert found.identity_provider.redirect_uri == CALLBACK
    assert SECRET not in str(found)
    # The secret that is known stays.
    assert (await house.set_up(client_secret="", name="Acme Inc.")).name == "Acme Inc."
    assert (await house.enter(house.newcomer())).principal.user.id
    entered = await house.enter(house.newcomer())
    house.changed = True
    removed = await house.stub.RemoveIdentityProvider(pb.RemoveIdentityProviderRequest(), metadata=house.owner.headers)
    assert removed.ended_sign_ins >= 2
    async with refused() as refusal:
        request = auth_service_pb2.RefreshTokenRequest(refresh_token=entered.tokens.refresh_token)
        await house.auth.auth.RefreshToken(request)
    assert refusal.error.reason == "REFRESH_TOKEN_INVALID"
    async with refused() as refusal:
        await house.begin()
    assert refusal.error.reason == "IDENTITY_PROVIDER_NOT_FOUND"


LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


async def told(house: House, token: str) -> tuple[int, str]:
    """What the provider is answered when it says who signed out."""
    async with (
        ClientSession(connector=UnixConnector(str(house.socket))) as session,
        session.post("http://auth/oauth/backchannel_logout", data={"logout_token": token}) as answer,
    ):
        assert answer.headers["Cache-Control"] == "no-store"
        text = await answer.text()
        return answer.status, text and (await answer.json())["error"]


def logout_token(house: House, key: Any = None, typ: str = "logout+jwt", **changes: Any) -> str:
    """A token of the provider's own about somebody; what is None is left out."""
    claims = {
        "iss": house.acme.issuer,
        "aud": CLIENT_ID,
        "iat": int(time.time()),
        "exp": int(time.time()) + 120,
        "jti": new_id("jti"),
        "events": {LOGOUT: {}},
        "sub": "somebody",
    } | changes
    said = {name: value for name, value in claims.items() if value is not None}
    token: str = JWS(said, alg="RS256", typ=typ).sign_compact([key or house.acme.provider.signing_key])
    return token


async def subject_of(house: House, entered: Any) -> str:
    """Who somebody is at the provider, as it calls them."""
    listed = await house.stub.ListIdentityLinks(pb.ListIdentityLinksRequest(), metadata=bearer(entered))
    subject: str = listed.identity_links[0].subject
    return subject


async def test_signing_out_at_the_provider_ends_the_sign_ins_by_it_and_no_others(house: House) -> None:
    person, another = house.newcomer(), house.newcomer()
    first, second, other = await house.enter(person), await house.enter(person), await house.enter(another)
    token = logout_token(house, sub=await subject_of(house, first))
    assert await told(house, token) == (200, "")
    for ended in (first, second):
        async with refused() as refusal:
            await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(ended))
        assert refusal.error.reason == "TOKEN_REVOKED"
        async with refused() as refusal:
            request = auth_service_pb2.RefreshTokenRequest(refresh_token=ended.tokens.refresh_token)
            await house.auth.auth.RefreshToken(request)
        assert refusal.error.reason == "REFRESH_TOKEN_INVALID"
    for going_on in (bearer(other), house.owner.headers):
        await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=going_on)
    # Whom nobody knows here is nobody to sign out.
    assert await told(house, logout_token(house)) == (200, "")
    assert (await house.enter(person)).principal.user.id == first.principal.user.id


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://id.evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"iat": 1_700_000_000},
        {"iat": None},
        {"iat": "now"},
        {"exp": 1_700_000_000},
        {"jti": None},
        {"events": None},
        {"events": {"another": {}}},
        {"events": LOGOUT},
        {"events": {LOGOUT: None}},
        {"nonce": "n"},
        {"sub": None},
        {"sub": None, "sid": "s"},
        {"sub": ["somebody"]},
        {"sub": 7},
        {"typ": "at+jwt"},
    ],
    ids=str,
)
async def test_a_logout_token_that_does_not_hold_ends_nothing(house: House, changes: dict[str, Any]) -> None:
    entered = await house.enter(house.newcomer())
    token = logout_token(house, **{"sub": await subject_of(house, entered)} | changes)
    assert await told(house, token) == (400, "invalid_request")
    await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(entered))


async def test_a_logout_token_of_somebody_elses_making_ends_nothing(house: House) -> None:
    entered = await house.enter(house.newcomer())
    subject = await subject_of(house, entered)
    unsigned = jwt.encode({"iss": house.acme.issuer, "sub": subject}, "", algorithm="none")
    symmetric = jwt.encode({"iss": house.acme.issuer, "sub": subject}, SECRET * 2, algorithm="HS256")
    deep = f"e30.{'W1tb' * 3_000}.e30"
    for token in (logout_token(house, new_key("acme-1"), sub=subject), unsigned, symmetric, deep, "", "a.b.c"):
        assert await told(house, token) == (400, "invalid_request")
    await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(entered))

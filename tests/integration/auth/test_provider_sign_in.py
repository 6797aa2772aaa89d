"""Signing in by another OpenID provider, which nobody here wrote, over real TLS and on real stores."""

import asyncio
from typing import Any

import grpc
import pytest
from aiohttp import web

from deskmesh.auth.v1 import auth_service_pb2, mfa_service_pb2, passkey_service_pb2, user_pb2
from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from deskmesh.auth.v1.audit_event_pb2 import AuditEventType
from deskmesh.auth.v1.audit_service_pb2 import ListAuditEventsRequest
from deskmesh.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from deskmesh.auth.v1.membership_service_pb2 import SwitchOrganizationRequest
from deskmesh.auth.v1.membership_service_pb2_grpc import MembershipServiceStub
from tests.integration.auth.acme import CLIENT_ID, new_key, signed, state_of
from tests.integration.auth.people import PASSWORD
from tests.integration.auth.provider_house import House, bearer
from tests.support.server import refused


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
    house.acme.tokens = signed(house.acme.provider.signing_key, **changes)
    assert await house.refusal(house.newcomer()) == "PROVIDER_SIGN_IN_INVALID"


async def test_an_id_token_signed_by_somebody_else_or_by_nobody(house: House) -> None:
    own = house.acme.provider.signing_key
    stranger = new_key(own.kid)
    house.acme.tokens = signed(stranger)
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

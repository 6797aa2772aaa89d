"""Signing out at the provider, which ends the sign-ins by it."""

import time
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession, UnixConnector
from jwkest.jws import JWS

from deskmesh.auth.v1 import auth_service_pb2
from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from services.common.ids import new_id
from tests.integration.auth.acme import CLIENT_ID, SECRET, new_key
from tests.integration.auth.provider_house import House, bearer
from tests.support.server import refused

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

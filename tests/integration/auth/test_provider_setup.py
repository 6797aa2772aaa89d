"""Setting up a provider, and providers that are not to be relied on."""

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from aiohttp import web

from deskmesh.auth.v1 import auth_service_pb2
from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from tests.integration.auth.acme import SECRET
from tests.integration.auth.provider_house import CALLBACK, House
from tests.support.server import refused


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

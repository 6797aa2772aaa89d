"""Signing in, throttling and revocation while Valkey is away; made-up keys while there is a flood of them."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest_asyncio

from deskmesh.auth.v1 import account_service_pb2 as account
from deskmesh.auth.v1 import auth_service_pb2 as auth
from services.common.errors import from_rpc_error
from services.common.ids import new_id
from services.common.settings import ServiceSettings
from tests.integration.auth.people import PASSWORD, AuthClient, serve
from tests.integration.common.test_chain import wire
from tests.support.echo import EchoRequest, EchoStub
from tests.support.server import Headers, TestStack, refused

NOWHERE = "redis://127.0.0.1:1"


@pytest_asyncio.fixture
async def cut_off(stack: TestStack) -> AsyncIterator[AuthClient]:
    """Auth with a Valkey that is not there."""
    async with serve(stack, "cut-off", redis_url=NOWHERE) as client:
        yield client


async def test_without_valkey_people_sign_in_and_out_everywhere_within_five_seconds(cut_off: AuthClient) -> None:
    owner = await cut_off.founder()
    elsewhere = await cut_off.sign_in(owner)
    await cut_off.accounts.SignOutEverywhere(account.SignOutEverywhereRequest(), metadata=owner.headers)
    began = time.monotonic()
    for person in (owner, elsewhere):
        while True:
            try:
                await cut_off.auth.WhoAmI(auth.WhoAmIRequest(), metadata=person.headers)
            except grpc.aio.AioRpcError as error:
                assert from_rpc_error(error).reason == "TOKEN_REVOKED"
                break
            await asyncio.sleep(0.05)
    assert time.monotonic() - began < 5
    again = await cut_off.sign_in(owner)
    await cut_off.auth.WhoAmI(auth.WhoAmIRequest(), metadata=again.headers)


async def test_without_valkey_guessing_is_slowed_and_locks_nobody_out(cut_off: AuthClient) -> None:
    owner = await cut_off.founder()
    attacker: Headers = (("x-forwarded-for", new_id("attacker")),)
    reasons = []
    for _ in range(5):
        async with refused() as refusal:
            request = auth.SignInRequest(email=owner.email, password="guess after guess")
            await cut_off.auth.SignIn(request, metadata=attacker)
        reasons.append(refusal.error.reason)
    assert reasons == ["CREDENTIALS_INVALID"] * 3 + ["RATE_LIMITED"] * 2
    right = auth.SignInRequest(email=owner.email, password=PASSWORD)
    response = await cut_off.auth.SignIn(right, metadata=(("x-forwarded-for", new_id("home")),))
    assert response.principal.user.id == owner.user_id


async def test_sign_ups_from_one_place_are_limited(stack: TestStack) -> None:
    async with serve(stack, "few-sign-ups", sign_ups_per_hour=3) as client:
        owner = await client.founder()

        async def sign_up(place: str) -> str:
            request = auth.SignUpRequest(
                email=f"{new_id('p')}@example.com",
                password=PASSWORD,
                display_name="Some Body",
                join_organization_slug=owner.slug,
            )
            try:
                await client.auth.SignUp(request, metadata=(("x-forwarded-for", place),))
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error).reason
            return ""

        place = new_id("place")
        assert [await sign_up(place) for _ in range(5)] == ["", "", "", "RATE_LIMITED", "RATE_LIMITED"]
        assert await sign_up(new_id("place")) == ""


async def test_a_flood_of_made_up_keys_causes_one_look_and_stops_nobody(stack: TestStack) -> None:
    async with stack.service("tickets", ServiceSettings, wire) as service:
        stub = EchoStub(service.channel("edge"))
        known = service.person("org_1", "usr_1", "agent")
        await stub.Echo(EchoRequest(text="hi"), metadata=known)
        before = stack.tokens.fetches

        async def forged(number: int) -> str:
            token = stack.tokens.token(
                organization_id="org_1", user_id="usr_1", roles=("agent",), headers={"kid": f"made-up-{number}"}
            )
            try:
                await stub.Echo(EchoRequest(text="hi"), metadata=(("authorization", f"Bearer {token}"),))
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error).reason
            return ""

        reasons = await asyncio.gather(*(forged(number) for number in range(300)))
        assert set(reasons) == {"TOKEN_INVALID"}
        assert stack.tokens.fetches - before <= 1
        fresh = service.person("org_1", "usr_2", "agent")
        assert (await stub.Echo(EchoRequest(text="hi"), metadata=fresh)).text == "hi"

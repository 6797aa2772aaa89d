"""Signing up, in and out, and refresh tokens, over real mTLS, Postgres and Valkey."""

import asyncio
from datetime import timedelta

import grpc
import grpc.aio
import pytest

from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import user_pb2
from services.auth import domain
from services.common.errors import RemoteError, from_rpc_error
from services.common.ids import new_id
from tests.integration.auth.people import PASSWORD, AuthClient
from tests.support.server import refused


async def test_the_founder_owns_the_organization(client: AuthClient) -> None:
    owner = await client.founder()
    who = (await client.auth.WhoAmI(auth.WhoAmIRequest(), metadata=owner.headers)).principal
    assert (who.user.id, who.user.email, who.organization.slug) == (owner.user_id, owner.email, owner.slug)
    assert list(who.roles) == [user_pb2.ROLE_OWNER]
    assert "members.write" in who.permissions


async def test_who_joins_is_a_customer(client: AuthClient) -> None:
    owner = await client.founder()
    customer = await client.customer(owner.slug)
    who = (await client.auth.WhoAmI(auth.WhoAmIRequest(), metadata=customer.headers)).principal
    assert list(who.roles) == [user_pb2.ROLE_CUSTOMER]
    assert "tickets.read.own" in who.permissions
    assert "tickets.read" not in who.permissions


async def test_sign_in_ignores_the_case_of_the_address(client: AuthClient) -> None:
    owner = await client.founder()
    request = auth.SignInRequest(email=f" {owner.email.upper()} ", password=PASSWORD, organization_slug=owner.slug)
    response = await client.auth.SignIn(request)
    assert response.principal.user.id == owner.user_id
    assert response.tokens.access_token_lifetime.ToTimedelta() == timedelta(minutes=10)


@pytest.mark.parametrize(
    "changes",
    [{"password": "not the password"}, {"email": "nobody@example.com"}, {"organization_slug": "no-such-shop"}],
    ids=["password", "email", "organization"],
)
async def test_a_wrong_sign_in_never_says_what_was_wrong(client: AuthClient, changes: dict[str, str]) -> None:
    owner = await client.founder()
    values = {"email": owner.email, "password": PASSWORD, "organization_slug": owner.slug} | changes
    async with refused() as refusal:
        await client.auth.SignIn(auth.SignInRequest(**values), metadata=_from(new_id("place")))
    assert refusal.error.code is grpc.StatusCode.UNAUTHENTICATED
    assert refusal.error.reason == "CREDENTIALS_INVALID"
    assert refusal.error.message == "E-mail address or password is wrong."


async def test_signing_up_twice_is_refused(client: AuthClient) -> None:
    owner = await client.founder()
    request = auth.SignUpRequest(
        email=owner.email.upper(), password=PASSWORD, display_name="Again", join_organization_slug=owner.slug
    )
    async with refused() as refusal:
        await client.auth.SignUp(request)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EMAIL_TAKEN")


async def test_a_taken_slug_and_an_unknown_organization_are_told_apart(client: AuthClient) -> None:
    owner = await client.founder()
    taken = auth.SignUpRequest(
        email=f"{new_id('p')}@example.com",
        password=PASSWORD,
        display_name="Some Body",
        new_organization=auth.NewOrganization(slug=owner.slug, name="Another"),
    )
    async with refused() as refusal:
        await client.auth.SignUp(taken)
    assert refusal.error.reason == "ORGANIZATION_SLUG_TAKEN"
    taken.join_organization_slug = "no-such-shop"
    async with refused() as refusal:
        await client.auth.SignUp(taken)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")


async def test_a_guessable_password_is_refused(client: AuthClient) -> None:
    owner = await client.founder()
    request = auth.SignUpRequest(
        email="x@example.com", password="passwordpassword", display_name="X", join_organization_slug=owner.slug
    )
    async with refused() as refusal:
        await client.auth.SignUp(request)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PASSWORD_WEAK")
    assert refusal.error.violations == [("password", "is too easy to guess")]


async def test_a_refresh_token_is_spent_once_and_reuse_ends_its_family(
    client: AuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await client.founder()
    first = owner.refresh_token
    second = await _refresh(client, first)
    third = await _refresh(client, second)
    assert len({first, second, third}) == 3
    # The first is old: its successor is spent.
    await _refused(client, first)
    await _refused(client, third)


async def test_reuse_after_the_grace_ends_the_family_although_its_successor_is_unused(
    client: AuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await client.founder()
    second = await _refresh(client, owner.refresh_token)
    monkeypatch.setattr(domain, "GRACE", timedelta(0))
    await asyncio.sleep(0.01)
    await _refused(client, owner.refresh_token)
    await _refused(client, second)


async def test_a_hundred_racing_redemptions_leave_one_live_family(client: AuthClient) -> None:
    owner = await client.founder()
    request = auth.RefreshTokenRequest(refresh_token=owner.refresh_token)
    results = await asyncio.gather(*(client.auth.RefreshToken(request) for _ in range(100)), return_exceptions=True)
    won = [result for result in results if isinstance(result, auth.RefreshTokenResponse)]
    lost = [from_rpc_error(result) for result in results if isinstance(result, grpc.aio.AioRpcError)]
    # One successor for all. Whoever had to wait longer than the grace for the lock would have got nothing.
    assert (len(won), lost) == (100, [])
    (successor,) = {response.tokens.refresh_token for response in won}
    newest = await _refresh(client, successor)
    # An old token ends all of it.
    await _refused(client, owner.refresh_token)
    await _refused(client, newest)


async def test_signing_out_ends_the_family_and_never_fails(client: AuthClient) -> None:
    owner = await client.founder()
    request = auth.SignOutRequest(refresh_token=owner.refresh_token)
    await client.auth.SignOut(request)
    await client.auth.SignOut(request)
    await client.auth.SignOut(auth.SignOutRequest(refresh_token="unknown"))
    await _refused(client, owner.refresh_token)


async def test_guessing_from_one_place_is_slowed_and_locks_nobody_out(client: AuthClient) -> None:
    owner = await client.founder()
    attacker, home = _from(new_id("attacker")), _from(new_id("home"))
    wrong = auth.SignInRequest(email=owner.email, password="guess after guess")
    reasons: list[str] = []
    for _ in range(12):
        async with refused() as refusal:
            await client.auth.SignIn(wrong, metadata=attacker)
        reasons.append(refusal.error.reason)
    assert reasons == ["CREDENTIALS_INVALID"] * 10 + ["RATE_LIMITED"] * 2
    assert refusal.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.error.retry_after_seconds is not None
    assert 0 < refusal.error.retry_after_seconds <= 300
    # The right password does not help the attacker's place, and helps everywhere else.
    right = auth.SignInRequest(email=owner.email, password=PASSWORD)
    async with refused() as refusal:
        await client.auth.SignIn(right, metadata=attacker)
    assert refusal.error.reason == "RATE_LIMITED"
    assert (await client.auth.SignIn(right, metadata=home)).principal.user.id == owner.user_id


async def test_a_client_cannot_choose_its_place(client: AuthClient) -> None:
    owner = await client.founder()
    place = new_id("real")
    wrong = auth.SignInRequest(email=owner.email, password="guess after guess")
    errors: list[RemoteError] = []
    for number in range(11):
        async with refused() as refusal:
            await client.auth.SignIn(wrong, metadata=(("x-forwarded-for", f"10.0.0.{number}, {place}"),))
        errors.append(refusal.error)
    assert errors[-1].reason == "RATE_LIMITED"


def _from(place: str) -> tuple[tuple[str, str], ...]:
    return (("x-forwarded-for", place),)


async def _refresh(client: AuthClient, token: str) -> str:
    response = await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=token))
    refreshed: str = response.tokens.refresh_token
    return refreshed


async def _refused(client: AuthClient, token: str) -> None:
    async with refused() as refusal:
        await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=token))
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")

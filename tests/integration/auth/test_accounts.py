"""Addresses verified and passwords reset by letter, sign-out everywhere, keys on command; on real stores and mTLS."""

import asyncio
import statistics
import time
from datetime import timedelta

import grpc
import jwt
import pytest

from deskmesh.auth.v1 import account_service_pb2 as account
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import signing_key_service_pb2 as signing
from services.auth.adapters import signing as adapters
from services.common import tokens
from services.common.ids import new_id
from tests.integration.auth.people import PASSWORD, AuthClient, Person, serve
from tests.support.server import Headers, TestStack, refused

VERIFY, RESET, CHANGED = "Verify your e-mail address", "Choose a new password", "Your password was changed"
NEW = "another long enough phrase"


def a_place() -> Headers:
    """A place nobody called from before."""
    return (("x-forwarded-for", new_id("place")),)


async def ask_reset(client: AuthClient, email: str, place: Headers) -> None:
    await client.accounts.RequestPasswordReset(account.RequestPasswordResetRequest(email=email), metadata=place)


async def ended(client: AuthClient, person: Person) -> None:
    """Waits until the access token no longer holds, five seconds at most; the refresh token ended at once."""
    async with refused() as refusal:
        await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=person.refresh_token))
    assert refusal.error.reason == "REFRESH_TOKEN_INVALID"
    async with asyncio.timeout(5):
        while True:
            try:
                await client.auth.WhoAmI(auth.WhoAmIRequest(), metadata=person.headers)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
                return
            await asyncio.sleep(0.02)


async def test_the_address_is_verified_by_the_link_once(client: AuthClient) -> None:
    owner = await client.founder()
    token = await client.mailbox.token(owner.email, VERIFY)
    got = await client.accounts.GetAccount(account.GetAccountRequest(), metadata=owner.headers)
    assert not got.HasField("email_verified_at")
    results = await asyncio.gather(
        *(client.accounts.VerifyEmail(account.VerifyEmailRequest(token=token)) for _ in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, account.VerifyEmailResponse) for result in results) == 1
    got = await client.accounts.GetAccount(account.GetAccountRequest(), metadata=owner.headers)
    assert got.HasField("email_verified_at")
    async with refused() as refusal:
        await client.accounts.VerifyEmail(account.VerifyEmailRequest(token=token))
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MAIL_LINK_INVALID")


async def test_a_forgotten_password_is_replaced_and_every_sign_in_ends(client: AuthClient) -> None:
    owner = await client.founder()
    elsewhere = await client.sign_in(owner)
    await ask_reset(client, owner.email.upper(), a_place())
    token = await client.mailbox.token(owner.email, RESET)
    async with refused() as refusal:
        await client.accounts.ResetPassword(account.ResetPasswordRequest(token=token, new_password="too short"))
    assert refusal.error.violations == [("new_password", "must have at least 15 characters")]
    await client.accounts.ResetPassword(account.ResetPasswordRequest(token=token, new_password=NEW))
    for person in (owner, elsewhere):
        await ended(client, person)
    async with refused() as refusal:
        await client.accounts.ResetPassword(account.ResetPasswordRequest(token=token, new_password=NEW))
    assert refusal.error.reason == "MAIL_LINK_INVALID"
    async with refused() as refusal:
        await client.sign_in(owner)
    assert refusal.error.reason == "CREDENTIALS_INVALID"
    await client.sign_in(owner, NEW)
    await client.mailbox.letter(owner.email, CHANGED)


async def test_a_changed_password_ends_the_other_sign_ins_only(client: AuthClient) -> None:
    owner = await client.founder()
    elsewhere = await client.sign_in(owner)
    request = account.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW)
    changed = (await client.accounts.ChangePassword(request, metadata=owner.headers)).tokens
    for person in (owner, elsewhere):
        await ended(client, person)
    who = await client.auth.WhoAmI(
        auth.WhoAmIRequest(), metadata=(("authorization", f"Bearer {changed.access_token}"),)
    )
    assert who.principal.user.id == owner.user_id


async def test_sign_out_everywhere_reaches_every_sign_in(client: AuthClient) -> None:
    owner = await client.founder()
    sign_ins = [owner, await client.sign_in(owner), await client.sign_in(owner)]
    await client.accounts.SignOutEverywhere(account.SignOutEverywhereRequest(), metadata=owner.headers)
    await asyncio.gather(*(ended(client, person) for person in sign_ins))
    await client.auth.WhoAmI(auth.WhoAmIRequest(), metadata=(await client.sign_in(owner)).headers)


async def test_whether_an_address_exists_shows_neither_in_the_answer_nor_in_its_time(client: AuthClient) -> None:
    owner = await client.founder()
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(15):
        for exists in (True, False):
            email = owner.email if exists else f"nobody-{number}@example.com"
            place = a_place()
            started = time.perf_counter()
            await ask_reset(client, email, place)
            times[exists].append(time.perf_counter() - started)
    ratio = statistics.median(times[True]) / statistics.median(times[False])
    assert 0.5 < ratio < 2


async def test_letters_are_limited_by_place_and_address(client: AuthClient) -> None:
    email, place = f"{new_id('p')}@example.com", a_place()
    for _ in range(5):
        await ask_reset(client, email, place)
    async with refused() as refusal:
        await ask_reset(client, email, place)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert refusal.error.retry_after_seconds
    await ask_reset(client, email, a_place())


async def test_only_the_operator_touches_the_signing_keys(client: AuthClient) -> None:
    owner = await client.founder()
    stub = type(client.signing_keys)(client.service.channel("edge"))
    async with refused() as refusal:
        await stub.RotateSigningKeys(signing.RotateSigningKeysRequest(), metadata=owner.headers)
    assert refusal.error.reason == "WORKLOAD_NOT_ALLOWED"


async def test_keys_rotate_on_command_and_no_call_fails_meanwhile(
    stack: TestStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same order of things in a second instead of minutes: verifiers look again sooner than a new key signs.
    monkeypatch.setattr(tokens, "FETCH_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(tokens, "MAXIMUM_AGE_SECONDS", 0.1)
    monkeypatch.setattr(adapters, "PUBLISHED_AHEAD", timedelta(seconds=1))
    async with serve(stack, "rotating") as client:
        owner = await client.founder()
        before = (await client.signing_keys.ListSigningKeys(signing.ListSigningKeysRequest())).keys
        signed_by: set[str] = set()
        # A new key has signed and was accepted.
        done = asyncio.Event()

        async def call() -> None:
            while not done.is_set():
                person = await client.sign_in(owner)
                for headers in (person.headers, owner.headers):
                    await client.auth.WhoAmI(auth.WhoAmIRequest(), metadata=headers)
                signed_by.add(jwt.get_unverified_header(person.access_token)["kid"])
                if signed_by - {key.id for key in before}:
                    done.set()

        load = [asyncio.create_task(call()) for _ in range(4)]
        after = (await client.signing_keys.RotateSigningKeys(signing.RotateSigningKeysRequest())).keys
        assert len(after) == len(before) + 1
        assert after[-1].signs_from.ToDatetime() - after[-1].created_at.ToDatetime() == adapters.PUBLISHED_AHEAD
        async with asyncio.timeout(30):
            await asyncio.gather(*load)
        now = (await client.signing_keys.ListSigningKeys(signing.ListSigningKeysRequest())).keys
        assert [key.id for key in now if key.signing] == [after[-1].id]

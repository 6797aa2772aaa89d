"""Signing in and membership rules, on ports in memory and a clock moved by hand."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.domain import Role, check_password, hash_refresh_token, normalize_email
from services.auth.errors import CredentialsInvalid, PasswordWeak, RefreshTokenInvalid
from services.auth.usecases.sessions import Sessions, SignedIn, SignIn, SignUp
from services.common.permissions import ROLES, SPECIALISTS
from tests.unit.auth.fakes import FakeAccessTokens, FakeAttempts, FakePasswords, FakeWorkFactory

PASSWORD = "a long enough phrase"


class Desk:
    """The use cases on fakes."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.work = FakeWorkFactory()
        self.passwords = FakePasswords()
        self.attempts = FakeAttempts()
        self.sessions = Sessions(
            self.work,
            self.passwords,
            FakeAccessTokens(),
            self.attempts,
            lambda: self.now,
            refresh_lifetime=timedelta(days=30),
        )

    async def founder(self, email: str = "ann@example.com", slug: str = "shop") -> SignedIn:
        return await self.sessions.sign_up(SignUp(email, PASSWORD, "Ann", slug, "A shop"))


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_nothing_is_kept_when_signing_up_fails(desk: Desk) -> None:
    await desk.founder()
    with pytest.raises(PasswordWeak):
        await desk.sessions.sign_up(SignUp("bob@example.com", "password1", "Bob", "shop"))
    assert len(desk.work.store.users) == 1


async def test_an_unknown_address_costs_as_much_as_a_wrong_password(desk: Desk) -> None:
    await desk.founder()
    for email in ("ann@example.com", "nobody@example.com"):
        with pytest.raises(CredentialsInvalid):
            await desk.sessions.sign_in(SignIn(email, "wrong", "", "1.2.3.4"))
    assert desk.passwords.verified == 2
    assert desk.attempts.begun == [("ann@example.com", "1.2.3.4"), ("nobody@example.com", "1.2.3.4")]
    assert desk.attempts.forgotten == []


async def test_a_hash_of_another_cost_is_made_anew_at_sign_in(desk: Desk) -> None:
    user_id = (await desk.founder()).principal.user.id
    desk.passwords.cost = "2"
    await desk.sessions.sign_in(SignIn("Ann@Example.com", PASSWORD, "shop", "1.2.3.4"))
    assert desk.work.store.users[user_id].password_hash == f"2:{PASSWORD}"
    assert desk.attempts.forgotten == [("ann@example.com", "1.2.3.4")]


async def test_without_a_slug_the_oldest_membership_counts(desk: Desk) -> None:
    first = await desk.founder()
    signed_in = await desk.sessions.sign_in(SignIn("ann@example.com", PASSWORD, "", "x"))
    assert signed_in.principal.organization == first.principal.organization
    desk.now += timedelta(days=1)
    await desk.founder("bob@example.com", "another")
    with pytest.raises(CredentialsInvalid):
        await desk.sessions.sign_in(SignIn("ann@example.com", PASSWORD, "another", "x"))


async def test_a_refresh_token_expires(desk: Desk) -> None:
    token = (await desk.founder()).tokens.refresh
    desk.now += timedelta(days=30)
    with pytest.raises(RefreshTokenInvalid):
        await desk.sessions.refresh(token)


async def test_callers_that_race_lose_without_ending_the_family(desk: Desk) -> None:
    token = (await desk.founder()).tokens.refresh
    newest = (await desk.sessions.refresh(token)).refresh
    desk.now += timedelta(seconds=0.5)
    with pytest.raises(RefreshTokenInvalid):
        await desk.sessions.refresh(token)
    assert (await desk.sessions.refresh(newest)).refresh


async def test_an_old_token_ends_the_family_even_at_once_when_its_successor_was_used(desk: Desk) -> None:
    first = (await desk.founder()).tokens.refresh
    second = (await desk.sessions.refresh(first)).refresh
    third = (await desk.sessions.refresh(second)).refresh
    for token in (first, third):
        with pytest.raises(RefreshTokenInvalid):
            await desk.sessions.refresh(token)


async def test_a_copied_token_ends_the_family_after_the_race_window(desk: Desk) -> None:
    first = (await desk.founder()).tokens.refresh
    second = (await desk.sessions.refresh(first)).refresh
    desk.now += timedelta(seconds=1.1)
    for token in (first, second):
        with pytest.raises(RefreshTokenInvalid):
            await desk.sessions.refresh(token)


async def test_only_hashes_of_refresh_tokens_are_kept(desk: Desk) -> None:
    token = (await desk.founder()).tokens.refresh
    assert list(desk.work.store.tokens) == [hash_refresh_token(token)]
    assert token not in repr(desk.work.store)


@pytest.mark.parametrize(
    "password",
    ["password", "PASSWORD123", "ｐａｓｓｗｏｒｄ", "aaaaaaaaaa", "abababab", "ann@shop.example", "annikaannika"],
)
def test_easy_passwords_are_refused(password: str) -> None:
    email = "annika@shop.example" if password.startswith("annika") else "ann@shop.example"
    with pytest.raises(PasswordWeak):
        check_password(password, email)


@pytest.mark.parametrize("password", ["correct horse battery", "pässwörter-mag-ich", "8+3=eleven"])
def test_other_passwords_are_not(password: str) -> None:
    check_password(password, "ann@shop.example")


@given(st.text(max_size=300))
def test_normalizing_twice_is_normalizing_once(email: str) -> None:
    assert normalize_email(normalize_email(email)) == normalize_email(email)


def test_roles_are_those_of_the_permission_table() -> None:
    assert tuple(str(role) for role in Role) == ROLES + SPECIALISTS

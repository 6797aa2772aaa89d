"""Signing in and membership rules, on ports in memory and a clock moved by hand."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.domain import Role, hash_refresh_token, normalize_email
from services.auth.errors import CredentialsInvalid, MailLinkInvalid, PasswordWeak, RefreshTokenInvalid
from services.auth.passwords import check_password, stands_alone
from services.auth.usecases.accounts import Accounts, ChangePassword
from services.auth.usecases.mailroom import ATTEMPTS, MailRoom
from services.auth.usecases.mfa import Codes, Mfa
from services.auth.usecases.opening import Openings, SignedIn
from services.auth.usecases.sessions import Sessions, SignIn, SignUp
from services.common.mail import Mail
from services.common.permissions import ROLES, SPECIALISTS
from tests.unit.auth.account_fakes import FakeAllowances, FakeAnnouncer, FakeMailer
from tests.unit.auth.credential_fakes import FakeAccessTokens, FakeAttempts, FakePasswords
from tests.unit.auth.factor_fakes import FakeEnvelope
from tests.unit.auth.fakes import FakeWorkFactory

PASSWORD = "a long enough phrase"


class Desk:
    """The use cases on fakes."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.work = FakeWorkFactory()
        self.passwords = FakePasswords()
        self.attempts = FakeAttempts()
        self.allowances = FakeAllowances()
        self.announcer = FakeAnnouncer()
        self.mailer = FakeMailer()
        openings = self.openings = Openings(
            FakeAccessTokens(), self.clock, refresh_lifetime=timedelta(days=30), successor_key=b"a key of the tests"
        )
        self.mailroom = MailRoom(self.work, self.mailer, self.clock, public_url="https://desk.example/")
        common = (self.attempts, self.allowances)
        self.sessions = Sessions(
            self.work,
            self.passwords,
            openings,
            *common,
            self.announcer,
            self.mailroom.wake,
            self.clock,
            sign_ups_per_hour=10,
        )
        codes = Codes(FakeEnvelope(), self.clock, pepper=b"a pepper of the tests")
        self.mfa = Mfa(
            self.work,
            self.passwords,
            self.attempts,
            openings,
            codes,
            FakeEnvelope(),
            self.mailroom.wake,
            self.clock,
            issuer="Deskmesh",
        )
        self.accounts = Accounts(
            self.work, self.passwords, *common, openings, self.announcer, self.mailroom.wake, self.clock
        )

    def clock(self) -> datetime:
        return self.now

    async def founder(self, email: str = "ann@example.com", slug: str = "shop") -> SignedIn:
        return await self.sessions.sign_up(SignUp(email, PASSWORD, "Ann", slug, "1.2.3.4", "A shop"))

    async def signed_in(self, email: str = "ann@example.com", password: str = PASSWORD) -> SignedIn:
        """A sign-in without a second factor."""
        found = await self.sessions.sign_in(SignIn(email, password, "", "1.2.3.4"))
        assert isinstance(found, SignedIn)
        return found

    async def letters(self) -> list[Mail]:
        """Everything that waited, sent now."""
        self.mailer.sent.clear()
        while await self.mailroom.send_one():
            continue
        return self.mailer.sent


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_nothing_is_kept_when_signing_up_fails(desk: Desk) -> None:
    await desk.founder()
    with pytest.raises(PasswordWeak):
        await desk.sessions.sign_up(SignUp("bob@example.com", "passwordpassword", "Bob", "shop", "x"))
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
    signed_in = await desk.signed_in()
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


async def test_callers_that_race_or_repeat_get_the_same_successor(desk: Desk) -> None:
    token = (await desk.founder()).tokens.refresh
    newest = (await desk.sessions.refresh(token)).refresh
    desk.now += timedelta(seconds=4.9)
    assert (await desk.sessions.refresh(token)).refresh == newest
    assert (await desk.sessions.refresh(newest)).refresh not in (token, newest)


async def test_an_old_token_ends_the_family_even_at_once_when_its_successor_was_used(desk: Desk) -> None:
    first = (await desk.founder()).tokens.refresh
    second = (await desk.sessions.refresh(first)).refresh
    third = (await desk.sessions.refresh(second)).refresh
    for token in (first, third):
        with pytest.raises(RefreshTokenInvalid):
            await desk.sessions.refresh(token)


async def test_a_copied_token_ends_the_family_after_the_grace(desk: Desk) -> None:
    first = (await desk.founder()).tokens.refresh
    second = (await desk.sessions.refresh(first)).refresh
    desk.now += timedelta(seconds=5.1)
    for token in (first, second):
        with pytest.raises(RefreshTokenInvalid):
            await desk.sessions.refresh(token)
    (family,) = desk.work.store.families
    assert [revoked.subject for revoked in desk.announcer.announced] == [family]


async def test_only_hashes_of_refresh_tokens_are_kept(desk: Desk) -> None:
    token = (await desk.founder()).tokens.refresh
    assert list(desk.work.store.tokens) == [hash_refresh_token(token)]
    assert token not in repr(desk.work.store)


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword",
        "ｐａｓｓｗｏｒｄpassword1",
        "aaaaaaaaaaaaaaaa",
        "abababababababab",
        "qwertyuiopasdfgh",
        "123456789012345",
        "annika@shop.example",
        "AnnikaAnnikaAnnika",
        "wintergreen12345",
        "deskmeshdeskmesh",
        "iloveyouiloveyou",
    ],
)
def test_easy_passwords_are_refused_however_long(password: str) -> None:
    with pytest.raises(PasswordWeak) as refusal:
        check_password(password, "annika@shop.example", "Annika Wintergreen")
    assert refusal.value.violations == [("password", "is too easy to guess")]


@pytest.mark.parametrize(
    "password", ["correct horse battery", "pässwörter-mag-ich", "kX9_2lmPQ-wz7Yt4", "съешь ещё булок"]
)
def test_length_is_all_that_is_asked_of_other_passwords(password: str) -> None:
    check_password(password, "annika@shop.example", "Annika Wintergreen")
    assert stands_alone(password)
    with pytest.raises(PasswordWeak) as refusal:
        check_password(password[:14], "annika@shop.example", field="new_password")
    assert refusal.value.violations == [("new_password", "must have at least 15 characters")]


def test_beside_a_second_factor_eight_characters_are_enough() -> None:
    check_password("8+3=elvn", "annika@shop.example", alone=False)
    with pytest.raises(PasswordWeak):
        check_password("8+3=elv", "annika@shop.example", alone=False)
    with pytest.raises(PasswordWeak):
        check_password("password", "annika@shop.example", alone=False)


@given(st.text(max_size=300))
def test_normalizing_twice_is_normalizing_once(email: str) -> None:
    assert normalize_email(normalize_email(email)) == normalize_email(email)


def test_roles_are_those_of_the_permission_table() -> None:
    assert tuple(str(role) for role in Role) == ROLES + SPECIALISTS


NEW = "another long phrase"


def token_of(mail: Mail) -> str:
    return mail.text.partition("#")[2].split()[0]


async def test_a_link_verifies_the_address_once_and_for_a_day(desk: Desk) -> None:
    user_id = (await desk.founder()).principal.user.id
    (mail,) = await desk.letters()
    assert (mail.to, "https://desk.example/verify-email#" in mail.text) == ("ann@example.com", True)
    assert (await desk.accounts.get(user_id)).account.email_verified_at is None
    assert token_of(mail) not in repr(desk.work.store)
    desk.now += timedelta(hours=23)
    await desk.accounts.verify_email(token_of(mail))
    assert (await desk.accounts.get(user_id)).account.email_verified_at == desk.now
    with pytest.raises(MailLinkInvalid):
        await desk.accounts.verify_email(token_of(mail))
    await desk.accounts.send_verification(user_id, "1.2.3.4")
    assert await desk.letters() == []


async def test_an_old_link_and_one_for_something_else_are_refused(desk: Desk) -> None:
    await desk.founder()
    (mail,) = await desk.letters()
    with pytest.raises(MailLinkInvalid):
        await desk.accounts.reset_password(token_of(mail), NEW)
    desk.now += timedelta(hours=24)
    with pytest.raises(MailLinkInvalid):
        await desk.accounts.verify_email(token_of(mail))


async def test_a_reset_looks_the_same_for_an_address_nobody_has(desk: Desk) -> None:
    await desk.founder()
    await desk.letters()
    for email in ("Ann@Example.com ", "nobody@example.com"):
        await desk.accounts.request_reset(email, "1.2.3.4")
    assert sorted(job.email for job in desk.work.store.mail_jobs.values()) == ["ann@example.com", "nobody@example.com"]
    assert [mail.to for mail in await desk.letters()] == ["ann@example.com"]
    assert desk.work.store.mail_jobs == {}


async def test_a_reset_sets_the_password_ends_sign_ins_and_makes_other_links_useless(desk: Desk) -> None:
    signed_in = await desk.founder()
    user_id = signed_in.principal.user.id
    await desk.letters()
    for _ in range(2):
        await desk.accounts.request_reset("ann@example.com", "1.2.3.4")
    first, second = (token_of(mail) for mail in await desk.letters())
    with pytest.raises(PasswordWeak):
        await desk.accounts.reset_password(first, "ann@example.com.")
    await desk.accounts.reset_password(first, NEW)
    for token in (first, second):
        with pytest.raises(MailLinkInvalid):
            await desk.accounts.reset_password(token, NEW)
    with pytest.raises(RefreshTokenInvalid):
        await desk.sessions.refresh(signed_in.tokens.refresh)
    assert [revoked.subject for revoked in desk.announcer.announced] == [user_id]
    assert (await desk.accounts.get(user_id)).account.email_verified_at == desk.now
    await desk.sessions.sign_in(SignIn("ann@example.com", NEW, "", "x"))
    assert [mail.subject for mail in await desk.letters()] == ["Your password was changed"]


async def test_a_link_is_no_use_after_half_an_hour(desk: Desk) -> None:
    await desk.founder()
    await desk.letters()
    await desk.accounts.request_reset("ann@example.com", "1.2.3.4")
    (mail,) = await desk.letters()
    desk.now += timedelta(minutes=30)
    with pytest.raises(MailLinkInvalid):
        await desk.accounts.reset_password(token_of(mail), NEW)


async def test_a_changed_password_ends_every_other_sign_in(desk: Desk) -> None:
    here, there = await desk.founder(), await desk.signed_in()
    principal = here.principal
    command = ChangePassword(principal.user.id, principal.organization.id, ("pwd",), PASSWORD, NEW, "x")
    pair = await desk.accounts.change_password(command)
    for lost in (here, there):
        with pytest.raises(RefreshTokenInvalid):
            await desk.sessions.refresh(lost.tokens.refresh)
    assert (await desk.sessions.refresh(pair.refresh)).refresh
    with pytest.raises(CredentialsInvalid):
        await desk.accounts.change_password(command)


async def test_a_password_that_is_changed_while_it_is_verified_opens_nothing(desk: Desk) -> None:
    user = (await desk.founder()).principal.user
    verify = desk.passwords.verify

    async def slowly(password: str, password_hash: str | None) -> bool:
        verified = await verify(password, password_hash)
        if password_hash == user.password_hash:
            async with desk.work.system() as work:
                await work.users.set_password_hash(user.id, await desk.passwords.hash(NEW))
                await work.commit()
        return verified

    desk.passwords.verify = slowly  # type: ignore[method-assign]
    with pytest.raises(CredentialsInvalid):
        await desk.signed_in()
    assert (await desk.signed_in(password=NEW)).principal.user.id == user.id


async def test_signing_out_everywhere_ends_every_family(desk: Desk) -> None:
    signed_in = await desk.founder()
    await desk.accounts.sign_out_everywhere(signed_in.principal.organization.id, signed_in.principal.user.id)
    assert all(family.revoked_at for family in desk.work.store.families.values())
    assert [revoked.subject for _, revoked in desk.work.store.revoked] == [signed_in.principal.user.id]


async def test_a_letter_that_cannot_be_sent_waits_longer_each_time_and_is_given_up(desk: Desk) -> None:
    await desk.founder()
    desk.mailer.fails = True
    waits = []
    for _ in range(ATTEMPTS):
        assert await desk.mailroom.send_one()
        assert not await desk.mailroom.send_one()
        if jobs := list(desk.work.store.mail_jobs.values()):
            waits.append(jobs[0].due_at - desk.now)
            desk.now = jobs[0].due_at
    assert waits[:3] == [timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120)]
    assert max(waits) == timedelta(hours=1)
    assert desk.work.store.mail_jobs == {}


async def test_a_link_is_good_before_its_letter_goes_out(desk: Desk) -> None:
    signed_in = await desk.founder()

    class Impatient(FakeMailer):
        async def send(self, mail: Mail) -> None:
            await desk.accounts.verify_email(token_of(mail))

    mailroom = MailRoom(desk.work, Impatient(), desk.clock, public_url="https://desk.example")
    assert await mailroom.send_one()
    assert (await desk.accounts.get(signed_in.principal.user.id)).account.email_verified_at == desk.now
    assert not await mailroom.send_one()

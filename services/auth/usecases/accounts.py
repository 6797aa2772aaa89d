"""What people do with their own account: prove the address, change or reset the password, sign out everywhere."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.auth.account_ports import Allowances, Announcer
from services.auth.accounts import Account, Letter, Link, MailJob, Purpose, hash_token
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership, Principal, User, normalize_email
from services.auth.errors import CredentialsInvalid, MailLinkInvalid
from services.auth.passwords import check_password, stands_alone
from services.auth.ports import Attempts, Passwords, Work, WorkFactory
from services.auth.usecases.ending import end_sign_ins
from services.auth.usecases.mfa import confirmed_totp
from services.auth.usecases.opening import Openings, TokenPair
from services.common.clock import Clock

# Letters one place may have sent to one address, to all addresses, and all places to one.
LETTERS_PER_PAIR = 5
LETTERS_PER_PLACE = 30
LETTERS_PER_ADDRESS = 20
LETTERS_WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Who changes the password of which sign-in, and from where."""

    user_id: str
    organization_id: str
    methods: tuple[str, ...]
    current: str
    new: str
    source: str


@dataclass(frozen=True, slots=True)
class Security:
    """How an account is secured."""

    account: Account
    totp_enabled: bool
    recovery_codes_left: int


class Accounts:
    """The accounts of people. `wake` tells the mail room of a new letter."""

    def __init__(
        self,
        work: WorkFactory,
        passwords: Passwords,
        attempts: Attempts,
        allowances: Allowances,
        openings: Openings,
        announcer: Announcer,
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._work = work
        self._passwords = passwords
        self._attempts = attempts
        self._allowances = allowances
        self._openings = openings
        self._announcer = announcer
        self._wake = wake
        self._clock = clock

    async def get(self, user_id: str) -> Security:
        """How the account of a person is secured."""
        async with self._work.system() as work:
            account = await work.accounts.get(user_id)
            totp = await confirmed_totp(work, user_id)
            return Security(account, totp is not None, await work.factors.codes_left(user_id))

    async def sign_out_everywhere(self, organization_id: str, user_id: str) -> None:
        """End every sign-in of a person, in every organization."""
        now = self._clock()
        async with self._work.system() as work:
            ended = await end_sign_ins(work, user_id, self._clock)
            event = AuditEvent.of(EventType.SIGN_OUT_EVERYWHERE, organization_id, at=now, subject_id=user_id)
            await work.audit.add(event)
            await work.commit()
        await self._announcer.announce([ended])

    async def send_verification(self, user_id: str, source: str) -> None:
        """Send the link once more. Raises TooManyAttempts."""
        async with self._work.system() as work:
            user = await work.users.get(user_id)
            account = await work.accounts.get(user_id)
        if account.email_verified_at is None:
            await self._allow_letter(user.email, source)
            await self._post(Letter.VERIFY_EMAIL, user.email)

    async def verify_email(self, token: str) -> None:
        """Raises MailLinkInvalid."""
        now = self._clock()
        async with self._work.system() as work:
            link, user = await _followed(work, token, Purpose.VERIFY_EMAIL, now)
            account = await work.accounts.get(user.id)
            await work.accounts.put(replace(account, email_verified_at=account.email_verified_at or now))
            await work.links.forget(user.id, link.purpose)
            place = await work.memberships.oldest_of(user.id)
            await work.audit.add(_event(EventType.EMAIL_VERIFIED, place, user, now))
            await work.commit()

    async def request_reset(self, email: str, source: str) -> None:
        """Send the link, if anybody has the address; what is done here is the same if not. Raises TooManyAttempts."""
        address = normalize_email(email)
        await self._allow_letter(address, source)
        await self._post(Letter.RESET_PASSWORD, address)

    async def reset_password(self, token: str, new: str) -> None:
        """Set a password by a link, which also proves the address. Raises MailLinkInvalid or PasswordWeak."""
        async with self._work.system() as work:
            _, user = await _followed(work, token, Purpose.RESET_PASSWORD, self._clock())
            alone = await confirmed_totp(work, user.id) is None
        await asyncio.to_thread(check_password, new, user.email, user.display_name, alone=alone, field="new_password")
        password_hash = await self._passwords.hash(new)
        now = self._clock()
        async with self._work.system() as work:
            link, user = await _followed(work, token, Purpose.RESET_PASSWORD, now)
            account = await work.accounts.get(user.id)
            await work.accounts.put(
                replace(account, email_verified_at=account.email_verified_at or now, password_alone=stands_alone(new))
            )
            await work.users.set_password_hash(user.id, password_hash)
            await work.links.forget(user.id, link.purpose)
            ended = await end_sign_ins(work, user.id, self._clock)
            place = await work.memberships.oldest_of(user.id)
            await work.audit.add(_event(EventType.PASSWORD_RESET, place, user, now))
            await work.mail_jobs.add(MailJob.new(Letter.PASSWORD_CHANGED, user.email, at=now))
            await work.commit()
        self._wake()
        await self._announcer.announce([ended])

    async def change_password(self, command: ChangePassword) -> TokenPair:
        """End every other sign-in. Raises CredentialsInvalid, PasswordWeak or TooManyAttempts."""
        async with self._work.system() as work:
            user = await work.users.get(command.user_id)
            alone = await confirmed_totp(work, user.id) is None
        await self._attempts.begin(user.email, command.source)
        if not await self._passwords.verify(command.current, user.password_hash):
            raise CredentialsInvalid
        await asyncio.to_thread(
            check_password, command.new, user.email, user.display_name, alone=alone, field="new_password"
        )
        password_hash = await self._passwords.hash(command.new)
        now = self._clock()
        async with self._work.system() as work:
            if (await work.users.get_held(user.id)).password_hash != user.password_hash:
                raise CredentialsInvalid
            await work.users.set_password_hash(user.id, password_hash)
            account = await work.accounts.get(user.id)
            await work.accounts.put(replace(account, password_alone=stands_alone(command.new)))
            ended = await end_sign_ins(work, user.id, self._clock)
            membership = await work.memberships.find_held(command.organization_id, user.id)
            if membership is None:
                raise CredentialsInvalid
            organization = await work.organizations.get(command.organization_id)
            await work.audit.add(_event(EventType.PASSWORD_CHANGED, membership, user, now))
            await work.mail_jobs.add(MailJob.new(Letter.PASSWORD_CHANGED, user.email, at=now))
            principal = Principal(user, organization, membership.roles, membership.custom_permissions)
            signed_in = await self._openings.begin(work, principal, command.methods)
            await work.commit()
        self._wake()
        await self._attempts.succeeded(user.email, command.source)
        await self._announcer.announce([ended])
        return signed_in.tokens

    async def _allow_letter(self, address: str, source: str) -> None:
        await self._allowances.take("letter", f"{source} {address}", LETTERS_PER_PAIR, LETTERS_WINDOW)
        await self._allowances.take("letters-from", source, LETTERS_PER_PLACE, LETTERS_WINDOW)
        # Against floods from many places; the links that came with them are good, so nobody is shut out.
        await self._allowances.take("letters-to", address, LETTERS_PER_ADDRESS, LETTERS_WINDOW)

    async def _post(self, letter: Letter, address: str) -> None:
        async with self._work.system() as work:
            await work.mail_jobs.add(MailJob.new(letter, address, at=self._clock()))
            await work.commit()
        self._wake()


async def _followed(work: Work, token: str, purpose: Purpose, now: datetime) -> tuple[Link, User]:
    """The link of a token and its person. Raises MailLinkInvalid."""
    link = await work.links.find_locked(hash_token(token), purpose)
    if link is None or link.expires_at <= now:
        raise MailLinkInvalid
    user = await work.users.get(link.user_id)
    if user.email != link.email:
        raise MailLinkInvalid
    return link, user


def _event(kind: EventType, place: Membership | None, user: User, at: datetime) -> AuditEvent:
    organization_id = place.organization_id if place else ""
    return AuditEvent.of(kind, organization_id, at=at, actor_id=user.id, subject_id=user.id)

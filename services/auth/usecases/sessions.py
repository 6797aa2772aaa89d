"""Signing up, in and out, and renewing: everything that ends in a pair of tokens or ends one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.auth.account_ports import Allowances, Announcer
from services.auth.accounts import Account, Letter, MailJob
from services.auth.api_keys import SERVICE_ACCOUNT_ID
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import (
    Membership,
    Organization,
    Principal,
    RefreshFamily,
    Role,
    User,
    hash_refresh_token,
    normalize_email,
)
from services.auth.errors import CredentialsInvalid, EmailTaken, RefreshTokenInvalid
from services.auth.oauth import CLI
from services.auth.passwords import check_password
from services.auth.ports import Attempts, Passwords, Work, WorkFactory
from services.auth.usecases.ending import end_families
from services.auth.usecases.mfa import Challenged, challenge_for
from services.auth.usecases.opening import PASSWORD, Openings, SignedIn, TokenPair, membership_of, place_of
from services.common.clock import Clock

# The sign-ins that the clients made here renew: a person's own, and the command line's, which has no secret to prove.
OWN_CLIENTS = ("", CLI)


@dataclass(frozen=True, slots=True)
class SignUp:
    """A new person, who joins an organization by its slug or founds the one named; `source` is the client's address."""

    email: str
    password: str
    display_name: str
    slug: str
    source: str
    new_organization_name: str | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """`source` is the client's address; an empty slug means the organization the person has been in longest."""

    email: str
    password: str
    slug: str
    source: str


class Sessions:
    """The sign-ins of people."""

    def __init__(
        self,
        work: WorkFactory,
        passwords: Passwords,
        openings: Openings,
        attempts: Attempts,
        allowances: Allowances,
        announcer: Announcer,
        wake: Callable[[], None],
        clock: Clock,
        *,
        sign_ups_per_hour: int,
    ) -> None:
        self._work = work
        self._passwords = passwords
        self._openings = openings
        self._attempts = attempts
        self._allowances = allowances
        self._announcer = announcer
        self._wake = wake
        self._clock = clock
        self._sign_ups_per_hour = sign_ups_per_hour

    async def sign_up(self, command: SignUp) -> SignedIn:
        """Raises PasswordWeak, EmailTaken, SlugTaken, OrganizationNotFound or TooManyAttempts."""
        await asyncio.to_thread(check_password, command.password, command.email, command.display_name)
        # A taken address is told, so trying out addresses is as slow as signing up.
        await self._allowances.take("sign-up", command.source, self._sign_ups_per_hour, timedelta(hours=1))
        # Hashing takes long; the address may be taken meanwhile, which adding the user then tells.
        async with self._work.system() as work:
            if await work.users.find_by_email(normalize_email(command.email)):
                raise EmailTaken
        password_hash = await self._passwords.hash(command.password)
        now = self._clock()
        user = User.new(command.email, command.display_name, password_hash, at=now)
        async with self._work.system() as work:
            organization, role = await self._place(work, command)
            await work.users.add(user)
            await work.memberships.add(Membership(user, organization.id, (role,), now))
            if command.new_organization_name is not None:
                founded = AuditEvent.of(EventType.ORGANIZATION_CREATED, organization.id, at=now, actor_id=user.id)
                await work.audit.add(founded)
            await work.audit.add(AuditEvent.of(EventType.SIGN_UP, organization.id, at=now, actor_id=user.id))
            await work.accounts.put(Account(user.id))
            await work.mail_jobs.add(MailJob.new(Letter.VERIFY_EMAIL, user.email, at=now))
            signed_in = await self._openings.begin(work, Principal(user, organization, (role,)), (PASSWORD,))
            await work.commit()
        self._wake()
        return signed_in

    async def sign_in(self, command: SignIn) -> SignedIn | Challenged:
        """Tokens, or the challenge of who has a second factor. Raises CredentialsInvalid or TooManyAttempts."""
        email = normalize_email(command.email)
        await self._attempts.begin(email, command.source)
        async with self._work.system() as work:
            user = await work.users.find_by_email(email)
        if not await self._passwords.verify(command.password, user.password_hash if user else None) or not user:
            await self._sign_in_failed(user, command.slug)
            raise CredentialsInvalid
        new_hash = None
        if self._passwords.needs_rehash(user.password_hash):
            new_hash = await self._passwords.hash(command.password)
        async with self._work.system() as work:
            # A password that was changed while it was verified opens nothing.
            held = await work.users.get_held(user.id)
            if held.password_hash != user.password_hash and not await self._passwords.verify(
                command.password, held.password_hash
            ):
                raise CredentialsInvalid
            principal = await place_of(work, user.id, command.slug)
            if new_hash:
                await work.users.set_password_hash(user.id, new_hash)
            if challenged := await challenge_for(work, user.id, principal.organization.id, self._clock()):
                await work.commit()
                return challenged
            entered = AuditEvent.of(EventType.SIGN_IN, principal.organization.id, at=self._clock(), actor_id=user.id)
            await work.audit.add(entered)
            signed_in = await self._openings.begin(work, principal, (PASSWORD,))
            await work.commit()
        await self._attempts.succeeded(email, command.source)
        return signed_in

    async def refresh(self, token: str, clients: Sequence[str] = OWN_CLIENTS) -> TokenPair:
        """Spend a refresh token for a new pair. Raises RefreshTokenInvalid; a reused one ends its whole family.

        `clients` are the programs of whose sign-ins it may be.
        """
        received_at = self._clock()
        async with self._work.system() as work:
            stored = await work.refresh_tokens.find_locked(hash_refresh_token(token))
            if stored is None or stored.family.client_id not in clients:
                raise RefreshTokenInvalid
            family, now = stored.family, self._clock()
            if stored.is_reuse(received_at):
                if family.revoked_at is None:
                    await self.end(work, family, EventType.REFRESH_REUSED, now)
                raise RefreshTokenInvalid
            membership = await work.memberships.find_held(family.organization_id, family.user_id)
            if membership is None or not stored.is_live(now):
                raise RefreshTokenInvalid
            successor = self._openings.successor_of(token)
            # While both are held: whoever ends this sign-in or changes the place ends what was issued before.
            pair = self._openings.pair(family, membership.grants, successor)
            if stored.spent_at is None:
                expires_at = now + self._openings.refresh_lifetime
                await work.refresh_tokens.spend(stored, hash_refresh_token(successor), expires_at, at=now)
                await work.commit()
        return pair

    async def sign_out(self, token: str) -> None:
        """End the family of a refresh token; an unknown one is none to end."""
        async with self._work.system() as work:
            stored = await work.refresh_tokens.find_locked(hash_refresh_token(token))
            if stored is not None and stored.family.revoked_at is None:
                await self.end(work, stored.family, EventType.SIGN_OUT, self._clock())

    async def end(self, work: Work, family: RefreshFamily, why: EventType, at: datetime) -> None:
        """End a family, its access tokens included, and commit."""
        ended = await end_families(work, [family], self._clock)
        await work.audit.add(_family_event(why, family, at))
        await work.commit()
        await self._announcer.announce(ended)

    async def who_am_i(
        self, organization_id: str, user_id: str, roles: Sequence[Role], permissions: frozenset[str]
    ) -> Principal:
        """Who an access token stands for. Raises UserNotFound or ServiceAccountNotFound when it outlived them."""
        async with self._work.tenant(organization_id) as work:
            if user_id.startswith(SERVICE_ACCOUNT_ID):
                account = await work.api_keys.get_account(user_id)
                user = User(account.id, "", account.name, "", account.created_at)
            else:
                user = await work.users.get(user_id)
            organization = await work.organizations.get(organization_id)
        return Principal(user, organization, tuple(roles), permissions)

    async def _sign_in_failed(self, user: User | None, slug: str) -> None:
        """Log it where the account belongs. An unknown address takes the same statements, so that it takes as long."""
        user_id = user.id if user else "unknown"
        async with self._work.system() as work:
            try:
                membership = await membership_of(work, user_id, slug)
            except CredentialsInvalid:
                membership = None
            organization_id = membership.organization_id if membership else ""
            failed = AuditEvent.of(
                EventType.SIGN_IN_FAILED, organization_id, at=self._clock(), subject_id=user.id if user else ""
            )
            await work.audit.add(failed)
            await work.commit()

    async def _place(self, work: Work, command: SignUp) -> tuple[Organization, Role]:
        if command.new_organization_name is None:
            return await work.organizations.get_by_slug(command.slug), Role.CUSTOMER
        organization = Organization.new(command.slug, command.new_organization_name, at=self._clock())
        await work.organizations.add(organization)
        return organization, Role.OWNER


def _family_event(kind: EventType, family: RefreshFamily, at: datetime) -> AuditEvent:
    """An entry about a sign-in, by whoever held its token."""
    return AuditEvent.of(kind, family.organization_id, at=at, actor_id=family.user_id, subject_id=family.id)

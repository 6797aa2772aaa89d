"""Signing up, in and out, and renewing: everything that ends in a pair of tokens or ends one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.auth.audit import AuditEvent, EventType
from services.auth.domain import (
    Membership,
    Organization,
    Principal,
    RefreshFamily,
    Role,
    User,
    check_password,
    hash_refresh_token,
    new_refresh_token,
    normalize_email,
)
from services.auth.errors import CredentialsInvalid, EmailTaken, OrganizationNotFound, RefreshTokenInvalid
from services.auth.ports import AccessToken, AccessTokens, Attempts, Passwords, Work, WorkFactory
from services.common.clock import Clock
from services.common.ids import new_id


@dataclass(frozen=True, slots=True)
class SignUp:
    """A new person, who joins an organization by its slug or founds the one named."""

    email: str
    password: str
    display_name: str
    slug: str
    new_organization_name: str | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """`source` is the client's address; an empty slug means the organization the person has been in longest."""

    email: str
    password: str
    slug: str
    source: str


@dataclass(frozen=True, slots=True)
class TokenPair:
    """Proof of who somebody is; lifetimes in seconds."""

    access: AccessToken
    refresh: str
    refresh_lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person and the proof."""

    principal: Principal
    tokens: TokenPair


class Sessions:
    """The sign-ins of people."""

    def __init__(
        self,
        work: WorkFactory,
        passwords: Passwords,
        access_tokens: AccessTokens,
        attempts: Attempts,
        clock: Clock,
        *,
        refresh_lifetime: timedelta,
    ) -> None:
        self._work = work
        self._passwords = passwords
        self._access_tokens = access_tokens
        self._attempts = attempts
        self._clock = clock
        self._refresh_lifetime = refresh_lifetime

    async def sign_up(self, command: SignUp) -> SignedIn:
        """Raises PasswordWeak, EmailTaken, SlugTaken or OrganizationNotFound."""
        check_password(command.password, command.email)
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
            signed_in = await self._begin(work, Principal(user, organization, (role,)))
            await work.commit()
        return signed_in

    async def sign_in(self, command: SignIn) -> SignedIn:
        """Raises CredentialsInvalid or TooManyAttempts."""
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
            principal = await self._principal(work, user, command.slug)
            if new_hash:
                await work.users.set_password_hash(user.id, new_hash)
            entered = AuditEvent.of(EventType.SIGN_IN, principal.organization.id, at=self._clock(), actor_id=user.id)
            await work.audit.add(entered)
            signed_in = await self._begin(work, principal)
            await work.commit()
        await self._attempts.succeeded(email, command.source)
        return signed_in

    async def refresh(self, token: str) -> TokenPair:
        """Spend a refresh token for a new pair. Raises RefreshTokenInvalid; a reused one ends its whole family."""
        received_at = self._clock()
        successor = new_refresh_token()
        async with self._work.system() as work:
            stored = await work.refresh_tokens.find_locked(hash_refresh_token(token))
            if stored is None:
                raise RefreshTokenInvalid
            now = self._clock()
            if stored.is_reuse(received_at):
                await work.refresh_tokens.revoke_family(stored.family.id, at=now)
                await work.audit.add(_family_event(EventType.REFRESH_REUSED, stored.family, now))
                await work.commit()
            if not stored.is_live(now):
                raise RefreshTokenInvalid
            family = stored.family
            membership = await work.memberships.find(family.organization_id, family.user_id)
            if membership is None:
                raise RefreshTokenInvalid
            expires_at = now + self._refresh_lifetime
            await work.refresh_tokens.spend(stored, hash_refresh_token(successor), expires_at, at=now)
            await work.commit()
        return self._pair(family.user_id, family.organization_id, membership.grants, successor)

    async def sign_out(self, token: str) -> None:
        """End the family of a refresh token; an unknown one is none to end."""
        async with self._work.system() as work:
            stored = await work.refresh_tokens.find_locked(hash_refresh_token(token))
            if stored is not None and stored.family.revoked_at is None:
                now = self._clock()
                await work.refresh_tokens.revoke_family(stored.family.id, at=now)
                await work.audit.add(_family_event(EventType.SIGN_OUT, stored.family, now))
                await work.commit()

    async def who_am_i(
        self, organization_id: str, user_id: str, roles: Sequence[Role], permissions: frozenset[str]
    ) -> Principal:
        """The person of an access token. Raises UserNotFound when it outlived its owner's membership."""
        async with self._work.tenant(organization_id) as work:
            user = await work.users.get(user_id)
            organization = await work.organizations.get(organization_id)
        return Principal(user, organization, tuple(roles), permissions)

    async def _sign_in_failed(self, user: User | None, slug: str) -> None:
        """Log it where the account belongs. An unknown address takes the same statements, so that it takes as long."""
        user_id = user.id if user else "unknown"
        async with self._work.system() as work:
            try:
                membership = await self._membership(work, user_id, slug)
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

    async def _principal(self, work: Work, user: User, slug: str) -> Principal:
        membership = await self._membership(work, user.id, slug)
        organization = await work.organizations.get(membership.organization_id)
        return Principal(user, organization, membership.roles, membership.custom_permissions)

    async def _membership(self, work: Work, user_id: str, slug: str) -> Membership:
        if not slug:
            membership = await work.memberships.oldest_of(user_id)
        else:
            try:
                named = await work.organizations.get_by_slug(slug)
            except OrganizationNotFound:
                raise CredentialsInvalid from None
            membership = await work.memberships.find(named.id, user_id)
        if membership is None:
            raise CredentialsInvalid
        return membership

    async def _begin(self, work: Work, principal: Principal) -> SignedIn:
        now = self._clock()
        token = new_refresh_token()
        family = RefreshFamily(new_id("rff"), principal.user.id, principal.organization.id, now)
        await work.refresh_tokens.begin(family, hash_refresh_token(token), now + self._refresh_lifetime)
        return SignedIn(principal, self._pair(family.user_id, family.organization_id, principal.grants, token))

    def _pair(self, user_id: str, organization_id: str, roles: Sequence[str], refresh: str) -> TokenPair:
        access = self._access_tokens.issue(user_id, organization_id, roles)
        return TokenPair(access, refresh, int(self._refresh_lifetime.total_seconds()))


def _family_event(kind: EventType, family: RefreshFamily, at: datetime) -> AuditEvent:
    """An entry about a sign-in, by whoever held its token."""
    return AuditEvent.of(kind, family.organization_id, at=at, actor_id=family.user_id, subject_id=family.id)

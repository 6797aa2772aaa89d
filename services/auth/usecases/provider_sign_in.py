"""Signing in by an organization's provider, and linking an account with it."""

from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from services.auth.account_ports import Allowances, Announcer
from services.auth.accounts import Account, hash_token, new_token
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership, Principal, User
from services.auth.errors import OrganizationNotFound
from services.auth.factor_ports import Envelope
from services.auth.factors import Challenge, ChallengeKind
from services.auth.identity_providers import (
    FEDERATED,
    LEFT,
    NEVER,
    UNKNOWN,
    Assertion,
    Handshake,
    Identity,
    IdentityProvider,
    single,
)
from services.auth.oauth import new_secret
from services.auth.ports import Passwords, Work, WorkFactory
from services.auth.provider_errors import (
    IdentityNotAllowed,
    IdentityNotLinked,
    IdentityProviderNotFound,
    ProviderSignInInvalid,
)
from services.auth.provider_ports import ExternalProviders
from services.auth.usecases.group_roles import bring_in_line
from services.auth.usecases.opening import Openings, SignedIn
from services.auth.usecases.provider_sign_out import BACKCHANNEL_LOGOUT
from services.common.clock import Clock
from services.common.errors import DomainError

LIFETIME = timedelta(minutes=10)
# Attempts that one place may begin in a while.
BEGINNINGS, BEGINNINGS_WINDOW = 100, timedelta(minutes=5)
CALLBACK = "/sign-in/callback"


class ProviderSignIns:
    """What people do with providers. `public_url` is where the web app stands, without a slash at its end."""

    def __init__(
        self,
        work: WorkFactory,
        external: ExternalProviders,
        envelope: Envelope,
        passwords: Passwords,
        openings: Openings,
        allowances: Allowances,
        announcer: Announcer,
        clock: Clock,
        *,
        public_url: str,
    ) -> None:
        self._work = work
        self._external = external
        self._envelope = envelope
        self._passwords = passwords
        self._openings = openings
        self._allowances = allowances
        self._announcer = announcer
        self._clock = clock
        self.redirect_uri = f"{public_url}{CALLBACK}"
        self.backchannel_logout_uri = f"{public_url}{BACKCHANNEL_LOGOUT}"

    async def name_of(self, slug: str) -> str:
        """What the provider of an organization is called; empty for none."""
        async with self._work.system() as work:
            provider = await _provider(work, slug)
        return provider.name if provider else ""

    async def begin(self, slug: str, source: str) -> tuple[str, str]:
        """Where to send the browser, and the token of the attempt.

        Raises IdentityProviderNotFound, IdentityProviderUnavailable or TooManyAttempts.
        """
        async with self._work.system() as work:
            provider = await _provider(work, slug)
        return await self._begin(provider, ChallengeKind.PROVIDER_SIGN_IN, "", source)

    async def begin_link(self, organization_id: str, user_id: str, source: str) -> tuple[str, str]:
        """As `begin`, for an account that is there."""
        async with self._work.system() as work:
            provider = await work.identity_providers.find(organization_id)
        return await self._begin(provider, ChallengeKind.PROVIDER_LINK, user_id, source)

    async def finish(self, token: str, answer: str) -> SignedIn:
        """Raises ProviderSignInInvalid, ProviderSignInRefused, IdentityNotAllowed, IdentityNotLinked or
        IdentityProviderUnavailable."""
        provider, said, _ = await self._answered(ChallengeKind.PROVIDER_SIGN_IN, token, answer)
        try:
            return await self._enter(provider, said)
        except (IdentityNotAllowed, IdentityNotLinked) as error:
            await self._failed(provider, error)
            raise

    async def finish_link(self, organization_id: str, user_id: str, token: str, answer: str) -> None:
        """Raises as `finish` does."""
        provider, said, began = await self._answered(ChallengeKind.PROVIDER_LINK, token, answer)
        if (began.organization_id, began.user_id) != (organization_id, user_id):
            raise ProviderSignInInvalid
        _check(provider, said)
        now = self._clock()
        async with self._work.system() as work:
            if await work.memberships.find(organization_id, user_id) is None:
                raise IdentityNotAllowed(metadata={"because": LEFT})
            await self._link(work, provider, said, user_id, now)
            await work.commit()

    async def _begin(
        self, provider: IdentityProvider | None, kind: ChallengeKind, user_id: str, source: str
    ) -> tuple[str, str]:
        await self._allowances.take("provider", source, BEGINNINGS, BEGINNINGS_WINDOW)
        if provider is None:
            raise IdentityProviderNotFound
        token = new_token()
        url = await self._external.authorization_url(provider, self.redirect_uri, Handshake.of(token))
        async with self._work.system() as work:
            expires_at = self._clock() + LIFETIME
            whose = provider.organization_id
            await work.challenges.add(Challenge(hash_token(token), kind, user_id, whose, expires_at, _mark(provider)))
            await work.commit()
        return url, token

    async def _answered(
        self, kind: ChallengeKind, token: str, answer: str
    ) -> tuple[IdentityProvider, Assertion, Challenge]:
        """What the provider said to an attempt, which nobody can answer again."""
        try:
            parameters = single(parse_qsl(answer, keep_blank_values=True))
        except ValueError:
            raise ProviderSignInInvalid from None
        async with self._work.system() as work:
            began = await work.challenges.find_locked(hash_token(token), kind)
            if began is None or not began.is_open(self._clock()):
                raise ProviderSignInInvalid
            await work.challenges.remove(began)
            provider = await work.identity_providers.find(began.organization_id)
            await work.commit()
        if provider is None or _mark(provider) != began.data:
            # Set up anew meanwhile; what was asked of one is not answered by another.
            raise ProviderSignInInvalid
        secret = self._envelope.open(provider.organization_id, provider.sealed_secret).decode()
        handshake = Handshake.of(token)
        try:
            said = await self._external.assertion(provider, secret, self.redirect_uri, handshake, parameters)
        except DomainError as error:
            await self._failed(provider, error)
            raise
        return provider, said, began

    async def _enter(self, provider: IdentityProvider, said: Assertion) -> SignedIn:
        _check(provider, said)
        organization_id, now = provider.organization_id, self._clock()
        # Nobody knows it; a password of their own comes by a letter to the address.
        nobodys = await self._passwords.hash(new_secret())
        async with self._work.system() as work:
            # Of two who come for the first time at once, the second one is known.
            await work.organizations.lock(organization_id)
            identity = await work.identity_providers.identity(organization_id, provider.issuer, said.subject)
            user_id = identity.user_id if identity else await self._create(work, provider, said, nobodys, now)
            place = await work.memberships.find(organization_id, user_id)
            if place is None:
                raise IdentityNotAllowed(metadata={"because": LEFT})
            given = provider.roles_of(said.groups)
            if outdated := await bring_in_line(work, place, given, provider.issuer, self._clock):
                place = await work.memberships.find(organization_id, user_id) or place
            organization = await work.organizations.get(organization_id)
            principal = Principal(place.user, organization, place.roles, place.custom_permissions)
            # An organization's word: it proves nothing of the person anew, here or elsewhere.
            signed_in = await self._openings.begin(work, principal, (FEDERATED,), authenticated_at=NEVER)
            await work.audit.add(_event(EventType.SIGN_IN, provider, user_id, now, subject_id=signed_in.family.id))
            await work.commit()
        await self._announcer.announce(outdated)
        return signed_in

    async def _create(
        self, work: Work, provider: IdentityProvider, said: Assertion, password_hash: str, now: datetime
    ) -> str:
        """An account of somebody new. Raises IdentityNotLinked or IdentityNotAllowed."""
        if await work.users.find_by_email(said.email) is not None:
            # An owner could have anybody's address vouched for.
            raise IdentityNotLinked
        if not provider.creates_users:
            raise IdentityNotAllowed(metadata={"because": UNKNOWN})
        user = User.new(said.email, said.name, password_hash, at=now)
        await work.users.add(user)
        # Verified there, not here: what hangs on the address waits for a letter of ours.
        await work.accounts.put(Account(user.id))
        await work.memberships.add(Membership(user, provider.organization_id, (provider.role,), now))
        await work.audit.add(_event(EventType.SIGN_UP, provider, user.id, now))
        await self._link(work, provider, said, user.id, now)
        return user.id

    async def _link(self, work: Work, provider: IdentityProvider, said: Assertion, user_id: str, now: datetime) -> None:
        identity = Identity(provider.organization_id, provider.issuer, said.subject, user_id, now)
        known = await work.identity_providers.identity(identity.organization_id, identity.issuer, identity.subject)
        if known is not None and known.user_id == user_id:
            return
        await work.identity_providers.link(identity)
        await work.audit.add(_event(EventType.IDENTITY_LINKED, provider, user_id, now, subject_id=user_id))

    async def _failed(self, provider: IdentityProvider, error: DomainError) -> None:
        because = (error.metadata or {}).get("because", error.reason)
        async with self._work.system() as work:
            details = {"issuer": provider.issuer, "because": because}
            event = AuditEvent.of(EventType.SIGN_IN_FAILED, provider.organization_id, at=self._clock(), details=details)
            await work.audit.add(event)
            await work.commit()


async def _provider(work: Work, slug: str) -> IdentityProvider | None:
    try:
        organization = await work.organizations.get_by_slug(slug)
    except OrganizationNotFound:
        return None
    return await work.identity_providers.find(organization.id)


def _check(provider: IdentityProvider, said: Assertion) -> None:
    """Raises IdentityNotAllowed for an address that is not verified there, or not of a domain named."""
    if because := provider.refusal(said.email, verified=said.email_verified):
        raise IdentityNotAllowed(metadata={"because": because})


def _mark(provider: IdentityProvider) -> bytes:
    """What an attempt is bound to."""
    return f"{provider.issuer} {provider.client_id}".encode()


def _event(
    kind: EventType, provider: IdentityProvider, user_id: str, at: datetime, *, subject_id: str = ""
) -> AuditEvent:
    return AuditEvent.of(
        kind,
        provider.organization_id,
        at=at,
        actor_id=user_id,
        subject_id=subject_id,
        details={"issuer": provider.issuer},
    )

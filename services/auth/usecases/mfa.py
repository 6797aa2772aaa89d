"""Second factors: setting up an authenticator app, answering its challenges, proving anew who one is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from services.auth.accounts import Letter, MailJob, hash_token, new_token
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Principal
from services.auth.errors import CredentialsInvalid, RefreshTokenInvalid, TooManyAttempts
from services.auth.factor_errors import (
    ChallengeInvalid,
    CodeInvalid,
    EmailNotVerified,
    PasswordNeedsFactor,
    TotpEnabled,
    TotpNotEnabled,
)
from services.auth.factor_ports import Envelope
from services.auth.factors import (
    CHALLENGE_LIFETIME,
    MOST_FAILURES,
    SETTING_UP_LIFETIME,
    TELLING_FAILURES,
    Challenge,
    ChallengeKind,
    Totp,
    as_text,
    hash_recovery_code,
    matching_step,
    new_recovery_codes,
    new_secret,
    setup_uri,
)
from services.auth.ports import AccessToken, Attempts, Passwords, Work, WorkFactory
from services.auth.usecases.opening import CODE, MULTIPLE, PASSWORD, RECOVERY, Openings, SignedIn
from services.common.clock import Clock

RETRY_AFTER_FAILURES_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Code:
    """A code of the app, or a recovery code; the other one is empty."""

    totp: str = ""
    recovery: str = ""


@dataclass(frozen=True, slots=True)
class Challenged:
    """A sign-in that waits for the answer to a challenge."""

    token: str
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class StepUp:
    """Who proves anew who they are, in which sign-in, and from where."""

    user_id: str
    organization_id: str
    session_id: str
    password: str
    code: Code | None
    source: str


class Codes:
    """Judges codes, and counts the wrong ones. `pepper` is a secret that is not in the database."""

    def __init__(self, envelope: Envelope, clock: Clock, *, pepper: bytes) -> None:
        self._envelope = envelope
        self._clock = clock
        self._pepper = pepper

    async def accept(self, work: Work, totp: Totp, email: str, code: Code) -> str | None:
        """By what a code proves its person, who is then proved by it once; None, counted, if it does not."""
        if code.totp:
            if totp.failures >= MOST_FAILURES:
                raise TooManyAttempts(retry_after_seconds=RETRY_AFTER_FAILURES_SECONDS)
            secret = self._envelope.open(totp.user_id, totp.sealed_secret)
            step = matching_step(secret, code.totp, self._clock().timestamp())
            if step is not None and await work.factors.spend_step(totp.user_id, step):
                return CODE
        elif await work.factors.spend_code(
            totp.user_id, hash_recovery_code(code.recovery, self._pepper), at=self._clock()
        ):
            return RECOVERY
        if await work.factors.count_failure(totp.user_id) == TELLING_FAILURES:
            await work.mail_jobs.add(MailJob.new(Letter.CODES_GUESSED, email, at=self._clock()))
        return None

    async def renew_recovery(self, work: Work, user_id: str) -> list[str]:
        """New recovery codes, to be shown once."""
        codes = new_recovery_codes()
        await work.factors.replace_codes(user_id, [hash_recovery_code(code, self._pepper) for code in codes])
        return codes


class Mfa:
    """Second factors of people. `wake` tells the mail room of a new letter."""

    def __init__(
        self,
        work: WorkFactory,
        passwords: Passwords,
        attempts: Attempts,
        openings: Openings,
        codes: Codes,
        envelope: Envelope,
        wake: Callable[[], None],
        clock: Clock,
        *,
        issuer: str,
    ) -> None:
        self._work = work
        self._passwords = passwords
        self._attempts = attempts
        self._openings = openings
        self._codes = codes
        self._envelope = envelope
        self._wake = wake
        self._clock = clock
        self._issuer = issuer

    async def complete_sign_in(self, token: str, code: Code, source: str) -> SignedIn:
        """Answer a challenge. Raises ChallengeInvalid, CodeInvalid or TooManyAttempts."""
        async with self._work.system() as work:
            challenge = await work.challenges.find_locked(hash_token(token), ChallengeKind.SIGN_IN)
            now = self._clock()
            if challenge is None or not challenge.is_open(now):
                raise ChallengeInvalid
            totp = await work.factors.totp(challenge.user_id)
            membership = await work.memberships.find_held(challenge.organization_id, challenge.user_id)
            if totp is None or membership is None:
                raise ChallengeInvalid
            method = await self._codes.accept(work, totp, membership.user.email, code)
            if method is None:
                await work.challenges.count_attempt(challenge)
                await work.audit.add(_event(EventType.FACTOR_FAILED, challenge.organization_id, totp.user_id, now))
                await work.commit()
                self._wake()
                raise CodeInvalid
            await work.challenges.remove(challenge)
            organization = await work.organizations.get(challenge.organization_id)
            user = membership.user
            principal = Principal(user, organization, membership.roles, membership.custom_permissions)
            await work.audit.add(_event(EventType.SIGN_IN, organization.id, user.id, now))
            if method == RECOVERY:
                await work.audit.add(_event(EventType.RECOVERY_CODE_USED, organization.id, user.id, now))
            signed_in = await self._openings.begin(work, principal, (PASSWORD, method, MULTIPLE))
            await work.commit()
        await self._attempts.succeeded(user.email, source)
        return signed_in

    async def begin_totp(self, user_id: str) -> tuple[str, str]:
        """The secret of a new app, to type and as URI. Raises TotpEnabled or EmailNotVerified."""
        async with self._work.system() as work:
            # Whoever signs up with somebody else's address must not leave a factor of theirs behind.
            if (await work.accounts.get(user_id)).email_verified_at is None:
                raise EmailNotVerified
            known = await work.factors.totp(user_id)
            if known is not None and known.confirmed_at is not None:
                raise TotpEnabled
            user = await work.users.get(user_id)
            secret = new_secret()
            await work.factors.put_totp(Totp(user_id, self._envelope.seal(user_id, secret), self._clock()))
            await work.commit()
        return as_text(secret), setup_uri(secret, user.email, self._issuer)

    async def confirm_totp(self, organization_id: str, user_id: str, code: str) -> list[str]:
        """Make the app count; returns recovery codes. Raises TotpEnabled, TotpNotEnabled or CodeInvalid."""
        now = self._clock()
        async with self._work.system() as work:
            totp = await work.factors.totp(user_id)
            if totp is None or totp.created_at + SETTING_UP_LIFETIME <= now:
                raise TotpNotEnabled
            if totp.confirmed_at is not None:
                raise TotpEnabled
            user = await work.users.get(user_id)
            if await self._codes.accept(work, totp, user.email, Code(totp=code)) is None:
                await work.commit()
                raise CodeInvalid
            fresh = await work.factors.totp(user_id)
            assert fresh is not None  # noqa: S101 - its code was just accepted
            await work.factors.put_totp(replace(fresh, confirmed_at=now))
            codes = await self._codes.renew_recovery(work, user_id)
            await self._changed(work, EventType.FACTOR_ADDED, Letter.FACTOR_ADDED, organization_id, user_id, now)
            await work.commit()
        self._wake()
        return codes

    async def disable_totp(self, organization_id: str, user_id: str) -> None:
        """Remove the app. Raises TotpNotEnabled or PasswordNeedsFactor."""
        now = self._clock()
        async with self._work.system() as work:
            await _enabled(work, user_id)
            if not (await work.accounts.get(user_id)).password_alone:
                raise PasswordNeedsFactor
            await work.factors.remove_totp(user_id)
            await self._changed(work, EventType.FACTOR_REMOVED, Letter.FACTOR_REMOVED, organization_id, user_id, now)
            await work.commit()
        self._wake()

    async def replace_recovery_codes(self, organization_id: str, user_id: str) -> list[str]:
        """New codes in place of all others. Raises TotpNotEnabled."""
        async with self._work.system() as work:
            await _enabled(work, user_id)
            codes = await self._codes.renew_recovery(work, user_id)
            await work.audit.add(_event(EventType.RECOVERY_CODES_REPLACED, organization_id, user_id, self._clock()))
            await work.commit()
        return codes

    async def step_up(self, command: StepUp) -> AccessToken:
        """An access token of the sign-in that tells of a fresh proof. Raises CredentialsInvalid, CodeInvalid,
        RefreshTokenInvalid or TooManyAttempts."""
        async with self._work.system() as work:
            user = await work.users.get(command.user_id)
        await self._attempts.begin(user.email, command.source)
        if not await self._passwords.verify(command.password, user.password_hash):
            raise CredentialsInvalid
        methods = [PASSWORD]
        now = self._clock()
        async with self._work.system() as work:
            if totp := await confirmed_totp(work, user.id):
                method = await self._codes.accept(work, totp, user.email, command.code) if command.code else None
                if method is None:
                    await work.audit.add(_event(EventType.FACTOR_FAILED, command.organization_id, user.id, now))
                    await work.commit()
                    self._wake()
                    raise CodeInvalid
                methods += [method, MULTIPLE]
            family = await work.refresh_tokens.prove(command.session_id, methods, at=now)
            membership = await work.memberships.find_held(command.organization_id, user.id)
            if membership is None or family is None or family.user_id != user.id:
                raise RefreshTokenInvalid
            await work.audit.add(_event(EventType.STEP_UP, command.organization_id, user.id, now))
            access = self._openings.access(family, membership.grants)
            await work.commit()
        await self._attempts.succeeded(user.email, command.source)
        return access

    async def _changed(
        self, work: Work, kind: EventType, letter: Letter, organization_id: str, user_id: str, at: datetime
    ) -> None:
        user = await work.users.get(user_id)
        await work.audit.add(_event(kind, organization_id, user_id, at))
        await work.mail_jobs.add(MailJob.new(letter, user.email, at=at))


async def challenge_for(work: Work, user_id: str, organization_id: str, at: datetime) -> Challenged | None:
    """The challenge that a person with a second factor has to answer; None without one."""
    if await confirmed_totp(work, user_id) is None:
        return None
    token = new_token()
    expires_at = at + CHALLENGE_LIFETIME
    await work.challenges.add(Challenge(hash_token(token), ChallengeKind.SIGN_IN, user_id, organization_id, expires_at))
    return Challenged(token, int(CHALLENGE_LIFETIME.total_seconds()))


async def confirmed_totp(work: Work, user_id: str) -> Totp | None:
    """The person's app, if it counts."""
    totp = await work.factors.totp(user_id)
    return totp if totp is not None and totp.confirmed_at is not None else None


async def _enabled(work: Work, user_id: str) -> Totp:
    totp = await confirmed_totp(work, user_id)
    if totp is None:
        raise TotpNotEnabled
    return totp


def _event(kind: EventType, organization_id: str, user_id: str, at: datetime) -> AuditEvent:
    return AuditEvent.of(kind, organization_id, at=at, actor_id=user_id, subject_id=user_id)

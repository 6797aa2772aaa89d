"""Registering passkeys and signing in with them."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from services.auth.account_ports import Allowances
from services.auth.accounts import Letter, MailJob, hash_token, new_token
from services.auth.audit import AuditEvent, EventType
from services.auth.errors import QuotaReached
from services.auth.factor_errors import ChallengeInvalid, EmailNotVerified, PasskeyInvalid, PasskeyNotFound
from services.auth.factor_ports import Webauthn
from services.auth.factors import CHALLENGE_LIFETIME, Challenge, ChallengeKind
from services.auth.passkeys import MOST_PASSKEYS, Passkey, as_text
from services.auth.ports import Work, WorkFactory
from services.auth.usecases.opening import BOUND_KEY, MULTIPLE, PRESENCE, SYNCED_KEY, Openings, SignedIn, place_of
from services.common.clock import Clock

# Attempts to sign in that one place may begin in a while.
BEGINNINGS, BEGINNINGS_WINDOW = 100, timedelta(minutes=5)


class PasskeyUses:
    """What people do with passkeys. `wake` tells the mail room of a new letter."""

    def __init__(
        self,
        work: WorkFactory,
        webauthn: Webauthn,
        openings: Openings,
        allowances: Allowances,
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._work = work
        self._webauthn = webauthn
        self._openings = openings
        self._allowances = allowances
        self._wake = wake
        self._clock = clock

    async def begin_registration(self, user_id: str) -> tuple[str, str]:
        """Options for the browser and the token of the attempt. Raises EmailNotVerified or QuotaReached."""
        async with self._work.system() as work:
            # Whoever signs up with somebody else's address must not leave a key of theirs behind.
            if (await work.accounts.get(user_id)).email_verified_at is None:
                raise EmailNotVerified
            known = await work.passkeys.of(user_id)
            if len(known) >= MOST_PASSKEYS:
                raise QuotaReached
            user = await work.users.get(user_id)
            options, challenge = self._webauthn.creation_options(user, known)
            token = await self._challenge(work, ChallengeKind.PASSKEY_REGISTRATION, user_id, challenge)
            await work.commit()
        return options, token

    async def finish_registration(
        self, organization_id: str, user_id: str, token: str, answer: str, name: str
    ) -> Passkey:
        """Keep the new passkey. Raises ChallengeInvalid or PasskeyInvalid."""
        now = self._clock()
        async with self._work.system() as work:
            challenge = await self._answered(work, ChallengeKind.PASSKEY_REGISTRATION, token)
            if challenge.user_id != user_id:
                raise ChallengeInvalid
            key = self._webauthn.attested(answer, challenge.data)
            passkey = Passkey(
                key.id, user_id, " ".join(name.split()), key.public_key, key.sign_count, key.transports, now
            )
            await work.passkeys.add(passkey)
            user = await work.users.get(user_id)
            await work.mail_jobs.add(MailJob.new(Letter.FACTOR_ADDED, user.email, at=now))
            details = {"factor": "passkey", "passkey": as_text(passkey.id)}
            event = AuditEvent.of(EventType.FACTOR_ADDED, organization_id, at=now, subject_id=user_id, details=details)
            await work.audit.add(event)
            await work.commit()
        self._wake()
        return passkey

    async def list(self, user_id: str) -> Sequence[Passkey]:
        """A person's passkeys, oldest first."""
        async with self._work.system() as work:
            return await work.passkeys.of(user_id)

    async def remove(self, organization_id: str, user_id: str, passkey_id: bytes) -> None:
        """Raises PasskeyNotFound."""
        now = self._clock()
        async with self._work.system() as work:
            if not await work.passkeys.remove(user_id, passkey_id):
                raise PasskeyNotFound
            user = await work.users.get(user_id)
            await work.mail_jobs.add(MailJob.new(Letter.FACTOR_REMOVED, user.email, at=now))
            details = {"factor": "passkey", "passkey": as_text(passkey_id)}
            event = AuditEvent.of(
                EventType.FACTOR_REMOVED, organization_id, at=now, subject_id=user_id, details=details
            )
            await work.audit.add(event)
            await work.commit()
        self._wake()

    async def begin_sign_in(self, source: str) -> tuple[str, str]:
        """Options for the browser and the token of the attempt. Raises TooManyAttempts."""
        await self._allowances.take("passkey", source, BEGINNINGS, BEGINNINGS_WINDOW)
        options, challenge = self._webauthn.request_options()
        async with self._work.system() as work:
            token = await self._challenge(work, ChallengeKind.PASSKEY_SIGN_IN, "", challenge)
            await work.commit()
        return options, token

    async def finish_sign_in(self, token: str, answer: str, slug: str) -> SignedIn:
        """Raises ChallengeInvalid, PasskeyInvalid or CredentialsInvalid."""
        now = self._clock()
        async with self._work.system() as work:
            challenge = await self._answered(work, ChallengeKind.PASSKEY_SIGN_IN, token)
            passkey_id, owner = self._webauthn.named(answer)
            passkey = await work.passkeys.find(passkey_id)
            if passkey is None or owner not in ("", passkey.user_id):
                raise PasskeyInvalid
            proved = self._webauthn.asserted(answer, challenge.data, passkey)
            await work.passkeys.used(passkey.id, proved.sign_count, at=now)
            principal = await place_of(work, passkey.user_id, slug)
            details = {"factor": "passkey", "passkey": as_text(passkey.id)}
            event = AuditEvent.of(
                EventType.SIGN_IN, principal.organization.id, at=now, actor_id=passkey.user_id, details=details
            )
            await work.audit.add(event)
            key = BOUND_KEY if proved.bound_to_device else SYNCED_KEY
            signed_in = await self._openings.begin(work, principal, (key, PRESENCE, MULTIPLE))
            await work.commit()
        return signed_in

    async def _challenge(self, work: Work, kind: ChallengeKind, user_id: str, data: bytes) -> str:
        token = new_token()
        expires_at = self._clock() + CHALLENGE_LIFETIME
        await work.challenges.add(Challenge(hash_token(token), kind, user_id, "", expires_at, data))
        return token

    async def _answered(self, work: Work, kind: ChallengeKind, token: str) -> Challenge:
        """The challenge, which nobody can answer again, however this attempt ends. Raises ChallengeInvalid."""
        challenge = await work.challenges.find_locked(hash_token(token), kind)
        if challenge is None or not challenge.is_open(self._clock()):
            raise ChallengeInvalid
        await work.challenges.remove(challenge)
        await work.commit()
        return challenge

"""Second factors: codes of an authenticator app (RFC 6238), recovery codes, and the challenges that ask for them."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

SECRET_BYTES = 20
DIGITS = 6
STEP_SECONDS = 30
# Clocks of phones are off by a step now and then.
STEPS_AROUND = (0, -1, 1)
RECOVERY_CODES = 10
RECOVERY_BYTES = 10
# NIST SP 800-63B-4: no more than 100 wrong codes in a row; after some the person is told.
MOST_FAILURES = 100
TELLING_FAILURES = 10
CHALLENGE_LIFETIME = timedelta(minutes=5)
CHALLENGE_ATTEMPTS = 5
SETTING_UP_LIFETIME = timedelta(minutes=15)


class ChallengeKind(StrEnum):
    """What an answer to a challenge is good for."""

    SIGN_IN = "sign_in"
    PASSKEY_REGISTRATION = "passkey_registration"
    PASSKEY_SIGN_IN = "passkey_sign_in"
    PROVIDER_SIGN_IN = "provider_sign_in"
    PROVIDER_LINK = "provider_link"


@dataclass(frozen=True, slots=True)
class Totp:
    """An authenticator app: its sealed secret, since when it counts (None while it is being set up), the last time step
    whose code was used, and wrong codes in a row."""

    user_id: str
    sealed_secret: bytes
    created_at: datetime
    confirmed_at: datetime | None = None
    last_step: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is kept of a challenge: its token's hash, whom it is for, what it is about, how often it was tried."""

    hash: bytes
    kind: ChallengeKind
    user_id: str
    organization_id: str
    expires_at: datetime
    data: bytes = b""
    attempts: int = 0

    def is_open(self, now: datetime) -> bool:
        """True while it may be answered."""
        return now < self.expires_at and self.attempts < CHALLENGE_ATTEMPTS


def new_secret() -> bytes:
    """160 random bits, as RFC 4226 wants."""
    return secrets.token_bytes(SECRET_BYTES)


def as_text(secret: bytes) -> str:
    """The secret as people type it into an app."""
    return base64.b32encode(secret).decode().rstrip("=")


def setup_uri(secret: bytes, email: str, issuer: str) -> str:
    """What the QR code of an app says."""
    query = urlencode({"secret": as_text(secret), "issuer": issuer, "digits": DIGITS, "period": STEP_SECONDS})
    return f"otpauth://totp/{quote(issuer)}:{quote(email)}?{query}"


def matching_step(secret: bytes, code: str, now: float) -> int | None:
    """The time step whose code this is, near `now` in seconds since the epoch."""
    totp = TOTP(secret, DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303 - what every app speaks; HMAC-SHA1 holds
    given, current = code.encode(), int(now) // STEP_SECONDS
    found = None
    # Every step is looked at, so that the time tells nothing.
    for around in STEPS_AROUND:
        step = current + around
        if hmac.compare_digest(totp.generate(step * STEP_SECONDS), given):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Codes of 80 random bits, as people write them down."""
    return [_grouped(secrets.token_bytes(RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]


def hash_recovery_code(code: str, pepper: bytes) -> bytes:
    """What is stored of a code, however it is typed; the pepper is a secret that is not in the database."""
    plain = "".join(code.upper().split()).replace("-", "").replace("0", "O").replace("1", "I")
    return hmac.digest(pepper, plain.encode(), hashlib.sha256)


def _grouped(raw: bytes) -> str:
    text = base64.b32encode(raw).decode()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))

"""A person's account apart from any organization: the address, the links sent to it, what was revoked."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from services.common.ids import new_id

LINK_BYTES = 24


class Purpose(StrEnum):
    """What the token of a link is good for."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name, not a secret

    @property
    def lifetime(self) -> timedelta:
        """How long the link holds."""
        return timedelta(hours=24) if self is Purpose.VERIFY_EMAIL else timedelta(minutes=30)


class Letter(StrEnum):
    """What may be sent to a person."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name, not a secret
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a name, not a secret
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    CODES_GUESSED = "codes_guessed"
    INVITATION = "invitation"

    @property
    def purpose(self) -> Purpose | None:
        """What the letter's link is good for, if it has one."""
        return Purpose(self.value) if self.value in tuple(Purpose) else None


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a person beside name and password. `password_alone`: long enough without a second factor."""

    user_id: str
    email_verified_at: datetime | None = None
    password_alone: bool = True


@dataclass(frozen=True, slots=True)
class Link:
    """What is kept of a link: the hash of its token, whose it is, and the address it was sent to."""

    hash: bytes
    user_id: str
    purpose: Purpose
    email: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class MailJob:
    """A letter to be sent to whoever has the address by then, if anybody; of an invitation `reference` says which."""

    id: str
    letter: Letter
    email: str
    due_at: datetime
    attempts: int = 0
    reference: str = ""

    @classmethod
    def new(cls, letter: Letter, email: str, *, at: datetime, reference: str = "") -> Self:
        """A letter that is due now."""
        return cls(new_id("mjb"), letter, email, at, reference=reference)


def new_token() -> str:
    """192 random bits, as text for a link."""
    return secrets.token_urlsafe(LINK_BYTES)


def hash_token(token: str) -> bytes:
    """What is stored of it: SHA-256 is enough for what cannot be guessed."""
    return hashlib.sha256(token.encode()).digest()

"""Passkeys, as far as they are kept."""

import base64
from dataclasses import dataclass
from datetime import datetime

from services.auth.factor_errors import PasskeyNotFound

MOST_PASSKEYS = 20


@dataclass(frozen=True, slots=True)
class Passkey:
    """A public key that a person's device signs with; `id` is the device's own name for it."""

    id: bytes
    user_id: str
    name: str
    public_key: bytes
    sign_count: int
    transports: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attested:
    """What a device told of a new key."""

    id: bytes
    public_key: bytes
    sign_count: int
    transports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asserted:
    """What a device proved: how often it signed so far, and whether the key can leave it."""

    sign_count: int
    bound_to_device: bool


def as_text(passkey_id: bytes) -> str:
    """The identifier for the outside."""
    return base64.urlsafe_b64encode(passkey_id).rstrip(b"=").decode()


def as_bytes(text: str) -> bytes:
    """The identifier from outside. Raises PasskeyNotFound for what is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise PasskeyNotFound from None

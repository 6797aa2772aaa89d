"""What the use cases need from outside, in the gateway's words."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Access:
    """What a key is good for: a token, for `lifetime_seconds` from when it was given."""

    token: str
    lifetime_seconds: float
    organization_id: str
    subject_id: str
    key_id: str


class Exchange(Protocol):
    """Auth, which knows the keys."""

    async def exchange(self, key_hash: bytes, source: str) -> Access:
        """A token for the key with this hash, used from this address. Raises ApiKeyInvalid or Unavailable."""

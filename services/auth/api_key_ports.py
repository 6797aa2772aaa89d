"""What the use cases of API keys need from outside, in the domain's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.auth.api_keys import ApiKey, ServiceAccount


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys of an organization: of one service account, of one user, and only those live at a time."""

    service_account_id: str = ""
    user_id: str = ""
    live_at: datetime | None = None


class ApiKeys(Protocol):
    """Service accounts and keys of one organization; `find_by_hash` and `used` take a unit of work of the system."""

    async def add_account(self, account: ServiceAccount) -> None:
        """Raises ServiceAccountNameTaken."""

    async def get_account(self, account_id: str) -> ServiceAccount:
        """Raises ServiceAccountNotFound."""

    async def list_accounts(self) -> Sequence[ServiceAccount]:
        """All, by name."""

    async def delete_account(self, account_id: str) -> None:
        """Forget a service account; its keys stay, revoked, to be looked at."""

    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""

    async def get(self, key_id: str) -> ApiKey:
        """Raises ApiKeyNotFound."""

    async def find_by_hash(self, key_hash: bytes) -> ApiKey | None:
        """The key whose secret has this hash, in any organization."""

    async def list(self, chosen: KeyFilter, before: str, limit: int) -> Sequence[ApiKey]:
        """The newest first, older than the one with the identifier `before` unless that is empty."""

    async def end(self, key: ApiKey) -> None:
        """Keep when the key was revoked and when it expires."""

    async def used(self, uses: Mapping[str, datetime]) -> None:
        """Keep when keys were last used, by identifier."""


class KeyUses(Protocol):
    """Remembers uses of keys and keeps them from time to time."""

    def note(self, key_id: str, at: datetime) -> None:
        """The key was used."""

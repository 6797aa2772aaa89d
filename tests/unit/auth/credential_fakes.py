"""Refresh tokens, API keys, passwords, access tokens and attempts in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from services.auth.api_key_errors import ApiKeyNotFound, ServiceAccountNameTaken, ServiceAccountNotFound
from services.auth.api_key_ports import KeyFilter
from services.auth.api_keys import ApiKey, ServiceAccount
from services.auth.domain import RefreshFamily, StoredRefreshToken
from services.auth.ports import AccessToken
from tests.unit.auth.store_fakes import FakeStore


class FakeRefreshTokens:
    """See `ports.RefreshTokens`."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def begin(self, family: RefreshFamily, token_hash: bytes, expires_at: datetime) -> None:
        self._store.families[family.id] = family
        self._store.tokens[token_hash] = StoredRefreshToken(token_hash, family, expires_at), None

    async def find_locked(self, token_hash: bytes) -> StoredRefreshToken | None:
        if token_hash not in self._store.tokens:
            return None
        token, successor = self._store.tokens[token_hash]
        family = self._store.families[token.family.id]
        spent = successor is not None and self._store.tokens[successor][0].spent_at is not None
        return replace(token, family=family, successor_spent=spent)

    async def spend(
        self, token: StoredRefreshToken, successor_hash: bytes, expires_at: datetime, *, at: datetime
    ) -> None:
        self._store.tokens[token.hash] = replace(token, spent_at=at), successor_hash
        self._store.tokens[successor_hash] = StoredRefreshToken(successor_hash, token.family, expires_at), None

    async def prove(self, family_id: str, methods: Sequence[str], *, at: datetime) -> RefreshFamily | None:
        family = self._store.families.get(family_id)
        if family is None or family.revoked_at is not None:
            return None
        self._store.families[family_id] = replace(family, authenticated_at=at, methods=tuple(methods))
        return self._store.families[family_id]

    async def find_family(self, family_id: str) -> RefreshFamily | None:
        return self._store.families.get(family_id)

    async def families_of_programs(self, user_id: str, now: datetime) -> Sequence[RefreshFamily]:
        renewable = {
            token.family.id
            for token, _ in self._store.tokens.values()
            if token.spent_at is None and token.expires_at > now
        }
        found = [
            family
            for family in self._store.families.values()
            if family.user_id == user_id and family.client_id and not family.revoked_at and family.id in renewable
        ]
        return sorted(found, key=lambda family: (family.created_at, family.id), reverse=True)

    async def federated_families(self, organization_id: str) -> Sequence[RefreshFamily]:
        return [
            family
            for family in self._store.families.values()
            if family.organization_id == organization_id and "fed" in family.methods and not family.revoked_at
        ]

    async def revoke_family(self, family_id: str, *, at: datetime) -> None:
        self._store.families[family_id] = replace(self._store.families[family_id], revoked_at=at)

    async def revoke_user(self, user_id: str, *, at: datetime) -> None:
        for family in list(self._store.families.values()):
            if family.user_id == user_id:
                await self.revoke_family(family.id, at=at)

    async def revoke_member(self, organization_id: str, user_id: str, *, at: datetime) -> None:
        for family in list(self._store.families.values()):
            if (family.organization_id, family.user_id) == (organization_id, user_id):
                await self.revoke_family(family.id, at=at)


class FakeApiKeys:
    """See `api_key_ports.ApiKeys`."""

    def __init__(self, store: FakeStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def add_account(self, account: ServiceAccount) -> None:
        if any(known.name == account.name for known in await self.list_accounts()):
            raise ServiceAccountNameTaken
        self._store.service_accounts[account.id] = account

    async def get_account(self, account_id: str) -> ServiceAccount:
        for account in await self.list_accounts():
            if account.id == account_id:
                return account
        raise ServiceAccountNotFound(resource_name=account_id)

    async def list_accounts(self) -> Sequence[ServiceAccount]:
        accounts = self._store.service_accounts.values()
        own = [account for account in accounts if account.organization_id == self._tenant]
        return sorted(own, key=lambda account: account.name)

    async def delete_account(self, account_id: str) -> None:
        del self._store.service_accounts[account_id]

    async def add(self, key: ApiKey) -> None:
        self._store.keys[key.id] = key

    async def get(self, key_id: str) -> ApiKey:
        key = self._store.keys.get(key_id)
        if key is None or key.organization_id != self._tenant:
            raise ApiKeyNotFound(resource_name=key_id)
        return key

    async def find_by_hash(self, key_hash: bytes) -> ApiKey | None:
        return next((key for key in self._store.keys.values() if key.hash == key_hash), None)

    async def list(self, chosen: KeyFilter, before: str, limit: int) -> Sequence[ApiKey]:
        found = [
            key
            for key in self._store.keys.values()
            if key.organization_id == self._tenant
            and chosen.service_account_id in ("", key.service_account_id)
            and chosen.user_id in ("", key.user_id)
            and (chosen.live_at is None or key.is_live(chosen.live_at))
            and (not before or key.id < before)
        ]
        return sorted(found, key=lambda key: key.id, reverse=True)[:limit]

    async def end(self, key: ApiKey) -> None:
        self._store.keys[key.id] = key

    async def used(self, uses: Mapping[str, datetime]) -> None:
        for key_id, at in uses.items():
            self._store.keys[key_id] = replace(self._store.keys[key_id], last_used_at=at)


class FakePasswords:
    """Hashes that are none, and a count of how often they were compared."""

    def __init__(self) -> None:
        self.verified = 0
        self.cost = "1"

    async def hash(self, password: str) -> str:
        return f"{self.cost}:{password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.verified += 1
        return password_hash is not None and password_hash.partition(":")[2] == password

    def needs_rehash(self, password_hash: str) -> bool:
        return not password_hash.startswith(f"{self.cost}:")


class FakeAccessTokens:
    """Tokens that say in clear whose they are."""

    def issue(self, user_id: str, organization_id: str, roles: Sequence[str], **_: object) -> AccessToken:
        return AccessToken(f"{user_id} {organization_id} {','.join(roles)}", 600)


class FakeAttempts:
    """Counts without a limit."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.forgotten: list[tuple[str, str]] = []

    async def begin(self, email: str, source: str) -> None:
        self.begun.append((email, source))

    async def succeeded(self, email: str, source: str) -> None:
        self.forgotten.append((email, source))

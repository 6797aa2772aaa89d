"""Service accounts and API keys: made, listed, replaced, ended, and exchanged for tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.auth.account_ports import Announcer
from services.auth.api_key_errors import ApiKeyEnded, ApiKeyInvalid, ApiKeyNotFound
from services.auth.api_key_ports import KeyFilter, KeyUses
from services.auth.api_keys import (
    MAXIMUM_LIVE_KEYS,
    MAXIMUM_SERVICE_ACCOUNTS,
    ApiKey,
    ServiceAccount,
    check_scopes,
    draft,
    effective,
    issue,
)
from services.auth.audit import AuditEvent, EventType
from services.auth.errors import QuotaReached
from services.auth.ports import AccessToken, AccessTokens, Work, WorkFactory
from services.auth.roles import Granter
from services.common import pagination
from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.errors import PermissionDenied
from services.common.pagination import Filters, InvalidPageToken
from services.common.permissions import permissions_of, singles
from services.common.revocations import Revocation

DEFAULT_PAGE_SIZE = 50
# A program that goes on with a key that has ended leaves one entry in this time, however often it tries.
REFUSAL_LOG_INTERVAL = timedelta(hours=1)
REFUSALS_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to make; without a service account it acts as who asks."""

    name: str
    service_account_id: str
    scopes: tuple[str, ...]
    networks: tuple[str, ...]
    lifetime: timedelta | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who deals with keys; `own_only` narrows them to their own."""

    organization_id: str
    granter: Granter
    own_only: bool

    def may_see(self, key: ApiKey) -> bool:
        """True for any key of the organization, or for their own."""
        return not self.own_only or key.user_id == self.granter.user_id


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys, the newest first, and the token of the page that follows; empty at the end."""

    keys: Sequence[ApiKey]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A key, and what it is good for now."""

    key: ApiKey
    token: AccessToken


class ServiceAccounts:
    """Programs with names of their own."""

    def __init__(self, work: WorkFactory, announcer: Announcer, clock: Clock) -> None:
        self._work = work
        self._announcer = announcer
        self._clock = clock

    async def create(self, organization_id: str, name: str, by: str, idempotency: IdempotencyKey) -> ServiceAccount:
        """Raises InvalidInput, ServiceAccountNameTaken, QuotaReached or RequestIdReused."""
        now = self._clock()
        account = ServiceAccount.new(organization_id, name, by, at=now)
        async with self._work.tenant(organization_id) as work:
            if made := await work.requests.claim(idempotency, account.id):
                return await work.api_keys.get_account(made)
            await work.organizations.lock(organization_id)
            if len(await work.api_keys.list_accounts()) >= MAXIMUM_SERVICE_ACCOUNTS:
                raise QuotaReached(metadata={"maximum": str(MAXIMUM_SERVICE_ACCOUNTS)})
            await work.api_keys.add_account(account)
            created = AuditEvent.of(EventType.SERVICE_ACCOUNT_CREATED, organization_id, at=now, subject_id=account.id)
            await work.audit.add(created)
            await work.commit()
        return account

    async def list(self, organization_id: str) -> Sequence[ServiceAccount]:
        """By name."""
        async with self._work.tenant(organization_id) as work:
            return await work.api_keys.list_accounts()

    async def delete(self, organization_id: str, account_id: str) -> None:
        """Delete it and revoke its keys. Raises ServiceAccountNotFound."""
        now = self._clock()
        async with self._work.tenant(organization_id) as work:
            await work.organizations.lock(organization_id)
            await work.api_keys.get_account(account_id)
            live = KeyFilter(service_account_id=account_id, live_at=now)
            keys = await work.api_keys.list(live, "", MAXIMUM_LIVE_KEYS)
            ended = [await _end(work, key, now) for key in keys]
            await work.api_keys.delete_account(account_id)
            gone = AuditEvent.of(EventType.SERVICE_ACCOUNT_DELETED, organization_id, at=now, subject_id=account_id)
            await work.audit.add(gone)
            await work.commit()
        await self._announcer.announce(ended)


class Keys:
    """API keys; `catalogue` is every permission there is."""

    def __init__(
        self,
        work: WorkFactory,
        tokens: AccessTokens,
        uses: KeyUses,
        announcer: Announcer,
        clock: Clock,
        catalogue: frozenset[str],
    ) -> None:
        self._work = work
        self._tokens = tokens
        self._uses = uses
        self._announcer = announcer
        self._clock = clock
        self._catalogue = catalogue
        self._refusals: dict[str, datetime] = {}

    async def create(self, holder: Holder, wanted: NewKey) -> tuple[ApiKey, str]:
        """The key and its secret. Raises InvalidInput, ServiceAccountNotFound, PermissionNotHeld or QuotaReached."""
        check_scopes(wanted.scopes, self._catalogue)
        holder.granter.may_grant(wanted.scopes)
        if wanted.service_account_id and holder.own_only:
            raise PermissionDenied(metadata={"permission": "keys.write"})
        now = self._clock()
        key, secret = issue(
            draft(
                holder.organization_id,
                wanted.name,
                service_account_id=wanted.service_account_id,
                user_id="" if wanted.service_account_id else holder.granter.user_id,
                scopes=wanted.scopes,
                networks=wanted.networks,
                created_by=holder.granter.user_id,
                at=now,
                lifetime=wanted.lifetime,
            )
        )
        async with self._work.tenant(holder.organization_id) as work:
            await work.organizations.lock(holder.organization_id)
            if wanted.service_account_id:
                await work.api_keys.get_account(wanted.service_account_id)
            await _add(work, key, now)
            await _log(work, EventType.API_KEY_CREATED, key, now)
            await work.commit()
        return key, secret

    async def list(
        self, holder: Holder, service_account_id: str, page_size: int, page_token: str, *, include_ended: bool
    ) -> KeyPage:
        """Raises InvalidPageToken."""
        user_id = holder.granter.user_id if holder.own_only else ""
        filters: Filters = {
            "organization": holder.organization_id,
            "account": service_account_id,
            "user": user_id,
            "ended": include_ended,
        }
        before = ""
        if page_token:
            found_before = pagination.decode(page_token, filters).get("id")
            if not isinstance(found_before, str):
                raise InvalidPageToken
            before = found_before
        limit = page_size or DEFAULT_PAGE_SIZE
        chosen = KeyFilter(service_account_id, user_id, None if include_ended else self._clock())
        async with self._work.tenant(holder.organization_id) as work:
            found = await work.api_keys.list(chosen, before, limit + 1)
        keys = found[:limit]
        return KeyPage(keys, pagination.encode({"id": keys[-1].id}, filters) if len(found) > limit else "")

    async def revoke(self, holder: Holder, key_id: str) -> ApiKey:
        """End a key; one that was revoked before stays as it was. Raises ApiKeyNotFound."""
        async with self._work.tenant(holder.organization_id) as work:
            key = await _visible(work, holder, key_id)
            if key.revoked_at is not None:
                return key
            now = self._clock()
            ended = await _end(work, key, now)
            await work.commit()
        await self._announcer.announce([ended])
        return replace(key, revoked_at=now)

    async def rotate(self, holder: Holder, key_id: str, overlap: timedelta) -> tuple[ApiKey, str]:
        """A key in the place of another one, which ends after `overlap`.

        Only the person themself replaces the key of a person. Raises ApiKeyNotFound, ApiKeyEnded, PermissionNotHeld
        or QuotaReached.
        """
        now = self._clock()
        ended = []
        async with self._work.tenant(holder.organization_id) as work:
            await work.organizations.lock(holder.organization_id)
            old = await _visible(work, holder, key_id)
            if old.user_id and old.user_id != holder.granter.user_id:
                raise ApiKeyNotFound(resource_name=key_id)
            if not old.is_live(now):
                raise ApiKeyEnded
            holder.granter.may_grant(old.scopes)
            key, secret = old.successor(holder.granter.user_id, at=now)
            if overlap:
                await work.api_keys.end(replace(old, expires_at=min(old.expires_at, now + overlap)))
            else:
                ended.append(await _end(work, old, now))
            await _add(work, key, now)
            await _log(work, EventType.API_KEY_ROTATED, old, now, successor=key.id)
            await work.commit()
        await self._announcer.announce(ended)
        return key, secret

    async def exchange(self, key_hash: bytes, source: str) -> Exchanged:
        """A token for a key. Raises ApiKeyInvalid, for whatever cause."""
        now = self._clock()
        async with self._work.system() as work:
            key = await work.api_keys.find_by_hash(key_hash)
            if key is None:
                raise ApiKeyInvalid
            refusal = key.refusal(source, now)
            permissions = key.scopes
            if not refusal and key.user_id:
                membership = await work.memberships.find(key.organization_id, key.user_id)
                permissions = effective(key.scopes, permissions_of(membership.grants) if membership else frozenset())
                refusal = "" if membership else "left"
            if refusal:
                await self._refuse(work, key, refusal, now)
                raise ApiKeyInvalid
        self._uses.note(key.id, now)
        # The key is the session of its tokens, so that whatever ends the key ends them.
        token = self._tokens.issue(key.subject_id, key.organization_id, singles(permissions), session_id=key.id)
        return Exchanged(key, token)

    async def _refuse(self, work: Work, key: ApiKey, why: str, now: datetime) -> None:
        last = self._refusals.get(key.id)
        if last is not None and now - last < REFUSAL_LOG_INTERVAL:
            return
        if len(self._refusals) >= REFUSALS_REMEMBERED:
            self._refusals.clear()
        self._refusals[key.id] = now
        details = {"because": why}
        event = AuditEvent.of(
            EventType.API_KEY_REFUSED, key.organization_id, at=now, subject_id=key.id, details=details
        )
        await work.audit.add(event)
        await work.commit()


async def _end(work: Work, key: ApiKey, now: datetime) -> Revocation:
    """End a key and the tokens it was exchanged for; returns what to announce once it is committed."""
    await work.api_keys.end(replace(key, revoked_at=now))
    ended = Revocation(key.id, now.timestamp())
    await work.revocations.add(ended, at=now)
    await _log(work, EventType.API_KEY_REVOKED, key, now)
    return ended


async def _visible(work: Work, holder: Holder, key_id: str) -> ApiKey:
    key = await work.api_keys.get(key_id)
    if not holder.may_see(key):
        raise ApiKeyNotFound(resource_name=key_id)
    return key


async def _add(work: Work, key: ApiKey, now: datetime) -> None:
    live = await work.api_keys.list(KeyFilter(live_at=now), "", MAXIMUM_LIVE_KEYS)
    if len(live) >= MAXIMUM_LIVE_KEYS:
        raise QuotaReached(metadata={"maximum": str(MAXIMUM_LIVE_KEYS)})
    await work.api_keys.add(key)


async def _log(work: Work, kind: EventType, key: ApiKey, now: datetime, *, successor: str = "") -> None:
    details = {"acts_as": key.subject_id, "scopes": ",".join(sorted(key.scopes))}
    if successor:
        details["successor"] = successor
    await work.audit.add(AuditEvent.of(kind, key.organization_id, at=now, subject_id=key.id, details=details))

"""The ports of auth in memory. The contract suite holds them to the behaviour of the real ones."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Self

from services.auth.accounts import Account, Link, MailJob
from services.auth.api_key_errors import ApiKeyNotFound, ServiceAccountNameTaken, ServiceAccountNotFound
from services.auth.api_key_ports import KeyFilter
from services.auth.api_keys import ApiKey, ServiceAccount
from services.auth.audit import AuditEvent
from services.auth.domain import Membership, Organization, RefreshFamily, Role, StoredRefreshToken, User
from services.auth.errors import EmailTaken, OrganizationNotFound, RoleNameTaken, RoleNotFound, SlugTaken, UserNotFound
from services.auth.factors import Challenge, Totp
from services.auth.invitation_errors import InvitationNotFound
from services.auth.invitations import Invitation
from services.auth.oauth import AuthorizationCode, DeviceRequest
from services.auth.passkeys import Passkey
from services.auth.ports import AccessToken, AuditFilter
from services.auth.roles import CustomRole
from services.common.context import IdempotencyKey
from services.common.errors import RequestIdReused
from services.common.revocations import Revocation
from tests.unit.auth.account_fakes import FakeAccounts, FakeLinks, FakeMailJobs, FakeRevocationLog
from tests.unit.auth.factor_fakes import FakeChallenges, FakeFactors, FakePasskeys
from tests.unit.auth.oauth_fakes import FakeGrants


@dataclass
class FakeStore:
    """What is committed."""

    users: dict[str, User] = field(default_factory=dict)
    organizations: dict[str, Organization] = field(default_factory=dict)
    memberships: dict[tuple[str, str], Membership] = field(default_factory=dict)
    families: dict[str, RefreshFamily] = field(default_factory=dict)
    # Hash → the token, and the hash of its successor.
    tokens: dict[bytes, tuple[StoredRefreshToken, bytes | None]] = field(default_factory=dict)
    roles: dict[str, CustomRole] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    links: dict[bytes, Link] = field(default_factory=dict)
    mail_jobs: dict[str, MailJob] = field(default_factory=dict)
    revoked: list[tuple[datetime, Revocation]] = field(default_factory=list)
    totps: dict[str, Totp] = field(default_factory=dict)
    # Person and hash of a recovery code → when it was used.
    codes: dict[tuple[str, bytes], datetime | None] = field(default_factory=dict)
    passkeys: dict[bytes, Passkey] = field(default_factory=dict)
    challenges: dict[bytes, Challenge] = field(default_factory=dict)
    service_accounts: dict[str, ServiceAccount] = field(default_factory=dict)
    invitations: dict[str, Invitation] = field(default_factory=dict)
    keys: dict[str, ApiKey] = field(default_factory=dict)
    codes_granted: dict[bytes, AuthorizationCode] = field(default_factory=dict)
    devices: dict[bytes, DeviceRequest] = field(default_factory=dict)
    events: list[AuditEvent] = field(default_factory=list)
    requests: dict[tuple[str, str, str], tuple[bytes, str]] = field(default_factory=dict)

    def copied(self) -> "FakeStore":
        """A store that changes on its own."""
        return FakeStore(**{name: copy(value) for name, value in vars(self).items()})


class FakeWork:
    """See `ports.Work`; one at a time."""

    def __init__(self, committed: FakeStore, organization_id: str | None) -> None:
        self._committed = committed
        self._organization_id = organization_id

    async def __aenter__(self) -> Self:
        self._store = self._committed.copied()
        self.users = FakeUsers(self._store, self._organization_id)
        self.organizations = FakeOrganizations(self._store, self._organization_id)
        self.memberships = FakeMemberships(self._store, self._organization_id)
        self.refresh_tokens = FakeRefreshTokens(self._store)
        self.invitations = FakeInvitations(self._store, self._organization_id)
        self.roles = FakeRoles(self._store, self._organization_id or "")
        self.accounts = FakeAccounts(self._store)
        self.links = FakeLinks(self._store)
        self.mail_jobs = FakeMailJobs(self._store)
        self.revocations = FakeRevocationLog(self._store)
        self.factors = FakeFactors(self._store)
        self.passkeys = FakePasskeys(self._store)
        self.challenges = FakeChallenges(self._store)
        self.api_keys = FakeApiKeys(self._store, self._organization_id or "")
        self.grants = FakeGrants(self._store)
        self.audit = FakeAuditLog(self._store, self._organization_id)
        self.requests = FakeRequests(self._store, self._organization_id or "")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def commit(self) -> None:
        vars(self._committed).update(vars(self._store.copied()))


class FakeWorkFactory:
    """See `ports.WorkFactory`."""

    def __init__(self) -> None:
        self.store = FakeStore()

    def tenant(self, organization_id: str) -> FakeWork:
        return FakeWork(self.store, organization_id)

    def system(self) -> FakeWork:
        return FakeWork(self.store, None)


class FakeUsers:
    """See `ports.Users`; a tenant sees its members."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    def _visible(self, user: User) -> bool:
        return self._tenant is None or (self._tenant, user.id) in self._store.memberships

    async def find_by_email(self, email: str) -> User | None:
        found = (user for user in self._store.users.values() if user.email == email and self._visible(user))
        return next(found, None)

    async def get(self, user_id: str) -> User:
        user = self._store.users.get(user_id)
        if user is None or not self._visible(user):
            raise UserNotFound(resource_name=user_id)
        return user

    async def add(self, user: User) -> None:
        if any(known.email == user.email for known in self._store.users.values()):
            raise EmailTaken
        self._store.users[user.id] = user

    async def set_password_hash(self, user_id: str, password_hash: str) -> None:
        self._store.users[user_id] = replace(self._store.users[user_id], password_hash=password_hash)


class FakeOrganizations:
    """See `ports.Organizations`; a tenant sees itself."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    async def get(self, organization_id: str) -> Organization:
        found = self._store.organizations.get(organization_id)
        if found is None or self._tenant not in (None, organization_id):
            raise OrganizationNotFound
        return found

    async def get_by_slug(self, slug: str) -> Organization:
        for organization in self._store.organizations.values():
            if organization.slug == slug:
                return await self.get(organization.id)
        raise OrganizationNotFound

    async def add(self, organization: Organization) -> None:
        if any(known.slug == organization.slug for known in self._store.organizations.values()):
            raise SlugTaken
        self._store.organizations[organization.id] = organization

    async def lock(self, organization_id: str) -> None:
        return None


class FakeMemberships:
    """See `ports.Memberships`; a tenant sees its own."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    def _of(self, organization_id: str) -> list[Membership]:
        if self._tenant not in (None, organization_id):
            return []
        found = [place for place in self._store.memberships.values() if place.organization_id == organization_id]
        return [self._whole(place) for place in found]

    def _whole(self, place: Membership) -> Membership:
        held = (self._store.roles[role_id].permissions for role_id in place.custom_role_ids)
        return replace(place, user=self._store.users[place.user.id], custom_permissions=frozenset().union(*held))

    async def add(self, membership: Membership) -> None:
        self._store.memberships[membership.organization_id, membership.user.id] = membership

    async def find(self, organization_id: str, user_id: str) -> Membership | None:
        return next((place for place in self._of(organization_id) if place.user.id == user_id), None)

    async def oldest_of(self, user_id: str) -> Membership | None:
        places = [self._whole(place) for place in self._store.memberships.values() if place.user.id == user_id]
        return min(places, key=_age, default=None)

    async def list_of(self, user_id: str, limit: int) -> Sequence[Membership]:
        places = [self._whole(place) for place in self._store.memberships.values() if place.user.id == user_id]
        return sorted(places, key=_age)[:limit]

    async def list(
        self, organization_id: str, role: Role | None, after: tuple[str, str] | None, limit: int
    ) -> Sequence[Membership]:
        def key(place: Membership) -> tuple[str, str]:
            return place.user.display_name, place.user.id

        places = sorted(self._of(organization_id), key=key)
        chosen = [place for place in places if role is None or role in place.roles]
        return [place for place in chosen if after is None or key(place) > after][:limit]

    async def batch(self, organization_id: str, user_ids: Sequence[str]) -> Sequence[Membership]:
        return [place for place in self._of(organization_id) if place.user.id in user_ids]

    async def count_owners(self, organization_id: str) -> int:
        return sum(place.is_owner for place in self._of(organization_id))

    async def set_roles(self, membership: Membership) -> None:
        self._store.memberships[membership.organization_id, membership.user.id] = membership

    async def remove(self, organization_id: str, user_id: str) -> None:
        del self._store.memberships[organization_id, user_id]


def _age(place: Membership) -> tuple[datetime, str]:
    return place.created_at, place.organization_id


class FakeInvitations:
    """See `ports.Invitations`."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    def _own(self) -> list[Invitation]:
        return [one for one in self._store.invitations.values() if self._tenant in (None, one.organization_id)]

    async def put(self, invitation: Invitation) -> None:
        self._store.invitations[invitation.id] = invitation

    async def get(self, invitation_id: str) -> Invitation:
        for invitation in self._own():
            if invitation.id == invitation_id:
                return invitation
        raise InvitationNotFound(resource_name=invitation_id)

    async def find_locked(self, token_hash: bytes) -> Invitation | None:
        return next((one for one in self._own() if one.token_hash == token_hash), None)

    async def list_open(self, now: datetime) -> Sequence[Invitation]:
        return sorted((one for one in self._own() if one.is_open(now)), key=lambda one: one.id, reverse=True)


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


class FakeRoles:
    """See `ports.Roles`."""

    def __init__(self, store: FakeStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def add(self, role: CustomRole) -> None:
        if any(known.name.lower() == role.name.lower() and known.id != role.id for known in await self.list()):
            raise RoleNameTaken
        self._store.roles[role.id] = role

    async def get(self, role_id: str) -> CustomRole:
        role = self._store.roles.get(role_id)
        if role is None or role.organization_id != self._tenant:
            raise RoleNotFound(resource_name=role_id)
        return role

    async def list(self) -> Sequence[CustomRole]:
        own = [role for role in self._store.roles.values() if role.organization_id == self._tenant]
        return sorted(own, key=lambda role: (role.name, role.id))

    async def update(self, role: CustomRole) -> None:
        await self.add(role)

    async def delete(self, role_id: str) -> None:
        del self._store.roles[role_id]

    async def holders(self, role_id: str, limit: int) -> Sequence[str]:
        places = self._store.memberships.values()
        return [place.user.id for place in places if role_id in place.custom_role_ids][:limit]


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


class FakeAuditLog:
    """See `ports.AuditLog`; a tenant sees its own."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    async def add(self, event: AuditEvent) -> None:
        self._store.events.append(event)

    async def list(self, chosen: AuditFilter, before: str, limit: int) -> Sequence[AuditEvent]:
        def is_chosen(event: AuditEvent) -> bool:
            return (
                event.organization_id == chosen.organization_id
                and self._tenant in (None, event.organization_id)
                and (not chosen.types or event.type in chosen.types)
                and chosen.actor_id in ("", event.actor_id)
                and chosen.subject_id in ("", event.subject_id)
                and (chosen.since is None or event.occurred_at >= chosen.since)
                and (chosen.until is None or event.occurred_at < chosen.until)
                and (not before or event.id < before)
            )

        found = [event for event in self._store.events if is_chosen(event)]
        return sorted(found, key=lambda event: event.id, reverse=True)[:limit]


class FakeRequests:
    """See `ports.Requests`."""

    def __init__(self, store: FakeStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        identity = (self._tenant, key.method, key.request_id)
        known = self._store.requests.get(identity)
        if known is None:
            self._store.requests[identity] = key.fingerprint, resource_id
            return None
        if known[0] != key.fingerprint:
            raise RequestIdReused
        return known[1]


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

"""What the use cases need from outside, in the domain's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from services.auth.account_ports import Accounts, Links, MailJobs, RevocationLog
from services.auth.api_key_ports import ApiKeys
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership, Organization, RefreshFamily, Role, StoredRefreshToken, User
from services.auth.factor_ports import Challenges, Factors, Passkeys
from services.auth.invitations import Invitation
from services.auth.oauth_ports import Grants
from services.auth.provider_ports import IdentityProviders
from services.auth.roles import CustomRole
from services.common.context import IdempotencyKey


class Users(Protocol):
    """Everybody with an account."""

    async def find_by_email(self, email: str) -> User | None:
        """The user with this normalized address."""

    async def get(self, user_id: str) -> User:
        """Raises UserNotFound."""

    async def get_held(self, user_id: str) -> User:
        """As `get`; nobody changes the person's password until this unit of work ends. Raises UserNotFound."""

    async def add(self, user: User) -> None:
        """Raises EmailTaken."""

    async def set_password_hash(self, user_id: str, password_hash: str) -> None:
        """Replace the hash, as when the cost of hashing was raised."""


class Organizations(Protocol):
    """Every tenant."""

    async def get(self, organization_id: str) -> Organization:
        """Raises OrganizationNotFound."""

    async def get_by_slug(self, slug: str) -> Organization:
        """Raises OrganizationNotFound."""

    async def add(self, organization: Organization) -> None:
        """Raises SlugTaken."""

    async def lock(self, organization_id: str) -> None:
        """Let nobody else change who belongs to the organization until this unit of work ends."""


class Memberships(Protocol):
    """Who belongs where."""

    async def add(self, membership: Membership) -> None:
        """Put a person into an organization."""

    async def find(self, organization_id: str, user_id: str) -> Membership | None:
        """A person's place in an organization."""

    async def find_held(self, organization_id: str, user_id: str) -> Membership | None:
        """As `find`; nobody changes it, or a custom role in it, until this unit of work ends."""

    async def oldest_of(self, user_id: str) -> Membership | None:
        """The place a person has had longest."""

    async def list_of(self, user_id: str, limit: int) -> Sequence[Membership]:
        """The places of a person, the oldest first."""

    async def list(
        self, organization_id: str, role: Role | None, after: tuple[str, str] | None, limit: int
    ) -> Sequence[Membership]:
        """Members by display name and identifier, after that pair."""

    async def batch(self, organization_id: str, user_ids: Sequence[str]) -> Sequence[Membership]:
        """The members among these users."""

    async def count_owners(self, organization_id: str) -> int:
        """How many owners the organization has."""

    async def by_groups(self, organization_id: str) -> Sequence[Membership]:
        """Members who hold roles by groups at the organization's provider."""

    async def set_roles(self, membership: Membership) -> None:
        """Keep the membership's roles, built-in and custom, with what of them groups gave."""

    async def remove(self, organization_id: str, user_id: str) -> None:
        """End a membership."""


class RefreshTokens(Protocol):
    """Sign-ins and the tokens that descend from them."""

    async def begin(self, family: RefreshFamily, token_hash: bytes, expires_at: datetime) -> None:
        """Keep a new family and its first token."""

    async def find_locked(self, token_hash: bytes) -> StoredRefreshToken | None:
        """The token; whoever else presents one of its family waits until this unit of work ends."""

    async def spend(
        self, token: StoredRefreshToken, successor_hash: bytes, expires_at: datetime, *, at: datetime
    ) -> None:
        """Replace a token by its successor."""

    async def prove(self, family_id: str, methods: Sequence[str], *, at: datetime) -> RefreshFamily | None:
        """Keep that the person proved anew who they are; returns the family, or None if it is not alive."""

    async def find_family(self, family_id: str) -> RefreshFamily | None:
        """The sign-in, ended or not."""

    async def families_of_programs(self, user_id: str, now: datetime) -> Sequence[RefreshFamily]:
        """The sign-ins as a person that programs can still renew, in every organization, the newest first."""

    async def federated_families(self, organization_id: str) -> Sequence[RefreshFamily]:
        """The sign-ins in an organization that rest on its provider's word alone and go on."""

    async def revoke_family(self, family_id: str, *, at: datetime) -> None:
        """End every token of a family."""

    async def revoke_user(self, user_id: str, *, at: datetime) -> None:
        """End every sign-in of a person, in every organization."""

    async def revoke_member(self, organization_id: str, user_id: str, *, at: datetime) -> None:
        """End every sign-in of a person in an organization."""


class Invitations(Protocol):
    """Invitations of one organization, or of all in a unit of work of the system."""

    async def put(self, invitation: Invitation) -> None:
        """Keep it, new or changed."""

    async def get(self, invitation_id: str) -> Invitation:
        """Raises InvitationNotFound."""

    async def find_locked(self, token_hash: bytes) -> Invitation | None:
        """The invitation of a link; whoever else follows it waits until this unit of work ends."""

    async def list_open(self, now: datetime) -> Sequence[Invitation]:
        """Those that can be accepted still, the newest first."""


class Roles(Protocol):
    """The roles that one organization made for itself."""

    async def add(self, role: CustomRole) -> None:
        """Raises RoleNameTaken."""

    async def get(self, role_id: str) -> CustomRole:
        """Raises RoleNotFound."""

    async def list(self) -> Sequence[CustomRole]:
        """All, by name."""

    async def update(self, role: CustomRole) -> None:
        """Keep the role's new content. Raises RoleNameTaken."""

    async def delete(self, role_id: str) -> None:
        """Forget a role."""

    async def holders(self, role_id: str, limit: int) -> Sequence[str]:
        """Identifiers of members who hold it."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries of the audit log: of one organization, and of what else is given; `until` is exclusive."""

    organization_id: str
    types: tuple[EventType, ...] = ()
    actor_id: str = ""
    subject_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


class AuditLog(Protocol):
    """What happened; entries are added and read, never changed."""

    async def add(self, event: AuditEvent) -> None:
        """Keep an entry, if and only if this unit of work is committed."""

    async def list(self, chosen: AuditFilter, before: str, limit: int) -> Sequence[AuditEvent]:
        """The newest entries first, older than the one with the identifier `before` unless that is empty."""


class Requests(Protocol):
    """Which request_id made what."""

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        """None if the key is new; else the resource it made. Raises RequestIdReused."""


class Work(Protocol):
    """One transaction. Leaving it without commit rolls back."""

    @property
    def users(self) -> Users: ...

    @property
    def organizations(self) -> Organizations: ...

    @property
    def memberships(self) -> Memberships: ...

    @property
    def refresh_tokens(self) -> RefreshTokens: ...

    @property
    def invitations(self) -> Invitations: ...

    @property
    def roles(self) -> Roles: ...

    @property
    def accounts(self) -> Accounts: ...

    @property
    def links(self) -> Links: ...

    @property
    def mail_jobs(self) -> MailJobs: ...

    @property
    def factors(self) -> Factors: ...

    @property
    def passkeys(self) -> Passkeys: ...

    @property
    def challenges(self) -> Challenges: ...

    @property
    def revocations(self) -> RevocationLog: ...

    @property
    def api_keys(self) -> ApiKeys: ...

    @property
    def grants(self) -> Grants: ...

    @property
    def identity_providers(self) -> IdentityProviders: ...

    @property
    def audit(self) -> AuditLog: ...

    @property
    def requests(self) -> Requests: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def commit(self) -> None:
        """Make the changes last."""


class WorkFactory(Protocol):
    """Begins units of work: of one organization, or of the whole system for what belongs to none."""

    def tenant(self, organization_id: str) -> Work: ...

    def system(self) -> Work: ...


class Passwords(Protocol):
    """Slow hashes; both calls take tens of milliseconds of a thread, and raise TooManyAttempts when too many wait."""

    async def hash(self, password: str) -> str:
        """The hash to keep."""

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the password has this hash; without a hash it takes as long and is False."""

    def needs_rehash(self, password_hash: str) -> bool:
        """True when the hash was made at another cost than today's."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and how many seconds it holds."""

    value: str
    lifetime_seconds: int


class AccessTokens(Protocol):
    """Signs."""

    def issue(
        self,
        user_id: str,
        organization_id: str,
        roles: Sequence[str],
        *,
        session_id: str = "",
        authenticated_at: datetime | None = None,
        methods: Sequence[str] = (),
        client_id: str = "",
        scopes: Sequence[str] = (),
    ) -> AccessToken:
        """A new access token; single permissions may stand among the roles. The rest is of the sign-in, if any."""


class Attempts(Protocol):
    """Counts failed sign-ins, so that guessing is slow and nobody can lock somebody else out."""

    async def begin(self, email: str, source: str) -> None:
        """Count an attempt from `source` before it is judged. Raises TooManyAttempts."""

    async def succeeded(self, email: str, source: str) -> None:
        """Take the attempt back, and forget the failures before it."""

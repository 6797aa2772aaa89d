"""What the fakes keep: the rows of every organization, in memory."""

from copy import copy
from dataclasses import dataclass, field
from datetime import datetime

from services.auth.accounts import Account, Link, MailJob
from services.auth.api_keys import ApiKey, ServiceAccount
from services.auth.audit import AuditEvent
from services.auth.domain import Membership, Organization, RefreshFamily, StoredRefreshToken, User
from services.auth.factors import Challenge, Totp
from services.auth.identity_providers import Identity, IdentityProvider
from services.auth.invitations import Invitation
from services.auth.oauth import AuthorizationCode, DeviceRequest
from services.auth.passkeys import Passkey
from services.auth.roles import CustomRole
from services.common.revocations import Revocation


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
    providers: dict[str, IdentityProvider] = field(default_factory=dict)
    # Organization, issuer and subject → the identity.
    identities: dict[tuple[str, str, str], Identity] = field(default_factory=dict)
    events: list[AuditEvent] = field(default_factory=list)
    requests: dict[tuple[str, str, str], tuple[bytes, str]] = field(default_factory=dict)

    def copied(self) -> "FakeStore":
        """A store that changes on its own."""
        return FakeStore(**{name: copy(value) for name, value in vars(self).items()})

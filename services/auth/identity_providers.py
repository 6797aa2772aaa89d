"""OpenID providers of organizations, who they vouch for, and the rules that hold without any store or network.

An organization's provider is configured by its owner, so its word is the owner's: it is taken for this organization,
for addresses of the domains named, and for accounts that it made or that their holders linked themselves.
"""

import base64
import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from urllib.parse import urlsplit

from services.auth.domain import Role
from services.auth.groups import RESERVED_CLAIMS, GroupRole
from services.common.errors import InvalidInput

# Not in RFC 8176: somebody else's word.
FEDERATED = "fed"
# When somebody last proved to us who they are, of whom we only heard.
NEVER = datetime.fromtimestamp(0, UTC)

EMAIL_UNVERIFIED = "email_unverified"
EMAIL_DOMAIN = "email_domain"
GROUPS = "groups_unreadable"
UNKNOWN = "unknown"
LEFT = "left"


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """The provider of one organization. The secret is sealed."""

    organization_id: str
    name: str
    issuer: str
    client_id: str
    sealed_secret: bytes
    email_domains: tuple[str, ...]
    hosts: tuple[str, ...]
    creates_users: bool
    role: Role
    updated_at: datetime
    # The claim that names a person's groups, and what these give.
    groups_claim: str = ""
    group_roles: tuple[GroupRole, ...] = ()

    def check(self) -> None:
        """Raises InvalidInput for what is no address of a provider, or makes owners."""
        violations = []
        parts = _parts(self.issuer)
        if parts is None or parts.scheme != "https" or parts.query or parts.fragment or parts.username:
            violations.append(("issuer", "is no HTTPS address without query and fragment"))
        if not self.name:
            violations.append(("name", "must not be blank"))
        if self.role is Role.OWNER:
            violations.append(("role", "must not be owner"))
        if any(one.role is Role.OWNER for one in self.group_roles):
            violations.append(("group_roles", "must not make owners"))
        if self.groups_claim in RESERVED_CLAIMS:
            violations.append(("groups_claim", "says something else"))
        if violations:
            raise InvalidInput(violations=violations)

    def may_ask(self, url: str) -> bool:
        """Whether an address is the provider's: HTTPS, at the issuer's host or at one that was named."""
        parts = _parts(url)
        if parts is None or parts.scheme != "https" or parts.username or parts.fragment:
            return False
        own = _parts(self.issuer)
        return parts.netloc == (own.netloc if own else "") or (parts.port is None and parts.hostname in self.hosts)

    def roles_of(self, groups: Collection[str]) -> tuple[GroupRole, ...]:
        """What these groups give."""
        return tuple(one for one in self.group_roles if one.group in groups)

    def refusal(self, email: str, *, verified: bool) -> str:
        """Why whoever has this address is not let in, in a fixed word; empty when they are."""
        if not verified or not email:
            return EMAIL_UNVERIFIED
        return "" if email.rpartition("@")[2] in self.email_domains else EMAIL_DOMAIN


@dataclass(frozen=True, slots=True)
class Identity:
    """A person at the provider of an organization, and the account it stands for there."""

    organization_id: str
    issuer: str
    subject: str
    user_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a provider says of a person, once it was checked."""

    subject: str
    email: str
    email_verified: bool
    name: str
    # Those that give roles may be among them.
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SignedOut:
    """Who signed out at a provider; of their sign-ins, those that began until then (seconds since the epoch)."""

    subject: str
    until: float


@dataclass(frozen=True, slots=True)
class Handshake:
    """The secrets of one attempt. All follow from its token, which only the browser keeps."""

    state: str
    nonce: str
    code_verifier: str

    @classmethod
    def of(cls, token: str) -> Self:
        return cls(*(_derived(token, what) for what in ("state", "nonce", "code_verifier")))


def single(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The parameters, each there once. Raises ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a parameter comes twice")
    return found


def _derived(token: str, what: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(token.encode(), what.encode(), hashlib.sha256)).rstrip(b"=").decode()


def _parts(url: str) -> "_Parts | None":
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or any(letter.isspace() for letter in url):
        return None
    return _Parts(
        parts.scheme, parts.netloc.lower(), parts.hostname, port, parts.query, parts.fragment, "@" in parts.netloc
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    scheme: str
    netloc: str
    hostname: str
    port: int | None
    query: str
    fragment: str
    username: bool

"""Service accounts and API keys, and the rules that hold for them without any store."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from services.common import api_keys
from services.common.errors import InvalidInput
from services.common.ids import new_id
from services.common.permissions import OWN

SERVICE_ACCOUNT_ID = "svc_"
MAXIMUM_SERVICE_ACCOUNTS = 100
MAXIMUM_LIVE_KEYS = 200
DEFAULT_LIFETIME = timedelta(days=90)
# A key that leaked must not outlive its revocation by keys it made.
NEVER_IN_SCOPE = ("keys.", "service_accounts.", "identity_providers.")


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A program that acts in an organization under a name of its own."""

    id: str
    organization_id: str
    name: str
    created_by: str
    created_at: datetime

    @classmethod
    def new(cls, organization_id: str, name: str, created_by: str, *, at: datetime) -> Self:
        """One that was not there before. Raises InvalidInput for a name of nothing but space."""
        return cls(new_id(SERVICE_ACCOUNT_ID.rstrip("_")), organization_id, _tidy(name), created_by, at)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key; it acts as a service account or as a user, whichever is not empty."""

    id: str
    organization_id: str
    hash: bytes
    prefix: str
    name: str
    service_account_id: str
    user_id: str
    scopes: frozenset[str]
    networks: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def subject_id(self) -> str:
        """Whom it acts as."""
        return self.service_account_id or self.user_id

    def is_live(self, now: datetime) -> bool:
        """True until it expires or is revoked."""
        return self.revoked_at is None and now < self.expires_at

    def refusal(self, source: str, now: datetime) -> str:
        """Why it is refused from this address, in a fixed word; empty when it is not."""
        if self.revoked_at is not None:
            return "revoked"
        if now >= self.expires_at:
            return "expired"
        if self.networks and not _within(source, self.networks):
            return "address"
        return ""

    def successor(self, created_by: str, *, at: datetime) -> "tuple[ApiKey, str]":
        """A key like this one for as long again, and its secret."""
        return issue(
            replace(
                self,
                created_by=created_by,
                created_at=at,
                expires_at=at + (self.expires_at - self.created_at),
                last_used_at=None,
                revoked_at=None,
            )
        )


def issue(draft: ApiKey) -> tuple[ApiKey, str]:
    """The draft with a new identity and secret, and the secret."""
    secret = api_keys.new_key()
    made = replace(draft, id=new_id("key"), hash=api_keys.hash_key(secret), prefix=secret[: api_keys.SHOWN_LENGTH])
    return made, secret


def draft(
    organization_id: str,
    name: str,
    *,
    service_account_id: str,
    user_id: str,
    scopes: Iterable[str],
    networks: Sequence[str],
    created_by: str,
    at: datetime,
    lifetime: timedelta | None,
) -> ApiKey:
    """A key without a secret yet. Raises InvalidInput."""
    return ApiKey(
        id="",
        organization_id=organization_id,
        hash=b"",
        prefix="",
        name=_tidy(name),
        service_account_id=service_account_id,
        user_id=user_id,
        scopes=frozenset(scopes),
        networks=_networks(networks),
        created_by=created_by,
        created_at=at,
        expires_at=at + (lifetime or DEFAULT_LIFETIME),
    )


def check_scopes(scopes: Sequence[str], catalogue: frozenset[str]) -> None:
    """Raises InvalidInput for what is no permission, or none that a key can have."""
    violations = []
    for index, scope in enumerate(scopes):
        if scope not in catalogue:
            violations.append((f"scopes[{index}]", "is no permission"))
        elif scope.startswith(NEVER_IN_SCOPE):
            violations.append((f"scopes[{index}]", "is no permission that a key can have"))
    if violations:
        raise InvalidInput(violations=violations)


def effective(scopes: frozenset[str], held: frozenset[str]) -> frozenset[str]:
    """What a person's key may now: its scopes as far as the person holds them, and `.own` where they hold only that."""
    allowed = set()
    for scope in scopes:
        whole = scope.removesuffix(OWN)
        if scope in held or whole in held:
            allowed.add(scope)
        elif whole + OWN in held:
            allowed.add(whole + OWN)
    return frozenset(allowed)


def _networks(texts: Sequence[str]) -> tuple[str, ...]:
    found, violations = [], []
    for index, text in enumerate(texts):
        try:
            found.append(str(ipaddress.ip_network(text.strip())))
        except ValueError:
            violations.append((f"allowed_networks[{index}]", "is no network in CIDR notation"))
    if violations:
        raise InvalidInput(violations=violations)
    return tuple(found)


def _within(source: str, networks: Sequence[str]) -> bool:
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in ipaddress.ip_network(network) for network in networks)


def _tidy(name: str) -> str:
    tidy = " ".join(name.split())
    if not tidy:
        raise InvalidInput(violations=[("name", "must not be blank")])
    return tidy

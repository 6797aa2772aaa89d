"""Users, organizations, memberships and refresh tokens, and the rules that hold for them without any store."""

import hashlib
import secrets
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from services.auth.errors import LastOwner, OnlyOwners
from services.common.errors import InvalidInput
from services.common.ids import new_id
from services.common.permissions import permissions_of, singles

REFRESH_TOKEN_BYTES = 32
# A refresh token presented again this soon, before its successor was used, comes from callers that raced each other or
# from one that did not get the answer: they all get the same successor.
GRACE = timedelta(seconds=5)


class Role(StrEnum):
    """The built-in roles, in the words of `services.common.permissions`."""

    CUSTOMER = "customer"
    AGENT = "agent"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"
    OWNER = "owner"
    ML_ENGINEER = "ml_engineer"
    BILLING = "billing"


@dataclass(frozen=True, slots=True)
class User:
    """A person. `password_hash` never leaves the service."""

    id: str
    email: str
    display_name: str
    password_hash: str
    created_at: datetime

    @classmethod
    def new(cls, email: str, display_name: str, password_hash: str, *, at: datetime) -> Self:
        """A person who was not known before. Raises InvalidInput for a name of nothing but space."""
        name = " ".join(display_name.split())
        if not name:
            raise InvalidInput(violations=[("display_name", "must not be blank")])
        return cls(new_id("usr"), normalize_email(email), name, password_hash, at)


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant."""

    id: str
    slug: str
    name: str
    created_at: datetime

    @classmethod
    def new(cls, slug: str, name: str, *, at: datetime) -> Self:
        """A tenant that was not there before. Raises InvalidInput for a name of nothing but space."""
        tidy = " ".join(name.split())
        if not tidy:
            raise InvalidInput(violations=[("new_organization.name", "must not be blank")])
        return cls(new_id("org"), slug, tidy, at)


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's place in an organization. `custom_permissions` are those of the custom roles."""

    user: User
    organization_id: str
    roles: tuple[Role, ...]
    created_at: datetime
    custom_role_ids: tuple[str, ...] = ()
    custom_permissions: frozenset[str] = frozenset()
    # Those of the roles that groups at the organization's provider gave; the others were granted by hand.
    group_roles: tuple[Role, ...] = ()
    group_custom_role_ids: tuple[str, ...] = ()

    @property
    def grants(self) -> tuple[str, ...]:
        """What an access token says: the built-in roles, and single permissions that only custom roles hold."""
        return grants_of(self.roles, self.custom_permissions)

    @property
    def is_owner(self) -> bool:
        return Role.OWNER in self.roles

    def with_roles(
        self,
        roles: Sequence[Role],
        custom: Mapping[str, frozenset[str]],
        *,
        by: Sequence[str],
        other_owners: int,
    ) -> Self:
        """The membership with new roles; `custom` are permissions by custom role, `by` the roles of who asks.

        Raises OnlyOwners or LastOwner.
        """
        changed = replace(
            self,
            roles=ordered(roles),
            custom_role_ids=tuple(sorted(custom)),
            custom_permissions=frozenset().union(*custom.values()),
            group_roles=tuple(role for role in self.group_roles if role in roles),
            group_custom_role_ids=tuple(role_id for role_id in self.group_custom_role_ids if role_id in custom),
        )
        if changed.is_owner != self.is_owner:
            may_change_owners(by)
        if self.is_owner and not changed.is_owner and not other_owners:
            raise LastOwner
        return changed

    def with_groups(self, roles: Collection[Role], custom_role_ids: Collection[str]) -> Self:
        """The membership with roles that groups give in place of those they gave before, and with the permissions of
        before.

        What was granted by hand stays; nobody becomes an owner like this, and none stops being one. Who is left with
        nothing is a customer, as anybody who signs up.
        """
        by_hand = [role for role in self.roles if role not in self.group_roles]
        custom_by_hand = [role_id for role_id in self.custom_role_ids if role_id not in self.group_custom_role_ids]
        given: list[Role] = [role for role in roles if role not in by_hand and role is not Role.OWNER]
        custom_given = sorted(set(custom_role_ids).difference(custom_by_hand))
        if not (by_hand or custom_by_hand or given or custom_given):
            given = [Role.CUSTOMER]
        return replace(
            self,
            roles=ordered(by_hand + given),
            custom_role_ids=tuple(sorted(custom_by_hand + custom_given)),
            group_roles=ordered(given),
            group_custom_role_ids=tuple(custom_given),
        )

    def may_end(self, *, by: Sequence[str], other_owners: int) -> None:
        """Raises OnlyOwners or LastOwner unless the membership may end."""
        if self.is_owner:
            may_change_owners(by)
            if not other_owners:
                raise LastOwner


@dataclass(frozen=True, slots=True)
class Principal:
    """A person acting in an organization."""

    user: User
    organization: Organization
    roles: tuple[Role, ...]
    custom_permissions: frozenset[str] = frozenset()

    @property
    def grants(self) -> tuple[str, ...]:
        """See `Membership.grants`."""
        return grants_of(self.roles, self.custom_permissions)


@dataclass(frozen=True, slots=True)
class RefreshFamily:
    """A sign-in and all the refresh tokens that descend from it. Revoking it ends them all."""

    id: str
    user_id: str
    organization_id: str
    created_at: datetime
    revoked_at: datetime | None = None
    # When the person last proved who they are, and by what, in the words of RFC 8176.
    authenticated_at: datetime | None = None
    methods: tuple[str, ...] = ()
    # The program that a person let act for them, and what it may; none for a sign-in of their own.
    client_id: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredRefreshToken:
    """What is kept of a refresh token: its hash, and when it was spent on which successor."""

    hash: bytes
    family: RefreshFamily
    expires_at: datetime
    spent_at: datetime | None = None
    successor_spent: bool = False

    def is_live(self, now: datetime) -> bool:
        """True when it still buys a new pair, which is the one it bought before if it was spent a moment ago."""
        return self.family.revoked_at is None and now < self.expires_at

    def is_reuse(self, received_at: datetime) -> bool:
        """True when whoever presents it must have copied it: it was spent, and not in a race a moment ago."""
        if self.spent_at is None:
            return False
        return self.successor_spent or received_at > self.spent_at + GRACE


def new_refresh_token() -> str:
    """256 random bits, as text."""
    return secrets.token_urlsafe(REFRESH_TOKEN_BYTES)


def hash_refresh_token(token: str) -> bytes:
    """What is stored: SHA-256 is enough for what cannot be guessed."""
    return hashlib.sha256(token.encode()).digest()


def normalize_email(email: str) -> str:
    """One spelling an address: Unicode compatibility form, lower case, no space around."""
    return unicodedata.normalize("NFKC", email).strip().casefold()


def ordered(roles: Sequence[Role]) -> tuple[Role, ...]:
    """Each role once, in the order of `Role`."""
    return tuple(role for role in Role if role in roles)


def grants_of(roles: Sequence[Role], custom_permissions: frozenset[str]) -> tuple[str, ...]:
    """Roles, and whatever permissions they do not hold, in the words of `services.common.permissions`."""
    names = tuple(str(role) for role in roles)
    return names + singles(custom_permissions - permissions_of(names))


def may_change_owners(by: Sequence[str]) -> None:
    """Raises OnlyOwners unless an owner asks."""
    if Role.OWNER not in by:
        raise OnlyOwners

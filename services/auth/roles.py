"""Roles of an organization's own, and the rule that nobody gives away what they do not hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from services.auth.domain import Role
from services.auth.errors import PermissionNotHeld, RoleNameTaken
from services.common.errors import InvalidInput
from services.common.ids import new_id
from services.common.permissions import OWN

MAXIMUM_ROLES = 100


@dataclass(frozen=True, slots=True)
class CustomRole:
    """A name for some permissions, in one organization."""

    id: str
    organization_id: str
    name: str
    description: str
    permissions: frozenset[str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def new(
        cls, organization_id: str, name: str, description: str, permissions: Iterable[str], *, at: datetime
    ) -> Self:
        """A role that was not there before. Raises InvalidInput or RoleNameTaken."""
        return cls(
            new_id("rol"), organization_id, _tidy_name(name), description.strip(), frozenset(permissions), at, at
        )

    def changed(self, name: str, description: str, permissions: Iterable[str], *, at: datetime) -> Self:
        """The role with another name, description and permissions. Raises InvalidInput or RoleNameTaken."""
        return replace(
            self,
            name=_tidy_name(name),
            description=description.strip(),
            permissions=frozenset(permissions),
            updated_at=at,
        )


@dataclass(frozen=True, slots=True)
class Granter:
    """Who gives roles and permissions to others."""

    user_id: str
    roles: tuple[str, ...]
    permissions: frozenset[str]

    def may_grant(self, permissions: Iterable[str]) -> None:
        """Raises PermissionNotHeld. Who holds a permission holds its `.own` variant, too."""
        for permission in sorted(permissions):
            if permission not in self.permissions and permission.removesuffix(OWN) not in self.permissions:
                raise PermissionNotHeld(metadata={"permission": permission})


def check_known(permissions: Sequence[str], catalogue: frozenset[str]) -> None:
    """Raises InvalidInput for permissions that do not exist."""
    violations = [
        (f"permissions[{index}]", "is no permission")
        for index, permission in enumerate(permissions)
        if permission not in catalogue
    ]
    if violations:
        raise InvalidInput(violations=violations)


def _tidy_name(name: str) -> str:
    tidy = " ".join(name.split())
    if not tidy:
        raise InvalidInput(violations=[("name", "must not be blank")])
    if tidy.casefold().replace(" ", "_") in set(Role):
        raise RoleNameTaken
    return tidy

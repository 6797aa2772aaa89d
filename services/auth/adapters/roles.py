"""Custom roles in Postgres, and the closed list of permissions that they are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from mesh.policy.http import every_rule
from services.auth import tables
from services.auth.errors import RoleNameTaken, RoleNotFound
from services.auth.roles import CustomRole
from services.common.permissions import OWN, PERMISSIONS


def permission_catalogue() -> Mapping[str, Sequence[str]]:
    """Every permission that a call asks for, its `.own` variant where a role has one, and the roles that hold it."""
    asked = {rule.permission for rule in every_rule().values() if rule.permission}
    held = frozenset[str]().union(*PERMISSIONS.values())
    known = asked | {permission + OWN for permission in asked if permission + OWN in held}
    return {
        permission: [role for role, permissions in PERMISSIONS.items() if permission in permissions]
        for permission in sorted(known)
    }


class SqlRoles:
    """See `ports.Roles`."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, role: CustomRole) -> None:
        values = {
            "id": role.id,
            "organization_id": role.organization_id,
            "created_at": role.created_at,
            **_content(role),
        }
        await self._write(insert(tables.roles).values(values))

    async def get(self, role_id: str) -> CustomRole:
        row = (await self._session.execute(self._chosen().where(tables.roles.c.id == role_id))).first()
        if row is None:
            raise RoleNotFound(resource_name=role_id)
        return _role(row)

    async def list(self) -> Sequence[CustomRole]:
        statement = self._chosen().order_by(tables.roles.c.name, tables.roles.c.id)
        return [_role(row) for row in await self._session.execute(statement)]

    async def update(self, role: CustomRole) -> None:
        statement = update(tables.roles).where(
            tables.roles.c.organization_id == self._organization_id, tables.roles.c.id == role.id
        )
        await self._write(statement.values(_content(role)))

    async def delete(self, role_id: str) -> None:
        roles = tables.roles
        await self._session.execute(
            delete(roles).where(roles.c.organization_id == self._organization_id, roles.c.id == role_id)
        )

    async def holders(self, role_id: str, limit: int) -> Sequence[str]:
        places = tables.memberships
        statement = select(places.c.user_id).where(
            places.c.organization_id == self._organization_id, places.c.custom_role_ids.contains([role_id])
        )
        return list(await self._session.scalars(statement.limit(limit)))

    def _chosen(self) -> Any:
        return select(tables.roles).where(tables.roles.c.organization_id == self._organization_id)

    async def _write(self, statement: Any) -> None:
        try:
            await self._session.execute(statement)
        except IntegrityError:
            raise RoleNameTaken from None


def _content(role: CustomRole) -> dict[str, object]:
    return {
        "name": role.name,
        "description": role.description,
        "permissions": sorted(role.permissions),
        "updated_at": role.updated_at,
    }


def _role(row: Row[Any]) -> CustomRole:
    return CustomRole(
        id=row.id,
        organization_id=row.organization_id,
        name=row.name,
        description=row.description,
        permissions=frozenset(row.permissions),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )

"""The roles of an organization's own."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import role_service_pb2 as roles
from deskmesh.auth.v1 import role_service_pb2_grpc
from services.auth.mappings import roles as mapping
from services.auth.usecases.roles import Roles
from services.common.context import caller, idempotency

Context = grpc.aio.ServicerContext[Any, Any]


class RoleServicer(role_service_pb2_grpc.RoleServiceServicer):
    """Custom roles of the caller's organization."""

    def __init__(self, custom: Roles) -> None:
        self._custom = custom

    async def ListPermissions(
        self, request: roles.ListPermissionsRequest, context: Context
    ) -> roles.ListPermissionsResponse:
        found = self._custom.permissions()
        return roles.ListPermissionsResponse(
            permissions=[mapping.permission(name, holders) for name, holders in found.items()]
        )

    async def ListRoles(self, request: roles.ListRolesRequest, context: Context) -> roles.ListRolesResponse:
        found = await self._custom.list(caller().organization_id)
        return roles.ListRolesResponse(roles=[mapping.role(role) for role in found])

    async def CreateRole(self, request: roles.CreateRoleRequest, context: Context) -> roles.CreateRoleResponse:
        person = caller()
        content = mapping.to_content(request)
        made = await self._custom.create(person.organization_id, content, mapping.granter(person), idempotency())
        return roles.CreateRoleResponse(role=mapping.role(made))

    async def UpdateRole(self, request: roles.UpdateRoleRequest, context: Context) -> roles.UpdateRoleResponse:
        person = caller()
        content = mapping.to_content(request)
        changed = await self._custom.update(person.organization_id, request.role_id, content, mapping.granter(person))
        return roles.UpdateRoleResponse(role=mapping.role(changed))

    async def DeleteRole(self, request: roles.DeleteRoleRequest, context: Context) -> roles.DeleteRoleResponse:
        await self._custom.delete(caller().organization_id, request.role_id)
        return roles.DeleteRoleResponse()

"""Custom roles between proto and domain."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import role_pb2, role_service_pb2, user_pb2
from services.auth.roles import CustomRole, Granter
from services.auth.usecases.roles import RoleContent
from services.common.context import Caller


def to_content(request: role_service_pb2.CreateRoleRequest | role_service_pb2.UpdateRoleRequest) -> RoleContent:
    return RoleContent(request.name, request.description, tuple(request.permissions))


def granter(caller: Caller) -> Granter:
    return Granter(caller.user_id, caller.roles, caller.permissions)


def role(custom: CustomRole) -> role_pb2.CustomRole:
    created, updated = Timestamp(), Timestamp()
    created.FromDatetime(custom.created_at)
    updated.FromDatetime(custom.updated_at)
    return role_pb2.CustomRole(
        id=custom.id,
        name=custom.name,
        description=custom.description,
        permissions=sorted(custom.permissions),
        created_at=created,
        updated_at=updated,
    )


def permission(name: str, holders: Sequence[str]) -> role_pb2.Permission:
    numbers: list[Any] = [user_pb2.Role.Value(f"ROLE_{holder.upper()}") for holder in holders]
    return role_pb2.Permission(name=name, held_by=numbers)

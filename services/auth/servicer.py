"""Auth's gRPC services."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import auth_service_pb2_grpc, organization_service_pb2_grpc
from deskmesh.auth.v1 import organization_service_pb2 as organizations
from services.auth import mapping
from services.auth.mappings.roles import granter
from services.auth.usecases.members import Members
from services.auth.usecases.sessions import Sessions
from services.common.context import caller, idempotency

Context = grpc.aio.ServicerContext[Any, Any]

FORWARDED_FOR = "x-forwarded-for"


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """Signing up, in and out."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def SignUp(self, request: auth.SignUpRequest, context: Context) -> auth.SignUpResponse:
        return mapping.sign_up_response(await self._sessions.sign_up(mapping.to_sign_up(request, source_of(context))))

    async def SignIn(self, request: auth.SignInRequest, context: Context) -> auth.SignInResponse:
        command = mapping.to_sign_in(request, source_of(context))
        return mapping.sign_in_response(await self._sessions.sign_in(command))

    async def RefreshToken(self, request: auth.RefreshTokenRequest, context: Context) -> auth.RefreshTokenResponse:
        pair = await self._sessions.refresh(request.refresh_token)
        return auth.RefreshTokenResponse(tokens=mapping.tokens(pair))

    async def SignOut(self, request: auth.SignOutRequest, context: Context) -> auth.SignOutResponse:
        await self._sessions.sign_out(request.refresh_token)
        return auth.SignOutResponse()

    async def WhoAmI(self, request: auth.WhoAmIRequest, context: Context) -> auth.WhoAmIResponse:
        person = caller()
        roles = mapping.roles_of(person)
        found = await self._sessions.who_am_i(person.organization_id, person.user_id, roles, person.permissions)
        return auth.WhoAmIResponse(principal=mapping.principal(found))


class OrganizationServicer(organization_service_pb2_grpc.OrganizationServiceServicer):
    """The people of the caller's organization."""

    def __init__(self, members: Members) -> None:
        self._members = members

    async def ListMembers(
        self, request: organizations.ListMembersRequest, context: Context
    ) -> organizations.ListMembersResponse:
        role = mapping.to_role(request.role)
        page = await self._members.list(caller().organization_id, role, request.page_size, request.page_token)
        return mapping.list_response(page)

    async def BatchGetMembers(
        self, request: organizations.BatchGetMembersRequest, context: Context
    ) -> organizations.BatchGetMembersResponse:
        found = await self._members.batch_get(caller().organization_id, list(request.user_ids))
        return mapping.batch_response(found)

    async def AddMember(
        self, request: organizations.AddMemberRequest, context: Context
    ) -> organizations.AddMemberResponse:
        added = await self._members.add(mapping.to_add_member(request, caller(), idempotency()))
        return organizations.AddMemberResponse(member=mapping.membership(added))

    async def SetMemberRoles(
        self, request: organizations.SetMemberRolesRequest, context: Context
    ) -> organizations.SetMemberRolesResponse:
        person = caller()
        held = mapping.to_roles(request.roles), tuple(request.custom_role_ids)
        changed = await self._members.set_roles(person.organization_id, request.user_id, *held, granter(person))
        return organizations.SetMemberRolesResponse(member=mapping.membership(changed))

    async def RemoveMember(
        self, request: organizations.RemoveMemberRequest, context: Context
    ) -> organizations.RemoveMemberResponse:
        person = caller()
        await self._members.remove(person.organization_id, request.user_id, granter(person))
        return organizations.RemoveMemberResponse()


def source_of(context: Context) -> str:
    """The address a call came from: the last one in the list, which the edge itself wrote; else the workload."""
    headers = dict(context.invocation_metadata() or ())
    forwarded = headers.get(FORWARDED_FOR, "")
    if isinstance(forwarded, str) and forwarded and caller().workload == "edge":
        return forwarded.rpartition(",")[2].strip()
    return caller().workload

"""Invitations, and the organizations of one person."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import invitation_service_pb2 as invitations
from deskmesh.auth.v1 import invitation_service_pb2_grpc, membership_service_pb2_grpc
from deskmesh.auth.v1 import membership_service_pb2 as memberships
from services.auth import mapping as auth_mapping
from services.auth.mappings import places as mapping
from services.auth.usecases.invitations import Invitations
from services.auth.usecases.places import Places
from services.common.context import caller, idempotency

Context = grpc.aio.ServicerContext[Any, Any]


class InvitationServicer(invitation_service_pb2_grpc.InvitationServiceServicer):
    """How people come into an organization by e-mail."""

    def __init__(self, invited: Invitations) -> None:
        self._invited = invited

    async def CreateInvitation(
        self, request: invitations.CreateInvitationRequest, context: Context
    ) -> invitations.CreateInvitationResponse:
        made = await self._invited.create(mapping.to_invite(request, caller(), idempotency()))
        return invitations.CreateInvitationResponse(invitation=mapping.invitation(made))

    async def ListInvitations(
        self, request: invitations.ListInvitationsRequest, context: Context
    ) -> invitations.ListInvitationsResponse:
        found = await self._invited.list(caller().organization_id)
        return invitations.ListInvitationsResponse(invitations=[mapping.invitation(one) for one in found])

    async def ResendInvitation(
        self, request: invitations.ResendInvitationRequest, context: Context
    ) -> invitations.ResendInvitationResponse:
        sent = await self._invited.resend(caller().organization_id, request.invitation_id)
        return invitations.ResendInvitationResponse(invitation=mapping.invitation(sent))

    async def RevokeInvitation(
        self, request: invitations.RevokeInvitationRequest, context: Context
    ) -> invitations.RevokeInvitationResponse:
        await self._invited.revoke(caller().organization_id, request.invitation_id)
        return invitations.RevokeInvitationResponse()

    async def AcceptInvitation(
        self, request: invitations.AcceptInvitationRequest, context: Context
    ) -> invitations.AcceptInvitationResponse:
        signed_in = await self._invited.accept(request.token, mapping.person(caller()))
        return invitations.AcceptInvitationResponse(
            principal=auth_mapping.principal(signed_in.principal), tokens=auth_mapping.tokens(signed_in.tokens)
        )

    async def SignUpWithInvitation(
        self, request: invitations.SignUpWithInvitationRequest, context: Context
    ) -> invitations.SignUpWithInvitationResponse:
        signed_in = await self._invited.sign_up(request.token, request.display_name, request.password)
        return invitations.SignUpWithInvitationResponse(
            principal=auth_mapping.principal(signed_in.principal), tokens=auth_mapping.tokens(signed_in.tokens)
        )


class MembershipServicer(membership_service_pb2_grpc.MembershipServiceServicer):
    """The organizations of the caller."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def ListMyOrganizations(
        self, request: memberships.ListMyOrganizationsRequest, context: Context
    ) -> memberships.ListMyOrganizationsResponse:
        found = await self._places.list(mapping.person(caller()))
        return memberships.ListMyOrganizationsResponse(
            organizations=[mapping.my_organization(organization, place) for organization, place in found]
        )

    async def SwitchOrganization(
        self, request: memberships.SwitchOrganizationRequest, context: Context
    ) -> memberships.SwitchOrganizationResponse:
        signed_in = await self._places.switch(mapping.person(caller()), request.organization_slug)
        return memberships.SwitchOrganizationResponse(
            principal=auth_mapping.principal(signed_in.principal), tokens=auth_mapping.tokens(signed_in.tokens)
        )

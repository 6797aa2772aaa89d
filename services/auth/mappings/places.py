"""Invitations and a person's organizations between proto and domain."""

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import invitation_pb2, invitation_service_pb2, membership_service_pb2
from services.auth import mapping
from services.auth.domain import Membership, Organization
from services.auth.invitations import Invitation
from services.auth.mappings.roles import granter
from services.auth.usecases.invitations import Invite
from services.auth.usecases.places import Person
from services.common.context import Caller, IdempotencyKey


def to_invite(
    request: invitation_service_pb2.CreateInvitationRequest, caller: Caller, idempotency: IdempotencyKey
) -> Invite:
    return Invite(
        organization_id=caller.organization_id,
        email=request.email,
        roles=mapping.to_roles(request.roles),
        custom_role_ids=tuple(request.custom_role_ids),
        by=granter(caller),
        idempotency=idempotency,
    )


def person(caller: Caller) -> Person:
    return Person(caller.user_id, caller.authenticated_at, caller.methods, caller.session_id)


def invitation(sent: Invitation) -> invitation_pb2.Invitation:
    created, expires = Timestamp(), Timestamp()
    created.FromDatetime(sent.created_at)
    expires.FromDatetime(sent.expires_at)
    return invitation_pb2.Invitation(
        id=sent.id,
        email=sent.email,
        roles=mapping.roles(sent.roles),
        custom_role_ids=sent.custom_role_ids,
        invited_by=sent.invited_by,
        created_at=created,
        expires_at=expires,
    )


def my_organization(tenant: Organization, place: Membership) -> membership_service_pb2.MyOrganization:
    return membership_service_pb2.MyOrganization(
        organization=mapping.organization(tenant),
        roles=mapping.roles(place.roles),
        custom_role_ids=place.custom_role_ids,
    )

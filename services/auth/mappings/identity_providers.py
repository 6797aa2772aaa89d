"""Between the protos of identity providers and the domain."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import identity_provider_pb2, user_pb2
from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from services.auth import mapping
from services.auth.domain import Role
from services.auth.groups import GroupRole
from services.auth.identity_providers import IdentityProvider
from services.auth.usecases.identity_links import Linked
from services.auth.usecases.identity_providers import Settings


def to_settings(request: pb.SetIdentityProviderRequest) -> Settings:
    return Settings(
        request.name,
        request.issuer,
        request.client_id,
        request.client_secret,
        tuple(request.email_domains),
        tuple(request.hosts),
        request.creates_users,
        mapping.to_role(request.role) or Role.CUSTOMER,
        request.groups_claim,
        tuple(GroupRole(one.group, mapping.to_role(one.role), one.custom_role_id) for one in request.group_roles),
    )


def provider(
    found: IdentityProvider, redirect_uri: str, backchannel_logout_uri: str
) -> identity_provider_pb2.IdentityProvider:
    role: Any = user_pb2.Role.Value(f"ROLE_{found.role.name}")
    updated_at = Timestamp()
    updated_at.FromDatetime(found.updated_at)
    return identity_provider_pb2.IdentityProvider(
        name=found.name,
        issuer=found.issuer,
        client_id=found.client_id,
        email_domains=found.email_domains,
        hosts=found.hosts,
        creates_users=found.creates_users,
        role=role,
        redirect_uri=redirect_uri,
        updated_at=updated_at,
        groups_claim=found.groups_claim,
        group_roles=map(_group_role, found.group_roles),
        backchannel_logout_uri=backchannel_logout_uri,
    )


def _group_role(one: GroupRole) -> identity_provider_pb2.GroupRole:
    if one.role is None:
        return identity_provider_pb2.GroupRole(group=one.group, custom_role_id=one.custom_role_id)
    role: Any = user_pb2.Role.Value(f"ROLE_{one.role.name}")
    return identity_provider_pb2.GroupRole(group=one.group, role=role)


def identity_link(linked: Linked) -> identity_provider_pb2.IdentityLink:
    linked_at = Timestamp()
    linked_at.FromDatetime(linked.identity.created_at)
    return identity_provider_pb2.IdentityLink(
        issuer=linked.identity.issuer, subject=linked.identity.subject, active=linked.active, linked_at=linked_at
    )

"""Between auth's protos and its domain."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import auth_service_pb2, organization_pb2, organization_service_pb2, user_pb2
from services.auth.domain import Membership, Organization, Principal, Role, User
from services.auth.mappings.mfa import challenge
from services.auth.mappings.roles import granter
from services.auth.usecases.members import AddMember, Page
from services.auth.usecases.mfa import Challenged
from services.auth.usecases.opening import SignedIn, TokenPair
from services.auth.usecases.sessions import SignIn, SignUp
from services.common.context import Caller, IdempotencyKey
from services.common.permissions import permissions_of

_ROLE_TO_PROTO: Mapping[Role, Any] = {role: user_pb2.Role.Value(f"ROLE_{role.name}") for role in Role}
_ROLE_FROM_PROTO = {number: role for role, number in _ROLE_TO_PROTO.items()}


def to_sign_up(request: auth_service_pb2.SignUpRequest, source: str) -> SignUp:
    founds = request.WhichOneof("membership") == "new_organization"
    return SignUp(
        email=request.email,
        password=request.password,
        display_name=request.display_name,
        slug=request.new_organization.slug if founds else request.join_organization_slug,
        source=source,
        new_organization_name=request.new_organization.name if founds else None,
    )


def to_sign_in(request: auth_service_pb2.SignInRequest, source: str) -> SignIn:
    return SignIn(request.email, request.password, request.organization_slug, source)


def to_add_member(
    request: organization_service_pb2.AddMemberRequest, caller: Caller, idempotency: IdempotencyKey
) -> AddMember:
    return AddMember(
        organization_id=caller.organization_id,
        email=request.email,
        display_name=request.display_name,
        password=request.password,
        roles=to_roles(request.roles),
        custom_role_ids=tuple(request.custom_role_ids),
        by=granter(caller),
        idempotency=idempotency,
    )


def to_role(number: int) -> Role | None:
    """None for ROLE_UNSPECIFIED."""
    return _ROLE_FROM_PROTO.get(number)


def to_roles(numbers: Sequence[int]) -> tuple[Role, ...]:
    return tuple(_ROLE_FROM_PROTO[number] for number in numbers)


def roles(held: Sequence[Role]) -> list[Any]:
    return [_ROLE_TO_PROTO[role] for role in held]


def roles_of(caller: Caller) -> tuple[Role, ...]:
    """The roles the caller's token names; a role that is no longer known is left out."""
    return tuple(role for role in Role if role in caller.roles)


def sign_up_response(signed_in: SignedIn) -> auth_service_pb2.SignUpResponse:
    return auth_service_pb2.SignUpResponse(principal=principal(signed_in.principal), tokens=tokens(signed_in.tokens))


def sign_in_response(signed_in: SignedIn | Challenged) -> auth_service_pb2.SignInResponse:
    if isinstance(signed_in, Challenged):
        return auth_service_pb2.SignInResponse(challenge=challenge(signed_in))
    return auth_service_pb2.SignInResponse(principal=principal(signed_in.principal), tokens=tokens(signed_in.tokens))


def principal(person: Principal) -> auth_service_pb2.Principal:
    return auth_service_pb2.Principal(
        user=user(person.user),
        organization=organization(person.organization),
        roles=roles(person.roles),
        permissions=sorted(permissions_of(person.grants)),
    )


def tokens(pair: TokenPair) -> auth_service_pb2.Tokens:
    return auth_service_pb2.Tokens(
        access_token=pair.access.value,
        access_token_lifetime=_seconds(pair.access.lifetime_seconds),
        refresh_token=pair.refresh,
        refresh_token_lifetime=_seconds(pair.refresh_lifetime_seconds),
    )


def user(person: User) -> user_pb2.User:
    made = Timestamp()
    made.FromDatetime(person.created_at)
    return user_pb2.User(id=person.id, email=person.email, display_name=person.display_name, created_at=made)


def organization(tenant: Organization) -> organization_pb2.Organization:
    made = Timestamp()
    made.FromDatetime(tenant.created_at)
    return organization_pb2.Organization(id=tenant.id, slug=tenant.slug, name=tenant.name, created_at=made)


def membership(place: Membership) -> organization_pb2.Membership:
    made = Timestamp()
    made.FromDatetime(place.created_at)
    return organization_pb2.Membership(
        user=user(place.user),
        organization_id=place.organization_id,
        roles=roles(place.roles),
        custom_role_ids=place.custom_role_ids,
        created_at=made,
        group_roles=roles(place.group_roles),
        group_custom_role_ids=place.group_custom_role_ids,
    )


def list_response(page: Page) -> organization_service_pb2.ListMembersResponse:
    return organization_service_pb2.ListMembersResponse(
        members=[membership(place) for place in page.members], next_page_token=page.next_page_token
    )


def batch_response(places: Sequence[Membership]) -> organization_service_pb2.BatchGetMembersResponse:
    return organization_service_pb2.BatchGetMembersResponse(members=[membership(place) for place in places])


def _seconds(seconds: int) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration

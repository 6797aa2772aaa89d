"""Invitations by mail: once, for one address, in time; and people who belong to several organizations."""

from typing import Any

import grpc
import jwt

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import invitation_service_pb2 as invitations
from deskmesh.auth.v1 import membership_service_pb2 as memberships
from deskmesh.auth.v1 import role_service_pb2 as roles
from deskmesh.auth.v1 import user_pb2
from deskmesh.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from deskmesh.auth.v1.invitation_service_pb2_grpc import InvitationServiceStub
from deskmesh.auth.v1.membership_service_pb2_grpc import MembershipServiceStub
from deskmesh.auth.v1.role_service_pb2_grpc import RoleServiceStub
from services.common.api_keys import hash_key
from services.common.ids import new_id
from tests.integration.auth.people import PASSWORD, AuthClient, Person
from tests.support.server import Headers, Refusal, refused


def _stub(client: AuthClient) -> Any:
    return InvitationServiceStub(client.service.channel("edge"))


def _places(client: AuthClient) -> Any:
    return MembershipServiceStub(client.service.channel("edge"))


async def _invite(
    client: AuthClient, headers: Headers, email: str, *held: Any, custom: tuple[str, ...] = ()
) -> invitations.CreateInvitationResponse:
    request = invitations.CreateInvitationRequest(
        request_id=new_id("req"), email=email, roles=held, custom_role_ids=custom
    )
    response: invitations.CreateInvitationResponse = await _stub(client).CreateInvitation(request, metadata=headers)
    return response


async def _token(client: AuthClient, email: str, letters: int = 1) -> str:
    """The token of the newest of so many letters to an address."""
    return await client.mailbox.token(email, "You are invited to A shop", count=letters)


async def _sign_up(client: AuthClient, token: str) -> invitations.SignUpWithInvitationResponse:
    request = invitations.SignUpWithInvitationRequest(token=token, display_name="New Member", password=PASSWORD)
    response: invitations.SignUpWithInvitationResponse = await _stub(client).SignUpWithInvitation(request)
    return response


def _bearer(tokens: auth.Tokens) -> Headers:
    return (("authorization", f"Bearer {tokens.access_token}"),)


def _reason(refusal: Refusal) -> tuple[grpc.StatusCode, str]:
    return refusal.error.code, refusal.error.reason


def _address() -> str:
    return f"{new_id('p')}@example.com"


async def _open(client: AuthClient, owner: Person) -> list[str]:
    listed = await _stub(client).ListInvitations(invitations.ListInvitationsRequest(), metadata=owner.headers)
    return [invitation.id for invitation in listed.invitations]


async def test_somebody_without_an_account_makes_one_by_the_link_once(client: AuthClient) -> None:
    owner, email = await client.founder(), _address()
    invited = await _invite(client, owner.headers, email.upper(), user_pb2.ROLE_AGENT)
    assert invited.invitation.email == email
    token = await _token(client, email)
    signed_in = await _sign_up(client, token)
    assert signed_in.principal.organization.id == owner.organization_id
    assert list(signed_in.principal.roles) == [user_pb2.ROLE_AGENT]
    assert await _open(client, owner) == []
    async with refused() as again:
        await _sign_up(client, token)
    assert _reason(again) == (grpc.StatusCode.FAILED_PRECONDITION, "INVITATION_INVALID")
    assert await client.auth.SignIn(auth.SignInRequest(email=email, password=PASSWORD))


async def test_somebody_with_an_account_joins_and_belongs_to_both(client: AuthClient) -> None:
    owner, member = await client.founder(), await client.founder()
    await _invite(client, owner.headers, member.email, user_pb2.ROLE_SUPERVISOR)
    token = await _token(client, member.email)
    async with refused() as taken:
        await _sign_up(client, token)
    assert _reason(taken) == (grpc.StatusCode.ALREADY_EXISTS, "EMAIL_TAKEN")
    request = invitations.AcceptInvitationRequest(token=token)
    joined = await _stub(client).AcceptInvitation(request, metadata=member.headers)
    claims = jwt.decode(joined.tokens.access_token, options={"verify_signature": False})
    assert (claims["org"], claims["roles"]) == (owner.organization_id, ["supervisor"])
    listed = await _places(client).ListMyOrganizations(
        memberships.ListMyOrganizationsRequest(), metadata=_bearer(joined.tokens)
    )
    assert [place.organization.slug for place in listed.organizations] == [member.slug, owner.slug]
    back = await _places(client).SwitchOrganization(
        memberships.SwitchOrganizationRequest(organization_slug=member.slug), metadata=_bearer(joined.tokens)
    )
    switched = jwt.decode(back.tokens.access_token, options={"verify_signature": False})
    assert (switched["org"], switched["roles"]) == (member.organization_id, ["owner"])
    # What was proven is as old as it was.
    assert (switched["auth_time"], switched["amr"]) == (claims["auth_time"], claims["amr"])


async def test_nobody_switches_to_where_they_do_not_belong(client: AuthClient) -> None:
    owner, stranger = await client.founder(), await client.founder()
    for slug in (owner.slug, "no-such-slug"):
        async with refused() as refusal:
            request = memberships.SwitchOrganizationRequest(organization_slug=slug)
            await _places(client).SwitchOrganization(request, metadata=stranger.headers)
        assert _reason(refusal) == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")


async def test_an_invitation_is_for_one_address(client: AuthClient) -> None:
    owner, other, email = await client.founder(), await client.founder(), _address()
    await _invite(client, owner.headers, email, user_pb2.ROLE_AGENT)
    token = await _token(client, email)
    async with refused() as refusal:
        await _stub(client).AcceptInvitation(invitations.AcceptInvitationRequest(token=token), metadata=other.headers)
    assert _reason(refusal) == (grpc.StatusCode.FAILED_PRECONDITION, "INVITATION_INVALID")
    assert await _sign_up(client, token)


async def test_a_link_sent_again_replaces_the_one_before_and_a_withdrawn_one_is_dead(client: AuthClient) -> None:
    owner, email = await client.founder(), _address()
    invited = await _invite(client, owner.headers, email, user_pb2.ROLE_AGENT)
    first = await _token(client, email)
    request = invitations.ResendInvitationRequest(invitation_id=invited.invitation.id)
    await _stub(client).ResendInvitation(request, metadata=owner.headers)
    second = await _token(client, email, 2)
    async with refused() as old:
        await _sign_up(client, first)
    withdrawn = invitations.RevokeInvitationRequest(invitation_id=invited.invitation.id)
    await _stub(client).RevokeInvitation(withdrawn, metadata=owner.headers)
    async with refused() as dead:
        await _sign_up(client, second)
    for refusal in (old, dead):
        assert _reason(refusal) == (grpc.StatusCode.FAILED_PRECONDITION, "INVITATION_INVALID")
    async with refused() as gone:
        await _stub(client).ResendInvitation(request, metadata=owner.headers)
    assert _reason(gone) == (grpc.StatusCode.NOT_FOUND, "INVITATION_NOT_FOUND")


async def test_inviting_an_address_again_replaces_the_open_invitation(client: AuthClient) -> None:
    owner, email = await client.founder(), _address()
    await _invite(client, owner.headers, email, user_pb2.ROLE_AGENT)
    second = await _invite(client, owner.headers, email, user_pb2.ROLE_SUPERVISOR)
    assert await _open(client, owner) == [second.invitation.id]


async def test_members_are_not_invited_and_nobody_invites_beyond_what_they_hold(client: AuthClient) -> None:
    owner = await client.founder()
    admin_email = _address()
    await _invite(client, owner.headers, admin_email, user_pb2.ROLE_ADMIN)
    admin = _bearer((await _sign_up(client, await _token(client, admin_email))).tokens)
    async with refused() as member:
        await _invite(client, admin, owner.email, user_pb2.ROLE_AGENT)
    assert _reason(member) == (grpc.StatusCode.ALREADY_EXISTS, "MEMBERSHIP_EXISTS")
    async with refused() as owned:
        await _invite(client, admin, _address(), user_pb2.ROLE_OWNER)
    assert _reason(owned) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_a_role_that_somebody_is_invited_to_stays(client: AuthClient) -> None:
    owner, email = await client.founder(), _address()
    stub: Any = RoleServiceStub(client.service.channel("edge"))
    made = await stub.CreateRole(
        roles.CreateRoleRequest(request_id=new_id("req"), name="Auditor", permissions=["audit.read"]),
        metadata=owner.headers,
    )
    await _invite(client, owner.headers, email, custom=(made.role.id,))
    async with refused() as refusal:
        await stub.DeleteRole(roles.DeleteRoleRequest(role_id=made.role.id), metadata=owner.headers)
    assert _reason(refusal) == (grpc.StatusCode.FAILED_PRECONDITION, "ROLE_IN_USE")
    signed_in = await _sign_up(client, await _token(client, email))
    assert list(signed_in.principal.permissions) == ["audit.read"]


async def test_another_organizations_invitation_does_not_exist(client: AuthClient) -> None:
    owner, stranger = await client.founder(), await client.founder()
    invited = await _invite(client, owner.headers, _address(), user_pb2.ROLE_AGENT)
    async with refused() as refusal:
        request = invitations.RevokeInvitationRequest(invitation_id=invited.invitation.id)
        await _stub(client).RevokeInvitation(request, metadata=stranger.headers)
    assert _reason(refusal) == (grpc.StatusCode.NOT_FOUND, "INVITATION_NOT_FOUND")
    assert await _open(client, stranger) == []


async def test_a_key_says_whose_it_is_and_does_nothing_personal(client: AuthClient) -> None:
    owner = await client.founder()
    stub: Any = ApiKeyServiceStub(client.service.channel("edge"))
    account = await stub.CreateServiceAccount(
        keys.CreateServiceAccountRequest(request_id=new_id("req"), name="Robot"), metadata=owner.headers
    )
    for owner_id in (account.service_account.id, ""):
        made = await stub.CreateApiKey(
            keys.CreateApiKeyRequest(name="k", scopes=["members.read"], service_account_id=owner_id),
            metadata=owner.headers,
        )
        gateway: Any = ApiKeyServiceStub(client.service.channel("gateway"))
        exchanged = await gateway.ExchangeApiKey(keys.ExchangeApiKeyRequest(secret_hash=hash_key(made.secret)))
        headers = (("authorization", f"Bearer {exchanged.access_token}"),)
        found = await client.auth.WhoAmI(auth.WhoAmIRequest(), metadata=headers)
        assert found.principal.user.id == (owner_id or owner.user_id)
        assert list(found.principal.permissions) == ["members.read"]
        async with refused() as switched:
            request = memberships.SwitchOrganizationRequest(organization_slug=owner.slug)
            await _places(client).SwitchOrganization(request, metadata=headers)
        assert _reason(switched) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")
        async with refused() as listed:
            await _places(client).ListMyOrganizations(memberships.ListMyOrganizationsRequest(), metadata=headers)
        assert _reason(listed) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")

"""Members of an organization: listing, adding, roles, leaving; tenants apart and the last owner kept."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import organization_service_pb2 as organizations
from deskmesh.auth.v1 import user_pb2
from deskmesh.auth.v1.organization_service_pb2_grpc import OrganizationServiceStub
from services.common.errors import from_rpc_error
from services.common.ids import new_id
from tests.integration.auth.people import PASSWORD, AuthClient, Person
from tests.support.server import acting, refused


def _new_member(*roles: Any, **changes: Any) -> organizations.AddMemberRequest:
    values: dict[str, Any] = {
        "request_id": new_id("req"),
        "email": f"{new_id('p')}@example.com",
        "display_name": "New Member",
        "password": PASSWORD,
        "roles": roles or (user_pb2.ROLE_AGENT,),
    }
    return organizations.AddMemberRequest(**values | changes)


async def _added(client: AuthClient, owner: Person, *roles: Any, **changes: Any) -> str:
    response = await client.organizations.AddMember(_new_member(*roles, **changes), metadata=owner.headers)
    user_id: str = response.member.user.id
    return user_id


async def test_a_member_who_was_added_can_sign_in(client: AuthClient) -> None:
    owner = await client.founder()
    request = _new_member(user_pb2.ROLE_AGENT, user_pb2.ROLE_CUSTOMER)
    member = (await client.organizations.AddMember(request, metadata=owner.headers)).member
    assert list(member.roles) == [user_pb2.ROLE_CUSTOMER, user_pb2.ROLE_AGENT]
    assert member.organization_id == owner.organization_id
    signed_in = await client.auth.SignIn(auth.SignInRequest(email=request.email, password=PASSWORD))
    assert signed_in.principal.user.id == member.user.id


async def test_the_same_request_id_adds_one_member_and_other_content_is_refused(client: AuthClient) -> None:
    owner = await client.founder()
    request = _new_member()
    answers = await asyncio.gather(*(client.organizations.AddMember(request, metadata=owner.headers) for _ in range(5)))
    assert len({answer.member.user.id for answer in answers}) == 1
    request.display_name = "Somebody Else"
    async with refused() as refusal:
        await client.organizations.AddMember(request, metadata=owner.headers)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_taken_address_adds_nobody(client: AuthClient) -> None:
    owner, other = await client.founder(), await client.founder()
    async with refused() as refusal:
        await _added(client, owner, email=other.email)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EMAIL_TAKEN")
    listed = await client.organizations.ListMembers(organizations.ListMembersRequest(), metadata=owner.headers)
    assert [member.user.id for member in listed.members] == [owner.user_id]


async def test_members_are_listed_in_pages_bound_to_their_filters(client: AuthClient) -> None:
    owner = await client.founder()
    for name in ("Cora", "Abel", "Bea"):
        await _added(client, owner, display_name=name)
    names: list[str] = []
    token = ""
    while True:
        request = organizations.ListMembersRequest(role=user_pb2.ROLE_AGENT, page_size=2, page_token=token)
        page = await client.organizations.ListMembers(request, metadata=owner.headers)
        names += [member.user.display_name for member in page.members]
        if not page.next_page_token:
            break
        token = page.next_page_token
    assert names == ["Abel", "Bea", "Cora"]
    async with refused() as refusal:
        await client.organizations.ListMembers(
            organizations.ListMembersRequest(page_token=token), metadata=owner.headers
        )
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_tenants_do_not_see_each_other(client: AuthClient) -> None:
    owner, other = await client.founder(), await client.founder()
    stranger = await _added(client, other)
    request = organizations.BatchGetMembersRequest(user_ids=[owner.user_id, stranger, other.user_id])
    found = await client.organizations.BatchGetMembers(request, metadata=owner.headers)
    assert [member.user.id for member in found.members] == [owner.user_id]
    change = organizations.SetMemberRolesRequest(user_id=stranger, roles=[user_pb2.ROLE_ADMIN])
    for call in (
        client.organizations.SetMemberRoles(change, metadata=owner.headers),
        client.organizations.RemoveMember(organizations.RemoveMemberRequest(user_id=stranger), metadata=owner.headers),
    ):
        async with refused() as refusal:
            await call
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")


async def test_new_roles_come_with_the_next_refresh(client: AuthClient) -> None:
    owner = await client.founder()
    customer = await client.customer(owner.slug)
    change = organizations.SetMemberRolesRequest(user_id=customer.user_id, roles=[user_pb2.ROLE_AGENT])
    await client.organizations.SetMemberRoles(change, metadata=owner.headers)
    refreshed = await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=customer.refresh_token))
    headers = (("authorization", f"Bearer {refreshed.tokens.access_token}"),)
    assert list((await client.auth.WhoAmI(auth.WhoAmIRequest(), metadata=headers)).principal.roles) == [
        user_pb2.ROLE_AGENT
    ]


async def test_who_is_removed_cannot_renew(client: AuthClient) -> None:
    owner = await client.founder()
    customer = await client.customer(owner.slug)
    removal = organizations.RemoveMemberRequest(user_id=customer.user_id)
    await client.organizations.RemoveMember(removal, metadata=owner.headers)
    async with refused() as refusal:
        await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=customer.refresh_token))
    assert refusal.error.reason == "REFRESH_TOKEN_INVALID"
    async with refused() as refusal:
        await client.auth.SignIn(auth.SignInRequest(email=customer.email, password=PASSWORD))
    assert refusal.error.reason == "CREDENTIALS_INVALID"
    async with refused() as refusal:
        await client.auth.WhoAmI(auth.WhoAmIRequest(), metadata=customer.headers)
    # Whichever comes first: the news that the token is revoked, or the look into the store.
    assert refusal.error.reason in ("TOKEN_REVOKED", "USER_NOT_FOUND")


async def test_the_last_owner_stays(client: AuthClient) -> None:
    owner = await client.founder()
    demotion = organizations.SetMemberRolesRequest(user_id=owner.user_id, roles=[user_pb2.ROLE_ADMIN])
    removal = organizations.RemoveMemberRequest(user_id=owner.user_id)
    for call in (
        client.organizations.SetMemberRoles(demotion, metadata=owner.headers),
        client.organizations.RemoveMember(removal, metadata=owner.headers),
    ):
        async with refused() as refusal:
            await call
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LAST_OWNER")


async def test_two_owners_who_leave_at_once_leave_one(client: AuthClient) -> None:
    owner = await client.founder()
    second = await _added(client, owner, user_pb2.ROLE_OWNER)
    results = await asyncio.gather(
        *(
            client.organizations.RemoveMember(
                organizations.RemoveMemberRequest(user_id=user_id), metadata=owner.headers
            )
            for user_id in (owner.user_id, second)
        ),
        return_exceptions=True,
    )
    refusals = [from_rpc_error(result) for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert [error.reason for error in refusals] == ["LAST_OWNER"]


async def test_only_owners_make_owners(client: AuthClient) -> None:
    owner = await client.founder()
    request = _new_member(user_pb2.ROLE_ADMIN)
    await client.organizations.AddMember(request, metadata=owner.headers)
    signed_in = await client.auth.SignIn(auth.SignInRequest(email=request.email, password=PASSWORD))
    admin = (("authorization", f"Bearer {signed_in.tokens.access_token}"),)
    to_owner = organizations.SetMemberRolesRequest(user_id=signed_in.principal.user.id, roles=[user_pb2.ROLE_OWNER])
    for call in (
        client.organizations.AddMember(_new_member(user_pb2.ROLE_OWNER), metadata=admin),
        client.organizations.SetMemberRoles(to_owner, metadata=admin),
        client.organizations.RemoveMember(organizations.RemoveMemberRequest(user_id=owner.user_id), metadata=admin),
    ):
        async with refused() as refusal:
            await call
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


@pytest.mark.parametrize("role", [user_pb2.ROLE_CUSTOMER, user_pb2.ROLE_AGENT, user_pb2.ROLE_SUPERVISOR])
async def test_others_change_nobody(client: AuthClient, role: Any) -> None:
    owner = await client.founder()
    request = _new_member(role)
    await client.organizations.AddMember(request, metadata=owner.headers)
    signed_in = await client.auth.SignIn(auth.SignInRequest(email=request.email, password=PASSWORD))
    headers = (("authorization", f"Bearer {signed_in.tokens.access_token}"),)
    async with refused() as refusal:
        await client.organizations.AddMember(_new_member(), metadata=headers)
    assert refusal.error.reason == "PERMISSION_MISSING"


async def test_another_service_reads_members_for_an_agent(client: AuthClient) -> None:
    owner = await client.founder()
    stub = OrganizationServiceStub(client.service.channel("tickets"))
    request = organizations.BatchGetMembersRequest(user_ids=[owner.user_id])
    found = await stub.BatchGetMembers(request, metadata=acting(owner.organization_id, "usr_agent", ("agent",)))
    assert len(found.members) == 1
    async with refused() as refusal:
        await stub.RemoveMember(
            organizations.RemoveMemberRequest(user_id=owner.user_id),
            metadata=acting(owner.organization_id, "usr_owner", ("owner",)),
        )
    assert refusal.error.reason == "WORKLOAD_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "not an address"}, "email"),
        ({"password": "short"}, "password"),
        ({"display_name": ""}, "display_name"),
        ({"roles": [user_pb2.ROLE_UNSPECIFIED]}, "roles[0]"),
        ({"roles": [user_pb2.ROLE_AGENT, user_pb2.ROLE_AGENT]}, "roles"),
        ({"roles": [99]}, "roles[0]"),
        ({"request_id": ""}, "request_id"),
    ],
    ids=["email", "password", "name", "role", "twice", "no role", "request_id"],
)
async def test_invalid_members_name_their_field(client: AuthClient, changes: dict[str, Any], field: str) -> None:
    owner = await client.founder()
    async with refused() as refusal:
        await _added(client, owner, **changes)
    assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [name for name, _ in refusal.error.violations] == [field]


async def test_a_name_of_nothing_but_space_is_refused(client: AuthClient) -> None:
    owner = await client.founder()
    async with refused() as refusal:
        await _added(client, owner, display_name="   ")
    assert refusal.error.violations == [("display_name", "must not be blank")]

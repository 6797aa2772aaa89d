"""Custom roles: made of known permissions, given only by who holds them, in the token of who has them."""

from typing import Any

import grpc
import jwt
import pytest

from deskmesh.auth.v1 import audit_service_pb2 as audit
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import organization_service_pb2 as organizations
from deskmesh.auth.v1 import role_service_pb2 as roles
from deskmesh.auth.v1 import user_pb2
from deskmesh.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from deskmesh.auth.v1.role_service_pb2_grpc import RoleServiceStub
from services.common.ids import new_id
from tests.integration.auth.people import PASSWORD, AuthClient, Person
from tests.support.server import Headers, Refusal, refused


def _new_role(*permissions: str, name: str = "Auditor", **changes: Any) -> roles.CreateRoleRequest:
    values: dict[str, Any] = {"request_id": new_id("req"), "name": name, "permissions": permissions}
    return roles.CreateRoleRequest(**values | changes)


def _stub(client: AuthClient) -> Any:
    return RoleServiceStub(client.service.channel("edge"))


async def _made(client: AuthClient, person: Person, *permissions: str, name: str = "Auditor") -> str:
    response = await _stub(client).CreateRole(_new_role(*permissions, name=name), metadata=person.headers)
    role_id: str = response.role.id
    return role_id


async def _assign(client: AuthClient, by: Headers, user_id: str, *custom: str, built_in: Any = ()) -> None:
    request = organizations.SetMemberRolesRequest(user_id=user_id, roles=built_in, custom_role_ids=custom)
    await client.organizations.SetMemberRoles(request, metadata=by)


async def _sign_in(client: AuthClient, person: Person) -> auth.SignInResponse:
    response: auth.SignInResponse = await client.auth.SignIn(
        auth.SignInRequest(email=person.email, password=PASSWORD, organization_slug=person.slug)
    )
    return response


def _reason(refusal: Refusal) -> tuple[grpc.StatusCode, str]:
    return refusal.error.code, refusal.error.reason


async def test_a_custom_role_opens_exactly_what_it_names(client: AuthClient) -> None:
    owner = await client.founder()
    auditor = await client.customer(owner.slug)
    role_id = await _made(client, owner, "audit.read")
    await _assign(client, owner.headers, auditor.user_id, role_id)
    signed_in = await _sign_in(client, auditor)
    assert list(signed_in.principal.roles) == []
    assert list(signed_in.principal.permissions) == ["audit.read"]
    headers = (("authorization", f"Bearer {signed_in.tokens.access_token}"),)
    stub = AuditServiceStub(client.service.channel("edge"))
    listed = await stub.ListAuditEvents(audit.ListAuditEventsRequest(), metadata=headers)
    assert listed.events
    async with refused() as refusal:
        await client.organizations.ListMembers(organizations.ListMembersRequest(), metadata=headers)
    assert _reason(refusal) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")
    renewed = await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=signed_in.tokens.refresh_token))
    claims = jwt.decode(renewed.tokens.access_token, options={"verify_signature": False})
    assert claims["roles"] == ["+audit.read"]


async def test_built_in_and_custom_roles_add_up_without_repeating(client: AuthClient) -> None:
    owner = await client.founder()
    agent = await client.customer(owner.slug)
    role_id = await _made(client, owner, "audit.read", "tickets.read")
    await _assign(client, owner.headers, agent.user_id, role_id, built_in=[user_pb2.ROLE_AGENT])
    token = (await _sign_in(client, agent)).tokens.access_token
    assert jwt.decode(token, options={"verify_signature": False})["roles"] == ["agent", "+audit.read"]


async def test_a_changed_role_counts_from_the_next_token_on(client: AuthClient) -> None:
    owner = await client.founder()
    member = await client.customer(owner.slug)
    role_id = await _made(client, owner, "audit.read")
    await _assign(client, owner.headers, member.user_id, role_id)
    changed = roles.UpdateRoleRequest(role_id=role_id, name="Reader", permissions=["articles.read"])
    await _stub(client).UpdateRole(changed, metadata=owner.headers)
    assert list((await _sign_in(client, member)).principal.permissions) == ["articles.read"]
    listed = await _stub(client).ListRoles(roles.ListRolesRequest(), metadata=owner.headers)
    assert [(role.name, list(role.permissions)) for role in listed.roles] == [("Reader", ["articles.read"])]


async def test_nobody_gives_what_they_do_not_hold(client: AuthClient) -> None:
    owner = await client.founder()
    manager = await client.customer(owner.slug)
    narrow = await _made(client, owner, "members.write", "members.read", "roles.write", name="Manager")
    strong = await _made(client, owner, "audit.read", name="Strong")
    await _assign(client, owner.headers, manager.user_id, narrow)
    headers = (("authorization", f"Bearer {(await _sign_in(client, manager)).tokens.access_token}"),)
    async with refused() as made:
        await _stub(client).CreateRole(_new_role("audit.read", name="Mine"), metadata=headers)
    async with refused() as widened:
        request = roles.UpdateRoleRequest(role_id=narrow, name="Manager", permissions=["members.write", "audit.read"])
        await _stub(client).UpdateRole(request, metadata=headers)
    async with refused() as assigned:
        await _assign(client, headers, manager.user_id, narrow, strong)
    async with refused() as promoted:
        await _assign(client, headers, manager.user_id, built_in=[user_pb2.ROLE_ADMIN])
    async with refused() as owned:
        await _assign(client, headers, manager.user_id, built_in=[user_pb2.ROLE_OWNER])
    for refusal in (made, widened, assigned, promoted):
        assert _reason(refusal) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_NOT_HELD")
    assert _reason(owned) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")
    # What somebody stronger gave may stay while the rest changes.
    customer = await client.customer(owner.slug)
    await _assign(client, owner.headers, customer.user_id, strong)
    await _assign(client, headers, customer.user_id, strong, narrow)


async def test_roles_are_made_of_known_permissions_and_have_names_of_their_own(client: AuthClient) -> None:
    owner = await client.founder()
    await _made(client, owner, "audit.read", name="Auditor")
    async with refused() as unknown:
        await _stub(client).CreateRole(_new_role("audit.read", "world.rule", name="X"), metadata=owner.headers)
    assert unknown.error.violations == [("permissions[1]", "is no permission")]
    for name in ("AUDITOR", " auditor ", "Owner", "ML Engineer"):
        async with refused() as taken:
            await _stub(client).CreateRole(_new_role("audit.read", name=name), metadata=owner.headers)
        assert _reason(taken) == (grpc.StatusCode.ALREADY_EXISTS, "ROLE_NAME_TAKEN")
    other = await client.founder()
    assert await _made(client, other, "audit.read", name="Auditor")


async def test_a_role_in_use_stays_and_a_free_one_goes(client: AuthClient) -> None:
    owner = await client.founder()
    member = await client.customer(owner.slug)
    role_id = await _made(client, owner, "audit.read")
    await _assign(client, owner.headers, member.user_id, role_id)
    async with refused() as held:
        await _stub(client).DeleteRole(roles.DeleteRoleRequest(role_id=role_id), metadata=owner.headers)
    assert _reason(held) == (grpc.StatusCode.FAILED_PRECONDITION, "ROLE_IN_USE")
    await _assign(client, owner.headers, member.user_id, built_in=[user_pb2.ROLE_CUSTOMER])
    await _stub(client).DeleteRole(roles.DeleteRoleRequest(role_id=role_id), metadata=owner.headers)
    async with refused() as gone:
        await _assign(client, owner.headers, member.user_id, role_id)
    assert _reason(gone) == (grpc.StatusCode.NOT_FOUND, "ROLE_NOT_FOUND")


async def test_another_organizations_role_does_not_exist(client: AuthClient) -> None:
    owner, stranger = await client.founder(), await client.founder()
    role_id = await _made(client, owner, "audit.read")
    async with refused() as updated:
        request = roles.UpdateRoleRequest(role_id=role_id, name="Mine", permissions=["audit.read"])
        await _stub(client).UpdateRole(request, metadata=stranger.headers)
    async with refused() as assigned:
        await _assign(client, stranger.headers, stranger.user_id, role_id, built_in=[user_pb2.ROLE_OWNER])
    for refusal in (updated, assigned):
        assert _reason(refusal) == (grpc.StatusCode.NOT_FOUND, "ROLE_NOT_FOUND")
    assert not (await _stub(client).ListRoles(roles.ListRolesRequest(), metadata=stranger.headers)).roles


async def test_a_member_without_any_role_is_refused(client: AuthClient) -> None:
    owner = await client.founder()
    async with refused() as refusal:
        await _assign(client, owner.headers, owner.user_id)
    assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_permissions_are_those_of_the_contract_with_who_holds_them(client: AuthClient) -> None:
    owner = await client.founder()
    listed = await _stub(client).ListPermissions(roles.ListPermissionsRequest(), metadata=owner.headers)
    held = {permission.name: set(permission.held_by) for permission in listed.permissions}
    assert held["audit.read"] == {user_pb2.ROLE_ADMIN, user_pb2.ROLE_OWNER}
    assert user_pb2.ROLE_CUSTOMER in held["tickets.read.own"]
    assert all(user_pb2.ROLE_OWNER in holders for holders in held.values())


@pytest.mark.parametrize("repeat", [2])
async def test_the_same_request_id_makes_one_role(client: AuthClient, repeat: int) -> None:
    owner = await client.founder()
    request = _new_role("audit.read")
    made = [await _stub(client).CreateRole(request, metadata=owner.headers) for _ in range(repeat)]
    assert made[0] == made[1]

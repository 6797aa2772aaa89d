"""What happens at the same moment, on real stores: no token outlives a change that it says nothing of."""

import asyncio
from collections.abc import Awaitable

import jwt
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from deskmesh.auth.v1 import account_service_pb2 as account
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import organization_service_pb2 as organizations
from deskmesh.auth.v1 import role_service_pb2 as roles
from deskmesh.auth.v1 import user_pb2
from deskmesh.auth.v1.role_service_pb2_grpc import RoleServiceStub
from services.auth import tables
from services.common.db import SqlUnitOfWork, create_sessionmaker
from services.common.ids import new_id
from services.common.revocations import membership_subject
from tests.integration.auth.people import PASSWORD, AuthClient, Person
from tests.integration.auth.test_mfa import answer, challenge, enrolled
from tests.support.server import refused

ROUNDS = 25
LITTLE = ("tickets.read",)
MORE = ("tickets.read", "members.read")


async def _renewed(client: AuthClient, person: Person) -> dict[str, object]:
    """What a new access token of the person says."""
    request = auth.RefreshTokenRequest(refresh_token=person.refresh_token)
    tokens = (await client.auth.RefreshToken(request)).tokens
    person.refresh_token = tokens.refresh_token
    said: dict[str, object] = jwt.decode(tokens.access_token, options={"verify_signature": False})
    return said


async def _refused_until(client: AuthClient, *subjects: str) -> float:
    """The moment up to which tokens of one of these subjects are refused."""
    engine = create_async_engine(client.service.stack.postgres.url("auth"))
    try:
        async with SqlUnitOfWork(create_sessionmaker(engine), system=True) as work:
            columns = tables.revocations.c
            last = sa.select(sa.func.max(columns.not_before)).where(columns.subject.in_(subjects))
            return float(await work.session.scalar(last) or 0.0)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("held", ["built-in", "custom"])
async def test_whoever_renews_while_roles_change_has_the_new_ones_or_a_token_that_is_refused(
    client: AuthClient, held: str
) -> None:
    owner = await client.founder()
    customer = await client.customer(owner.slug)
    role_service = RoleServiceStub(client.service.channel("edge"))
    made = await role_service.CreateRole(
        roles.CreateRoleRequest(request_id=new_id("req"), name="Reader", permissions=LITTLE), metadata=owner.headers
    )
    place = organizations.SetMemberRolesRequest(
        user_id=customer.user_id,
        roles=[user_pb2.ROLE_CUSTOMER],
        custom_role_ids=[made.role.id] if held == "custom" else [],
    )
    await client.organizations.SetMemberRoles(place, metadata=owner.headers)
    role = roles.UpdateRoleRequest(role_id=made.role.id, name="Reader")
    before: object = None
    for number in range(ROUNDS):
        changing: Awaitable[object]
        if held == "custom":
            role.permissions[:] = LITTLE if number % 2 else MORE
            changing = role_service.UpdateRole(role, metadata=owner.headers)
        else:
            place.roles[:] = [user_pb2.ROLE_CUSTOMER if number % 2 else user_pb2.ROLE_AGENT]
            changing = client.organizations.SetMemberRoles(place, metadata=owner.headers)

        async def renewed_late(milliseconds: int) -> dict[str, object]:
            await asyncio.sleep(milliseconds / 1000)
            return await _renewed(client, customer)

        said, _ = await asyncio.gather(renewed_late(number % 8), changing)
        after = (await _renewed(client, customer))["roles"]
        assert after != before
        until = await _refused_until(client, membership_subject(customer.organization_id, customer.user_id))
        assert said["roles"] == after or float(str(said["iat"])) <= until
        before = after


async def test_whoever_renews_while_the_sign_in_ends_gets_nothing_or_a_token_that_is_refused(
    client: AuthClient,
) -> None:
    owner = await client.founder()
    for number in range(ROUNDS):
        person = await client.sign_in(owner)
        ending: Awaitable[object]
        if number % 2:
            ending = client.auth.SignOut(auth.SignOutRequest(refresh_token=person.refresh_token))
        else:
            ending = client.accounts.SignOutEverywhere(account.SignOutEverywhereRequest(), metadata=person.headers)
        said, _ = await asyncio.gather(_renewed(client, person), ending, return_exceptions=True)
        if isinstance(said, dict):
            assert float(str(said["iat"])) <= await _refused_until(client, owner.user_id, str(said["sid"]))
        async with refused() as refusal:
            await _renewed(client, person)
        assert refusal.error.reason == "REFRESH_TOKEN_INVALID"


async def test_a_changed_password_ends_sign_ins_that_wait_for_a_second_factor(client: AuthClient) -> None:
    owner, phone, _ = await enrolled(client)
    waiting = await challenge(client, owner)
    change = account.ChangePasswordRequest(current_password=PASSWORD, new_password="another quite long phrase")
    await client.accounts.ChangePassword(change, metadata=owner.headers)
    async with refused() as refusal:
        await client.mfa.CompleteSignIn(answer(waiting, totp=phone.code()))
    assert refusal.error.reason == "MFA_CHALLENGE_INVALID"

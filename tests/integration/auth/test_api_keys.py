"""API keys: made for programs and for people, never more than their maker, exchanged for tokens until they end."""

from datetime import timedelta
from typing import Any

import grpc
import jwt
import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from deskmesh.auth.v1 import audit_event_pb2 as events
from deskmesh.auth.v1 import audit_service_pb2 as audit
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import organization_service_pb2 as organizations
from deskmesh.auth.v1 import user_pb2
from deskmesh.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from deskmesh.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from services.common.api_keys import hash_key, is_well_formed
from services.common.ids import new_id
from tests.integration.auth.people import PASSWORD, AuthClient, Person
from tests.support.postgres import Postgres
from tests.support.server import Headers, Refusal, refused


def _stub(client: AuthClient, workload: str = "edge") -> Any:
    return ApiKeyServiceStub(client.service.channel(workload))


async def _account(client: AuthClient, owner: Person, name: str = "Shop backend") -> str:
    request = keys.CreateServiceAccountRequest(request_id=new_id("req"), name=name)
    response = await _stub(client).CreateServiceAccount(request, metadata=owner.headers)
    account_id: str = response.service_account.id
    return account_id


async def _key(client: AuthClient, headers: Headers, *scopes: str, **values: Any) -> keys.CreateApiKeyResponse:
    request = keys.CreateApiKeyRequest(name="A key", scopes=scopes, **values)
    response: keys.CreateApiKeyResponse = await _stub(client).CreateApiKey(request, metadata=headers)
    return response


async def _exchange(client: AuthClient, secret: str, source: str = "") -> keys.ExchangeApiKeyResponse:
    request = keys.ExchangeApiKeyRequest(secret_hash=hash_key(secret), source_address=source)
    response: keys.ExchangeApiKeyResponse = await _stub(client, "gateway").ExchangeApiKey(request)
    return response


async def _invalid(client: AuthClient, secret: str, source: str = "") -> None:
    async with refused() as refusal:
        await _exchange(client, secret, source)
    assert _reason(refusal) == (grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID")


async def _staff(client: AuthClient, owner: Person, role: Any) -> tuple[Person, Headers]:
    person = await client.customer(owner.slug)
    request = organizations.SetMemberRolesRequest(user_id=person.user_id, roles=[role])
    await client.organizations.SetMemberRoles(request, metadata=owner.headers)
    signed_in = await client.auth.SignIn(auth.SignInRequest(email=person.email, password=PASSWORD))
    return person, (("authorization", f"Bearer {signed_in.tokens.access_token}"),)


def _bearer(exchanged: keys.ExchangeApiKeyResponse) -> Headers:
    return (("authorization", f"Bearer {exchanged.access_token}"),)


def _reason(refusal: Refusal) -> tuple[grpc.StatusCode, str]:
    return refusal.error.code, refusal.error.reason


async def test_a_key_of_a_service_account_opens_its_scopes_and_no_more(client: AuthClient) -> None:
    owner = await client.founder()
    account_id = await _account(client, owner)
    made = await _key(client, owner.headers, "members.read", service_account_id=account_id)
    assert is_well_formed(made.secret)
    assert made.secret.startswith(made.api_key.prefix)
    exchanged = await _exchange(client, made.secret)
    assert (exchanged.organization_id, exchanged.subject_id) == (owner.organization_id, account_id)
    assert exchanged.api_key_id == made.api_key.id
    claims = jwt.decode(exchanged.access_token, options={"verify_signature": False})
    assert (claims["sub"], claims["roles"], claims["sid"]) == (account_id, ["+members.read"], made.api_key.id)
    listed = await client.organizations.ListMembers(organizations.ListMembersRequest(), metadata=_bearer(exchanged))
    assert [member.user.id for member in listed.members] == [owner.user_id]
    async with refused() as refusal:
        removed = organizations.RemoveMemberRequest(user_id=owner.user_id)
        await client.organizations.RemoveMember(removed, metadata=_bearer(exchanged))
    assert _reason(refusal) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_a_persons_key_never_may_more_than_the_person(client: AuthClient) -> None:
    owner = await client.founder()
    agent, headers = await _staff(client, owner, user_pb2.ROLE_AGENT)
    made = await _key(client, headers, "members.read", "tickets.read")
    assert made.api_key.user_id == agent.user_id
    request = organizations.SetMemberRolesRequest(user_id=agent.user_id, roles=[user_pb2.ROLE_CUSTOMER])
    await client.organizations.SetMemberRoles(request, metadata=owner.headers)
    claims = jwt.decode((await _exchange(client, made.secret)).access_token, options={"verify_signature": False})
    assert claims["roles"] == ["+tickets.read.own"]
    removed = organizations.RemoveMemberRequest(user_id=agent.user_id)
    await client.organizations.RemoveMember(removed, metadata=owner.headers)
    await _invalid(client, made.secret)


async def test_nobody_makes_a_key_that_may_more_than_they(client: AuthClient) -> None:
    owner = await client.founder()
    account_id = await _account(client, owner)
    _, agent = await _staff(client, owner, user_pb2.ROLE_AGENT)
    async with refused() as wider:
        await _key(client, agent, "members.write")
    assert _reason(wider) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_NOT_HELD")
    async with refused() as other:
        await _key(client, agent, "members.read", service_account_id=account_id)
    assert _reason(other) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")
    for scope in ("keys.write", "service_accounts.write", "no.such"):
        async with refused() as refusal:
            await _key(client, owner.headers, scope)
        assert refusal.error.violations[0][0] == "scopes[0]"


async def test_a_revoked_key_opens_nothing_and_stays_in_the_list_of_ended_ones(client: AuthClient) -> None:
    owner = await client.founder()
    made = await _key(client, owner.headers, "members.read")
    await _exchange(client, made.secret)
    request = keys.RevokeApiKeyRequest(api_key_id=made.api_key.id)
    first = await _stub(client).RevokeApiKey(request, metadata=owner.headers)
    again = await _stub(client).RevokeApiKey(request, metadata=owner.headers)
    assert first.api_key.revoked_at == again.api_key.revoked_at
    await _invalid(client, made.secret)
    live = await _stub(client).ListApiKeys(keys.ListApiKeysRequest(), metadata=owner.headers)
    every = await _stub(client).ListApiKeys(keys.ListApiKeysRequest(include_ended=True), metadata=owner.headers)
    assert (len(live.api_keys), [key.id for key in every.api_keys]) == (0, [made.api_key.id])
    stub = AuditServiceStub(client.service.channel("edge"))
    listed = await stub.ListAuditEvents(
        audit.ListAuditEventsRequest(subject_id=made.api_key.id), metadata=owner.headers
    )
    assert [(event.type, event.details.get("because", "")) for event in listed.events] == [
        (events.AUDIT_EVENT_TYPE_API_KEY_REFUSED, "revoked"),
        (events.AUDIT_EVENT_TYPE_API_KEY_REVOKED, ""),
        (events.AUDIT_EVENT_TYPE_API_KEY_CREATED, ""),
    ]


async def test_a_rotated_key_and_its_successor_overlap_as_long_as_asked(client: AuthClient) -> None:
    owner = await client.founder()
    account_id = await _account(client, owner)
    made = await _key(client, owner.headers, "members.read", service_account_id=account_id)
    overlap = Duration()
    overlap.FromTimedelta(timedelta(hours=1))
    request = keys.RotateApiKeyRequest(api_key_id=made.api_key.id, overlap=overlap)
    second = await _stub(client).RotateApiKey(request, metadata=owner.headers)
    assert second.api_key.id != made.api_key.id
    assert second.api_key.scopes == made.api_key.scopes
    assert (await _exchange(client, made.secret)).subject_id == account_id
    request = keys.RotateApiKeyRequest(api_key_id=second.api_key.id)
    third = await _stub(client).RotateApiKey(request, metadata=owner.headers)
    await _invalid(client, second.secret)
    assert (await _exchange(client, third.secret)).subject_id == account_id


async def test_nobody_else_replaces_or_sees_a_persons_key(client: AuthClient) -> None:
    owner = await client.founder()
    _, agent = await _staff(client, owner, user_pb2.ROLE_AGENT)
    _, other = await _staff(client, owner, user_pb2.ROLE_AGENT)
    made = await _key(client, agent, "members.read")
    async with refused() as rotated:
        await _stub(client).RotateApiKey(keys.RotateApiKeyRequest(api_key_id=made.api_key.id), metadata=owner.headers)
    async with refused() as revoked:
        await _stub(client).RevokeApiKey(keys.RevokeApiKeyRequest(api_key_id=made.api_key.id), metadata=other)
    for refusal in (rotated, revoked):
        assert _reason(refusal) == (grpc.StatusCode.NOT_FOUND, "API_KEY_NOT_FOUND")
    assert not (await _stub(client).ListApiKeys(keys.ListApiKeysRequest(), metadata=other)).api_keys
    assert (await _stub(client).ListApiKeys(keys.ListApiKeysRequest(), metadata=agent)).api_keys
    request = keys.RevokeApiKeyRequest(api_key_id=made.api_key.id)
    assert (await _stub(client).RevokeApiKey(request, metadata=owner.headers)).api_key.HasField("revoked_at")


async def test_a_key_for_some_networks_is_refused_elsewhere(client: AuthClient) -> None:
    owner = await client.founder()
    networks = ["203.0.113.0/24", "2001:db8::/32"]
    made = await _key(client, owner.headers, "members.read", allowed_networks=networks)
    for source in ("203.0.113.9", "2001:db8::1", "::ffff:203.0.113.9"):
        await _exchange(client, made.secret, source)
    for source in ("198.51.100.1", "", "nowhere"):
        await _invalid(client, made.secret, source)
    async with refused() as refusal:
        await _key(client, owner.headers, "members.read", allowed_networks=["203.0.113.9/24"])
    assert refusal.error.violations == [("allowed_networks[0]", "is no network in CIDR notation")]


async def test_deleting_a_service_account_ends_its_keys(client: AuthClient) -> None:
    owner = await client.founder()
    account_id = await _account(client, owner)
    made = await _key(client, owner.headers, "members.read", service_account_id=account_id)
    request = keys.DeleteServiceAccountRequest(service_account_id=account_id)
    await _stub(client).DeleteServiceAccount(request, metadata=owner.headers)
    await _invalid(client, made.secret)
    listed = await _stub(client).ListServiceAccounts(keys.ListServiceAccountsRequest(), metadata=owner.headers)
    assert not listed.service_accounts
    async with refused() as refusal:
        await _key(client, owner.headers, "members.read", service_account_id=account_id)
    assert _reason(refusal) == (grpc.StatusCode.NOT_FOUND, "SERVICE_ACCOUNT_NOT_FOUND")


async def test_a_service_accounts_name_is_its_own(client: AuthClient) -> None:
    owner = await client.founder()
    await _account(client, owner)
    async with refused() as refusal:
        await _account(client, owner)
    assert _reason(refusal) == (grpc.StatusCode.ALREADY_EXISTS, "SERVICE_ACCOUNT_NAME_TAKEN")


async def test_only_the_gateway_exchanges_keys(client: AuthClient) -> None:
    owner = await client.founder()
    made = await _key(client, owner.headers, "members.read")
    request = keys.ExchangeApiKeyRequest(secret_hash=hash_key(made.secret))
    for workload, metadata in (("edge", owner.headers), ("tickets", ())):
        async with refused() as refusal:
            await _stub(client, workload).ExchangeApiKey(request, metadata=metadata)
        assert _reason(refusal) == (grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ALLOWED")
    await _invalid(client, "dm_live_unknown")


async def test_keys_are_listed_in_pages_and_never_with_a_secret(client: AuthClient, postgres: Postgres) -> None:
    owner = await client.founder()
    made = [await _key(client, owner.headers, "members.read") for _ in range(3)]
    first = await _stub(client).ListApiKeys(keys.ListApiKeysRequest(page_size=2), metadata=owner.headers)
    rest = await _stub(client).ListApiKeys(
        keys.ListApiKeysRequest(page_size=2, page_token=first.next_page_token), metadata=owner.headers
    )
    assert [key.id for key in (*first.api_keys, *rest.api_keys)] == [key.api_key.id for key in reversed(made)]
    engine = create_async_engine(postgres.url("auth"))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select set_config('app.system', 'on', true)"))
            rows = (await connection.execute(text("select row_to_json(k)::text from api_keys k"))).scalars()
            kept = "".join(rows)
    finally:
        await engine.dispose()
    for key in made:
        assert key.secret not in kept
        assert key.secret[16:] not in kept


@pytest.mark.parametrize("seconds", [59, 63_072_001])
async def test_a_lifetime_out_of_range_is_refused(client: AuthClient, seconds: int) -> None:
    owner = await client.founder()
    async with refused() as refusal:
        await _key(client, owner.headers, "members.read", lifetime=Duration(seconds=seconds))
    assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT

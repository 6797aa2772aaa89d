"""The audit log: what happens is in it, tenants apart; it cannot be changed and holds nothing secret."""

from typing import Any

import grpc
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from deskmesh.auth.v1 import audit_event_pb2 as events
from deskmesh.auth.v1 import audit_service_pb2 as audit
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import organization_service_pb2 as organizations
from deskmesh.auth.v1 import user_pb2
from deskmesh.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from services.common.errors import from_rpc_error
from tests.integration.auth.people import PASSWORD, AuthClient, Person
from tests.support.postgres import Postgres
from tests.support.server import refused

FORWARDED = ("x-forwarded-for", "10.9.8.7, 203.0.113.5")
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def _events(client: AuthClient, person: Person, **chosen: Any) -> list[events.AuditEvent]:
    stub = AuditServiceStub(client.service.channel("edge"))
    response = await stub.ListAuditEvents(audit.ListAuditEventsRequest(**chosen), metadata=person.headers)
    return list(response.events)


async def test_an_account_and_its_sign_ins_leave_entries(client: AuthClient) -> None:
    owner = await client.founder()
    metadata = (FORWARDED, ("traceparent", f"00-{TRACE}-b7ad6b7169203331-00"))
    with pytest.raises(grpc.aio.AioRpcError):
        await client.auth.SignIn(auth.SignInRequest(email=owner.email, password="wrong"), metadata=metadata)
    signed_in = await client.auth.SignIn(auth.SignInRequest(email=owner.email, password=PASSWORD), metadata=metadata)
    await client.auth.SignOut(auth.SignOutRequest(refresh_token=signed_in.tokens.refresh_token))
    found = await _events(client, owner)
    assert [events.AuditEventType.Name(event.type) for event in found] == [
        "AUDIT_EVENT_TYPE_SIGN_OUT",
        "AUDIT_EVENT_TYPE_SIGN_IN",
        "AUDIT_EVENT_TYPE_SIGN_IN_FAILED",
        "AUDIT_EVENT_TYPE_SIGN_UP",
        "AUDIT_EVENT_TYPE_ORGANIZATION_CREATED",
    ]
    entered, failed = found[1], found[2]
    assert (entered.actor_id, entered.workload, entered.source, entered.trace_id) == (
        owner.user_id,
        "edge",
        "203.0.113.5",
        TRACE,
    )
    assert (failed.actor_id, failed.subject_id) == ("", owner.user_id)
    assert owner.email not in str(found)


async def test_a_reused_refresh_token_leaves_an_entry(client: AuthClient) -> None:
    owner = await client.founder()
    token = owner.refresh_token
    newest = (await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=token))).tokens.refresh_token
    await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=newest))
    with pytest.raises(grpc.aio.AioRpcError):
        await client.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=token))
    # What was signed in by the copied token is no longer.
    again = await client.sign_in(owner)
    found = await _events(client, again, types=[events.AUDIT_EVENT_TYPE_REFRESH_REUSED])
    assert [event.actor_id for event in found] == [owner.user_id]


async def test_entries_are_filtered_and_paged_newest_first(client: AuthClient) -> None:
    owner = await client.founder()
    member = await client.customer(owner.slug)
    for role in (user_pb2.ROLE_AGENT, user_pb2.ROLE_SUPERVISOR, user_pb2.ROLE_ADMIN):
        request = organizations.SetMemberRolesRequest(user_id=member.user_id, roles=[role])
        await client.organizations.SetMemberRoles(request, metadata=owner.headers)
    stub = AuditServiceStub(client.service.channel("edge"))
    chosen: dict[str, Any] = {"subject_id": member.user_id, "page_size": 2}
    first = await stub.ListAuditEvents(audit.ListAuditEventsRequest(**chosen), metadata=owner.headers)
    rest = await stub.ListAuditEvents(
        audit.ListAuditEventsRequest(**chosen, page_token=first.next_page_token), metadata=owner.headers
    )
    changes = [(event.details["before"], event.details["after"]) for event in (*first.events, *rest.events)]
    assert changes == [("supervisor", "admin"), ("agent", "supervisor"), ("customer", "agent")]
    assert not rest.next_page_token
    async with refused() as refusal:
        other = audit.ListAuditEventsRequest(actor_id="usr_other", page_token=first.next_page_token)
        await stub.ListAuditEvents(other, metadata=owner.headers)
    assert refusal.error.reason == "INVALID_PAGE_TOKEN"
    since = audit.ListAuditEventsRequest(subject_id=member.user_id)
    since.since.CopyFrom(first.events[1].occurred_at)
    since.until.CopyFrom(first.events[0].occurred_at)
    between = await stub.ListAuditEvents(since, metadata=owner.headers)
    assert [event.id for event in between.events] == [first.events[1].id]


async def test_an_organization_sees_its_own_entries_only_and_customers_none(client: AuthClient) -> None:
    owner, stranger = await client.founder(), await client.founder()
    customer = await client.customer(owner.slug)
    assert {event.actor_id for event in await _events(client, owner)} == {owner.user_id, customer.user_id}
    assert {event.actor_id for event in await _events(client, stranger)} == {stranger.user_id}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _events(client, customer)
    error = from_rpc_error(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


@pytest.mark.parametrize(
    "statement", ["update audit_events set type = 'SIGN_IN'", "delete from audit_events", "truncate audit_events"]
)
async def test_the_service_itself_cannot_change_the_log(postgres: Postgres, statement: str) -> None:
    engine = create_async_engine(postgres.url("auth"))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select set_config('app.system', 'on', true)"))
            with pytest.raises(ProgrammingError, match="permission denied"):
                await connection.execute(text(statement))
    finally:
        await engine.dispose()

"""Narrower tokens for programs: what another service takes of them, and what nobody does."""

from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
from authlib.integrations.httpx_client import OAuthError

from deskmesh.auth.v1 import auth_service_pb2
from deskmesh.auth.v1.audit_event_pb2 import AUDIT_EVENT_TYPE_TOKEN_EXCHANGED
from deskmesh.auth.v1.audit_service_pb2 import ListAuditEventsRequest
from deskmesh.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from deskmesh.tickets.v1 import ticket_service_pb2
from deskmesh.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub
from services.auth.oauth import ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE
from services.tickets.app import wire
from services.tickets.settings import TicketsSettings
from tests.integration.auth.people import Person
from tests.integration.auth.programs import SECRET, Provider
from tests.integration.mesh.envoys import eventually
from tests.support.server import Headers, TestStack, refused

NOWHERE = "127.0.0.1:1"
LIST = ticket_service_pb2.ListTicketsRequest()


@pytest_asyncio.fixture(scope="module")
async def tickets(stack: TestStack, provider: Provider) -> Any:
    """The tickets service, which knows auth's keys; what it asks of others is not asked here."""
    keys = provider.auth.service.settings.jwks_socket
    changes = {"jwks_socket": keys, "sessions_address": NOWHERE, "auth_address": NOWHERE}
    async with stack.service("tickets", TicketsSettings, wire, **changes) as service:
        yield TicketServiceStub(service.channel("edge"))


async def exchange(
    provider: Provider, person: Person, *, audience: str = "tickets", scope: str = "tickets.read"
) -> Any:
    """What Authlib's client gets for the person's token."""
    async with provider.program("worker", client_secret=SECRET) as program:
        return await program.fetch_token(
            grant_type=TOKEN_EXCHANGE,
            subject_token=person.access_token,
            subject_token_type=ACCESS_TOKEN_TYPE,
            audience=audience,
            scope=scope,
        )


def bearing(token: dict[str, Any]) -> Headers:
    return (("authorization", f"Bearer {token['access_token']}"),)


async def test_the_token_opens_one_service_for_what_was_asked(provider: Provider, tickets: Any) -> None:
    person = await provider.auth.founder()
    narrow = await exchange(provider, person)
    assert (narrow["issued_token_type"], narrow["token_type"]) == (ACCESS_TOKEN_TYPE, "Bearer")
    assert narrow["scope"] == "tickets.read"
    assert 0 < narrow["expires_in"] <= 300
    assert "refresh_token" not in narrow
    said = jwt.decode(narrow["access_token"], options={"verify_signature": False})
    assert (said["act"], said["sub"], said["aud"]) == ({"sub": "worker"}, person.user_id, "deskmesh/tickets")
    assert "auth_time" not in said
    assert not (await tickets.ListTickets(LIST, metadata=bearing(narrow))).tickets
    async with refused() as refusal:
        await tickets.CreateTicket(ticket_service_pb2.CreateTicketRequest(), metadata=bearing(narrow))
    assert refusal.error.reason == "PERMISSION_MISSING"
    audit = AuditServiceStub(provider.auth.service.channel("edge"))
    chosen = ListAuditEventsRequest(types=[AUDIT_EVENT_TYPE_TOKEN_EXCHANGED])
    (event,) = (await audit.ListAuditEvents(chosen, metadata=person.headers)).events
    assert (event.actor_id, event.subject_id, event.details["service"]) == ("worker", person.user_id, "tickets")


async def test_no_other_service_takes_it_nor_is_it_exchanged_again(provider: Provider, tickets: Any) -> None:
    person = await provider.auth.founder()
    narrow = await exchange(provider, person)
    elsewhere = await exchange(provider, person, audience="knowledge")
    for call in (
        tickets.ListTickets(LIST, metadata=bearing(elsewhere)),
        provider.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearing(narrow)),
    ):
        async with refused() as refusal:
            await call
        assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    bearer = {"Authorization": f"Bearer {narrow['access_token']}"}
    assert (await provider.http.get("/oauth/userinfo", headers=bearer)).status_code == 401
    person.access_token = narrow["access_token"]
    with pytest.raises(OAuthError) as caught:
        await exchange(provider, person)
    assert caught.value.error == "invalid_request"


async def test_it_ends_with_the_sign_in_it_came_from(provider: Provider, tickets: Any) -> None:
    person = await provider.auth.founder()
    narrow = await exchange(provider, person)
    await tickets.ListTickets(LIST, metadata=bearing(narrow))
    await provider.auth.auth.SignOut(auth_service_pb2.SignOutRequest(refresh_token=person.refresh_token))

    async def ended() -> bool:
        try:
            await tickets.ListTickets(LIST, metadata=bearing(narrow))
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            return True
        return False

    await eventually(ended, "the narrower token is revoked")
    with pytest.raises(OAuthError) as caught:
        await exchange(provider, person)
    assert caught.value.error == "invalid_request"


async def test_it_reaches_no_other_organization(provider: Provider, tickets: Any) -> None:
    here, there = await provider.auth.founder(), await provider.auth.founder()
    narrow = await exchange(provider, there, scope="tickets.read tickets.create")
    request = ticket_service_pb2.CreateTicketRequest(request_id="a-request-of-mine", subject="Where is it?")
    made = await tickets.CreateTicket(request, metadata=bearing(narrow))
    async with refused() as refusal:
        asked = ticket_service_pb2.GetTicketRequest(ticket_id=made.ticket.id)
        await tickets.GetTicket(asked, metadata=bearing(await exchange(provider, here)))
    assert refusal.error.reason == "TICKET_NOT_FOUND"


async def test_a_customer_lends_only_what_they_have_and_where_it_was_agreed(provider: Provider) -> None:
    founder = await provider.auth.founder()
    customer = await provider.auth.customer(founder.slug)
    for error, asked in (
        ("invalid_target", {"audience": "auth"}),
        ("invalid_target", {"audience": "usage"}),
        ("invalid_scope", {"scope": "articles.write"}),
        ("invalid_scope", {"scope": "members.read tickets.read"}),
    ):
        with pytest.raises(OAuthError) as caught:
            await exchange(provider, customer, **asked)
        assert caught.value.error == error
    assert (await exchange(provider, customer))["scope"] == "tickets.read.own"

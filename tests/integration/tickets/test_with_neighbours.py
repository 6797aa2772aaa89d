"""Tickets beside the real sessions and auth services, for people who signed up."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest_asyncio

from deskmesh.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, organization_service_pb2_grpc, user_pb2
from deskmesh.auth.v1 import organization_service_pb2 as organization_pb
from deskmesh.sessions.v1 import conversation_service_pb2 as sessions_pb
from deskmesh.sessions.v1 import conversation_service_pb2_grpc
from services.auth.app import wire as wire_auth
from services.auth.settings import AuthSettings
from services.common.ids import new_id
from services.sessions.app import wire as wire_sessions
from services.sessions.settings import SessionsSettings
from services.tickets.app import wire as wire_tickets
from services.tickets.settings import TicketsSettings
from tests.integration.tickets.desk import Client
from tests.support.server import RunningService, TestStack, refused

if TYPE_CHECKING:
    from deskmesh.sessions.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub

# Nothing here counts tokens, so nobody answers there.
NO_INFERENCE = "127.0.0.1:9"
PASSWORD = "a long enough phrase"


@dataclass
class House:
    """The three services."""

    auth: RunningService
    sessions: RunningService
    tickets: RunningService

    @property
    def conversations(self) -> "ConversationServiceAsyncStub":
        return conversation_service_pb2_grpc.ConversationServiceStub(self.sessions.channel("edge"))

    async def sign_up(self, *, slug: str, founds: bool = False) -> Client:
        """A new customer of the organization, or the owner who founds it."""
        request = auth_service_pb2.SignUpRequest(
            email=f"{new_id('p')}@example.com", password=PASSWORD, display_name="Some Body"
        )
        if founds:
            request.new_organization.CopyFrom(auth_service_pb2.NewOrganization(slug=slug, name="A shop"))
        else:
            request.join_organization_slug = slug
        response = await auth_service_pb2_grpc.AuthServiceStub(self.auth.channel("edge")).SignUp(request)
        headers = (("authorization", f"Bearer {response.tokens.access_token}"),)
        principal = response.principal
        return Client(self.tickets, principal.organization.id, principal.user.id, headers)

    async def add_agent(self, owner: Client) -> str:
        """The user identifier of a new agent."""
        request = organization_pb.AddMemberRequest(
            request_id=new_id("req"),
            email=f"{new_id('p')}@example.com",
            display_name="An Agent",
            password=PASSWORD,
            roles=[user_pb2.ROLE_AGENT],
        )
        stub = organization_service_pb2_grpc.OrganizationServiceStub(self.auth.channel("edge"))
        return (await stub.AddMember(request, metadata=owner.headers)).member.user.id

    async def begin(self, customer: Client) -> str:
        """The identifier of a new conversation."""
        request = sessions_pb.CreateConversationRequest(request_id=new_id("req"))
        response = await self.conversations.CreateConversation(request, metadata=customer.headers)
        return response.conversation.id

    async def ticket_ids(self, customer: Client, conversation_id: str) -> list[str]:
        """The tickets that a conversation knows of."""
        request = sessions_pb.GetConversationRequest(conversation_id=conversation_id)
        response = await self.conversations.GetConversation(request, metadata=customer.headers)
        return list(response.conversation.ticket_ids)


@pytest_asyncio.fixture(scope="module")
async def house(stack: TestStack) -> AsyncIterator[House]:
    jwks = stack.folder / "tickets-house.sock"
    # Cheap passwords, and no limit that tests signing up from the same place fill together.
    eased = {
        "secrets_folder": stack.folder / "secrets",
        "password_memory_kib": 64,
        "password_passes": 1,
        "sign_ups_per_hour": 100_000,
    }
    async with AsyncExitStack() as running:
        auth = await running.enter_async_context(
            stack.service("auth", AuthSettings, wire_auth, ops_socket=jwks, jwks_socket=jwks, **eased)
        )
        sessions = await running.enter_async_context(
            stack.service("sessions", SessionsSettings, wire_sessions, inference_address=NO_INFERENCE, jwks_socket=jwks)
        )
        tickets = await running.enter_async_context(
            stack.service(
                "tickets",
                TicketsSettings,
                wire_tickets,
                sessions_address=sessions.address,
                auth_address=auth.address,
                jwks_socket=jwks,
            )
        )
        yield House(auth, sessions, tickets)


async def test_the_conversation_knows_its_tickets(house: House) -> None:
    slug = new_id("o").replace("_", "-")
    owner = await house.sign_up(slug=slug, founds=True)
    customer, other = await house.sign_up(slug=slug), await house.sign_up(slug=slug)
    conversation_id = await house.begin(customer)
    first = await customer.create(conversation_id=conversation_id)
    second = await owner.create(conversation_id=conversation_id, requester_id=customer.user_id)
    assert await house.ticket_ids(customer, conversation_id) == [first.id, second.id]

    async with refused() as refusal:
        await other.create(conversation_id=conversation_id)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")


async def test_agents_are_those_whom_auth_knows(house: House) -> None:
    slug = new_id("o").replace("_", "-")
    owner = await house.sign_up(slug=slug, founds=True)
    customer = await house.sign_up(slug=slug)
    stranger = await house.sign_up(slug=new_id("o").replace("_", "-"), founds=True)
    ticket = await customer.create()
    for user_id in (customer.user_id, stranger.user_id):
        async with refused() as refusal:
            await owner.update(ticket, assignee_id=user_id)
        assert refusal.error.reason == "ASSIGNEE_NOT_AGENT"
    agent_id = await house.add_agent(owner)
    assert (await owner.update(ticket, assignee_id=agent_id)).assignee_id == agent_id

    async with refused() as refusal:
        await owner.create(requester_id=stranger.user_id)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")

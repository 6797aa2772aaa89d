"""Tickets beside the real sessions service."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import pytest_asyncio

from deskmesh.auth.v1 import organization_service_pb2_grpc
from deskmesh.sessions.v1 import conversation_pb2, conversation_service_pb2_grpc
from deskmesh.sessions.v1 import conversation_service_pb2 as sessions_pb
from services.common.ids import new_id
from services.sessions.app import wire as wire_sessions
from services.sessions.settings import SessionsSettings
from services.tickets.app import wire as wire_tickets
from services.tickets.settings import TicketsSettings
from tests.integration.tickets.desk import Client
from tests.integration.tickets.neighbours import Auth, serving
from tests.support.server import RunningService, TestStack, refused

# Nothing here counts tokens, so nobody answers there.
NO_INFERENCE = "127.0.0.1:9"


@dataclass
class Pair:
    """Both services, and people who use both."""

    sessions: RunningService
    tickets: RunningService
    auth: Auth
    organization_id: str

    def person(self, *roles: str) -> Client:
        user_id = new_id("usr")
        self.auth.roles[(self.organization_id, user_id)] = roles
        headers = self.tickets.person(self.organization_id, user_id, *roles)
        return Client(self.tickets, self.organization_id, user_id, headers)

    async def begin(self, customer: Client) -> conversation_pb2.Conversation:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(self.sessions.channel("edge"))
        request = sessions_pb.CreateConversationRequest(request_id=new_id("req"))
        return (await stub.CreateConversation(request, metadata=customer.headers)).conversation

    async def read(self, customer: Client, conversation_id: str) -> conversation_pb2.Conversation:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(self.sessions.channel("edge"))
        request = sessions_pb.GetConversationRequest(conversation_id=conversation_id)
        return (await stub.GetConversation(request, metadata=customer.headers)).conversation


@pytest_asyncio.fixture
async def pair(stack: TestStack, organization_id: str) -> AsyncIterator[Pair]:
    auth = Auth()  # type: ignore[abstract]
    add_auth = organization_service_pb2_grpc.add_OrganizationServiceServicer_to_server
    async with AsyncExitStack() as running:
        sessions = await running.enter_async_context(
            stack.service("sessions", SessionsSettings, wire_sessions, inference_address=NO_INFERENCE)
        )
        played = await running.enter_async_context(serving(stack, "auth", add_auth, auth))
        tickets = await running.enter_async_context(
            stack.service(
                "tickets",
                TicketsSettings,
                wire_tickets,
                sessions_address=sessions.address,
                auth_address=played.address,
            )
        )
        yield Pair(sessions, tickets, auth, organization_id)


async def test_the_conversation_knows_its_tickets(pair: Pair) -> None:
    customer, agent, other = pair.person("customer"), pair.person("agent"), pair.person("customer")
    conversation = await pair.begin(customer)
    first = await customer.create(conversation_id=conversation.id)
    second = await agent.create(conversation_id=conversation.id, requester_id=customer.user_id)
    assert list((await pair.read(customer, conversation.id)).ticket_ids) == [first.id, second.id]

    async with refused() as refusal:
        await other.create(conversation_id=conversation.id)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")

"""The services that tickets asks, played for the tests on real mTLS servers with all concerns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from deskmesh.auth.v1 import organization_pb2, organization_service_pb2_grpc, user_pb2
from deskmesh.auth.v1 import organization_service_pb2 as auth_pb
from deskmesh.sessions.v1 import conversation_pb2, conversation_service_pb2_grpc
from deskmesh.sessions.v1 import conversation_service_pb2 as sessions_pb
from services.common.context import Caller, caller
from services.common.errors import NotFound, Unavailable
from services.common.server import Platform, ServicerRegistration
from services.common.settings import ServiceSettings
from tests.support.server import RunningService, TestStack


class NoConversation(NotFound):
    reason = "CONVERSATION_NOT_FOUND"
    message = "There is no such conversation."


@dataclass
class Sessions(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Conversations by (organization, identifier), each with its customer; visible as in the real service."""

    customers: dict[tuple[str, str], str] = field(default_factory=dict)
    linked: dict[str, sessions_pb.LinkTicketRequest] = field(default_factory=dict)
    link_calls: int = 0
    links_fail: bool = False
    links_hang: bool = False

    async def GetConversation(
        self, request: sessions_pb.GetConversationRequest, context: Any
    ) -> sessions_pb.GetConversationResponse:
        customer = self._visible(request.conversation_id, caller(), "conversations.read")
        conversation = conversation_pb2.Conversation(id=request.conversation_id, customer_id=customer)
        return sessions_pb.GetConversationResponse(conversation=conversation)

    async def LinkTicket(self, request: sessions_pb.LinkTicketRequest, context: Any) -> sessions_pb.LinkTicketResponse:
        self.link_calls += 1
        if self.links_hang:
            await asyncio.sleep(60)
        if self.links_fail:
            raise Unavailable(retry_after_seconds=0.1)
        self._visible(request.conversation_id, caller(), "conversations.write")
        self.linked[request.ticket_id] = request
        return sessions_pb.LinkTicketResponse()

    def _visible(self, conversation_id: str, by: Caller, permission: str) -> str:
        customer = self.customers.get((by.organization_id, conversation_id))
        if customer is None or (by.owns_only(permission) and customer != by.user_id):
            raise NoConversation(resource_name=conversation_id)
        return customer


@dataclass
class Auth(organization_service_pb2_grpc.OrganizationServiceServicer):
    """Roles by (organization, user)."""

    roles: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    async def BatchGetMembers(
        self, request: auth_pb.BatchGetMembersRequest, context: Any
    ) -> auth_pb.BatchGetMembersResponse:
        organization_id = caller().organization_id
        members = [
            organization_pb2.Membership(
                user=user_pb2.User(id=user_id),
                organization_id=organization_id,
                roles=[f"ROLE_{role.upper()}" for role in roles],
            )
            for user_id in request.user_ids
            if (roles := self.roles.get((organization_id, user_id)))
        ]
        return auth_pb.BatchGetMembersResponse(members=members)


@asynccontextmanager
async def serving(stack: TestStack, name: str, add_fn: Any, servicer: object) -> AsyncIterator[RunningService]:
    """Serve a played neighbour under its own workload identity."""

    async def wire(_stack: AsyncExitStack, _platform: Platform[ServiceSettings]) -> list[ServicerRegistration]:
        return [ServicerRegistration(add_fn, servicer)]

    database = {"database_url": stack.postgres.url("tickets")}
    async with stack.service(name, ServiceSettings, wire, **database) as running:
        yield running

"""The other services this one asks: sessions for conversations, auth for people."""

import grpc.aio

from deskmesh.auth.v1 import organization_service_pb2, organization_service_pb2_grpc, user_pb2
from deskmesh.sessions.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from services.common.clients import acting_as
from services.common.context import Caller
from services.common.errors import RemoteError, from_rpc_error
from services.common.permissions import CUSTOMER, permissions_of
from services.tickets.errors import ConversationNotFound
from services.tickets.ports import Link

WORKLOAD = "tickets"


class RemoteConversations:
    """Conversations, as the sessions service keeps them."""

    def __init__(
        self, channel: grpc.aio.Channel, *, lookup_timeout_seconds: float, link_timeout_seconds: float
    ) -> None:
        self._stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        self._lookup_timeout_seconds = lookup_timeout_seconds
        self._link_timeout_seconds = link_timeout_seconds

    async def customer_of(self, conversation_id: str) -> str:
        """Whose it is. Raises ConversationNotFound when the person being served may not know of it."""
        request = conversation_service_pb2.GetConversationRequest(conversation_id=conversation_id)
        try:
            response = await self._stub.GetConversation(request, timeout=self._lookup_timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise _translated(error, conversation_id) from error
        return response.conversation.customer_id

    async def link(self, link: Link) -> None:
        """Tell a conversation of its ticket, for its customer. Raises ConversationNotFound, RemoteError."""
        request = conversation_service_pb2.LinkTicketRequest(
            conversation_id=link.conversation_id,
            ticket_id=link.ticket_id,
            ticket_number=link.ticket_number,
            subject=link.subject,
        )
        roles = (CUSTOMER,)
        customer = Caller(WORKLOAD, link.organization_id, link.requester_id, roles, permissions_of(roles))
        with acting_as(customer):
            try:
                await self._stub.LinkTicket(request, timeout=self._link_timeout_seconds)
            except grpc.aio.AioRpcError as error:
                raise _translated(error, link.conversation_id) from error


class RemoteMembers:
    """The people of an organization, as the auth service keeps them."""

    def __init__(self, channel: grpc.aio.Channel, *, lookup_timeout_seconds: float) -> None:
        self._stub = organization_service_pb2_grpc.OrganizationServiceStub(channel)
        self._lookup_timeout_seconds = lookup_timeout_seconds

    async def roles_of(self, user_id: str) -> frozenset[str]:
        """The roles somebody holds in the organization of the person being served; none if they are not a member."""
        request = organization_service_pb2.BatchGetMembersRequest(user_ids=[user_id])
        try:
            response = await self._stub.BatchGetMembers(request, timeout=self._lookup_timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return frozenset(
            user_pb2.Role.Name(role).removeprefix("ROLE_").lower()
            for member in response.members
            if member.user.id == user_id
            for role in member.roles
        )


def _translated(error: grpc.aio.AioRpcError, conversation_id: str) -> ConversationNotFound | RemoteError:
    remote = from_rpc_error(error)
    if remote.reason == ConversationNotFound.reason:
        return ConversationNotFound(resource_name=conversation_id)
    return remote

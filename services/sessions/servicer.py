"""ConversationService: each method turns a request into a command and the result into a response."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio

from deskmesh.sessions.v1 import conversation_service_pb2 as pb
from deskmesh.sessions.v1 import conversation_service_pb2_grpc
from services.common.context import caller, idempotency
from services.sessions.mappings import events, requests, resources
from services.sessions.usecases.context import ContextUseCases
from services.sessions.usecases.conversations import ConversationUseCases
from services.sessions.usecases.messages import MessageUseCases
from services.sessions.usecases.watch import Watching

Context = grpc.aio.ServicerContext[Any, Any]


class ConversationServicer(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Serves conversations, their messages and the stream of their events."""

    def __init__(
        self,
        conversations: ConversationUseCases,
        messages: MessageUseCases,
        context: ContextUseCases,
        watching: Watching,
    ) -> None:
        self._conversations = conversations
        self._messages = messages
        self._context = context
        self._watching = watching

    async def CreateConversation(
        self, request: pb.CreateConversationRequest, context: Context
    ) -> pb.CreateConversationResponse:
        """Begin a conversation of the caller."""
        command = requests.to_create(request, caller(), idempotency())
        conversation = await self._conversations.create(command)
        return pb.CreateConversationResponse(conversation=resources.conversation(conversation))

    async def GetConversation(self, request: pb.GetConversationRequest, context: Context) -> pb.GetConversationResponse:
        """Read one."""
        conversation = await self._conversations.get(requests.to_get(request, caller()))
        return pb.GetConversationResponse(conversation=resources.conversation(conversation))

    async def ListConversations(
        self, request: pb.ListConversationsRequest, context: Context
    ) -> pb.ListConversationsResponse:
        """List, last active first."""
        page = await self._conversations.page(requests.to_list(request, caller()))
        return requests.list_response(request, caller(), page)

    async def CloseConversation(
        self, request: pb.CloseConversationRequest, context: Context
    ) -> pb.CloseConversationResponse:
        """Close."""
        conversation = await self._conversations.close(requests.to_close(request, caller()))
        return pb.CloseConversationResponse(conversation=resources.conversation(conversation))

    async def AppendMessage(self, request: pb.AppendMessageRequest, context: Context) -> pb.AppendMessageResponse:
        """Add a message."""
        message = await self._messages.append(requests.to_append(request, caller(), idempotency()))
        return requests.append_response(message)

    async def AppendEvents(self, request: pb.AppendEventsRequest, context: Context) -> pb.AppendEventsResponse:
        """Add events of a turn."""
        command = requests.to_append_events(request, caller(), idempotency())
        return pb.AppendEventsResponse(last_offset=await self._messages.append_turn_events(command))

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        """List messages, oldest first."""
        page = await self._messages.page(requests.to_list_messages(request, caller()))
        return requests.list_messages_response(request, page)

    async def GetContext(self, request: pb.GetContextRequest, context: Context) -> pb.GetContextResponse:
        """Read the newest messages that fit."""
        return requests.context_response(await self._context.get(requests.to_context(request, caller())))

    async def Watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[pb.WatchResponse]:
        """Stream the events after an offset."""
        async with aclosing(self._watching.watch(requests.to_watch(request, caller()))) as frames:
            async for frame in frames:
                yield events.frame(frame)

    async def SetTyping(self, request: pb.SetTypingRequest, context: Context) -> pb.SetTypingResponse:
        """Tell the others who types."""
        await self._messages.set_typing(requests.to_typing(request, caller()))
        return pb.SetTypingResponse()

    async def RateMessage(self, request: pb.RateMessageRequest, context: Context) -> pb.RateMessageResponse:
        """Rate an answer."""
        message = await self._messages.rate(requests.to_rate(request, caller()))
        return pb.RateMessageResponse(message=resources.message(message))

    async def SetResponder(self, request: pb.SetResponderRequest, context: Context) -> pb.SetResponderResponse:
        """Set who answers."""
        conversation = await self._conversations.set_responder(requests.to_responder(request, caller()))
        return pb.SetResponderResponse(conversation=resources.conversation(conversation))

    async def LinkTicket(self, request: pb.LinkTicketRequest, context: Context) -> pb.LinkTicketResponse:
        """Link a ticket."""
        await self._conversations.link_ticket(requests.to_link(request, caller()))
        return pb.LinkTicketResponse()

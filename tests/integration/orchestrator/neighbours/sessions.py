"""Conversations, in place of the sessions service."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from deskmesh.sessions.v1 import (
    conversation_pb2,
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    event_pb2,
    message_pb2,
)
from services.common.context import caller
from services.orchestrator.errors import ConversationClosed, ConversationNotFound
from tests.integration.orchestrator.neighbours.faults import Faults


@dataclass
class Conversation:
    """A conversation with its log."""

    proto: conversation_pb2.Conversation
    customer_id: str
    messages: list[message_pb2.Message] = field(default_factory=list)
    events: list[event_pb2.ConversationEvent] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class SessionsDouble(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Conversations in memory."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.conversations: dict[str, Conversation] = {}
        self._answered: dict[str, tuple[bytes, Any]] = {}

    def start(self, conversation_id: str, customer_id: str) -> Conversation:
        """Begin a conversation."""
        proto = conversation_pb2.Conversation(
            id=conversation_id,
            customer_id=customer_id,
            state=conversation_pb2.CONVERSATION_STATE_OPEN,
            responder=conversation_pb2.RESPONDER_ASSISTANT,
        )
        self.conversations[conversation_id] = Conversation(proto, customer_id)
        return self.conversations[conversation_id]

    def _find(self, conversation_id: str) -> Conversation:
        found = self.conversations.get(conversation_id)
        if found is None or found.customer_id != caller().user_id:
            raise ConversationNotFound(resource_name=conversation_id)
        return found

    def _repeated(self, request: Any) -> Any:
        known = self._answered.get(request.request_id)
        if known is None:
            return None
        assert known[0] == request.SerializeToString(deterministic=True), "a request_id came with other content"
        return known[1]

    def _remember(self, request: Any, response: Any) -> Any:
        self._answered[request.request_id] = (request.SerializeToString(deterministic=True), response)
        return response

    async def _log(self, conversation: Conversation, event: event_pb2.ConversationEvent) -> int:
        async with conversation.changed:
            event.offset = len(conversation.events) + 1
            conversation.events.append(event)
            conversation.changed.notify_all()
            return event.offset

    async def GetConversation(self, request: Any, context: Any) -> Any:
        await self.faults.meet("GetConversation")
        return conversation_service_pb2.GetConversationResponse(conversation=self._find(request.conversation_id).proto)

    async def AppendMessage(self, request: Any, context: Any) -> Any:
        await self.faults.meet("AppendMessage")
        if known := self._repeated(request):
            return known
        conversation = self._find(request.conversation_id)
        if conversation.proto.state != conversation_pb2.CONVERSATION_STATE_OPEN:
            raise ConversationClosed
        message = message_pb2.Message(
            id=f"msg_{len(conversation.messages) + 1}",
            conversation_id=request.conversation_id,
            author=request.author,
            user_id=caller().user_id,
            text=request.text,
            citations=request.citations,
            turn_id=request.turn_id,
        )
        event = event_pb2.ConversationEvent(turn_id=request.turn_id)
        event.message_added.message.CopyFrom(message)
        message.offset = await self._log(conversation, event)
        conversation.messages.append(message)
        return self._remember(request, conversation_service_pb2.AppendMessageResponse(message=message))

    async def AppendEvents(self, request: Any, context: Any) -> Any:
        await self.faults.meet("AppendEvents")
        if known := self._repeated(request):
            return known
        conversation = self._find(request.conversation_id)
        last = 0
        for event in request.events:
            copy = event_pb2.ConversationEvent()
            copy.CopyFrom(event)
            last = await self._log(conversation, copy)
        return self._remember(request, conversation_service_pb2.AppendEventsResponse(last_offset=last))

    async def GetContext(self, request: Any, context: Any) -> Any:
        await self.faults.meet("GetContext")
        return conversation_service_pb2.GetContextResponse(messages=self._find(request.conversation_id).messages)

    async def ListMessages(self, request: Any, context: Any) -> Any:
        await self.faults.meet("ListMessages")
        return conversation_service_pb2.ListMessagesResponse(messages=self._find(request.conversation_id).messages)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.faults.meet("Watch")
        conversation = self._find(request.conversation_id)
        offset = request.from_offset
        while True:
            async with conversation.changed:
                while len(conversation.events) <= offset:
                    await conversation.changed.wait()
                fresh = conversation.events[offset:]
            for event in fresh:
                yield conversation_service_pb2.WatchResponse(event=event)
            offset += len(fresh)

    async def SetTyping(self, request: Any, context: Any) -> Any:
        await self.faults.meet("SetTyping")
        return conversation_service_pb2.SetTypingResponse()

    async def SetResponder(self, request: Any, context: Any) -> Any:
        await self.faults.meet("SetResponder")
        conversation = self._find(request.conversation_id)
        conversation.proto.responder = request.responder
        return conversation_service_pb2.SetResponderResponse(conversation=conversation.proto)

    async def LinkTicket(self, request: Any, context: Any) -> Any:
        await self.faults.meet("LinkTicket")
        conversation = self._find(request.conversation_id)
        if request.ticket_id not in conversation.proto.ticket_ids:
            conversation.proto.ticket_ids.append(request.ticket_id)
        return conversation_service_pb2.LinkTicketResponse()

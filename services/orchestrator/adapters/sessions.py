"""Conversations of the sessions service."""

from collections.abc import AsyncGenerator, Sequence

import grpc.aio

from deskmesh.sessions.v1 import (
    conversation_pb2,
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    message_pb2,
)
from services.orchestrator.adapters.messages import citation_message, event_message, event_of, message_of
from services.orchestrator.adapters.remote import translated
from services.orchestrator.domain import Citation, Conversation, Message, Responder
from services.orchestrator.ports import OpenedTicket, TurnEvent

CALL_SECONDS = 5.0

_RESPONDERS = {
    Responder.ASSISTANT: conversation_pb2.RESPONDER_ASSISTANT,
    Responder.HUMAN: conversation_pb2.RESPONDER_HUMAN,
}


class SessionsClient:
    """Calls act for the person in the calling context."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def conversation(self, conversation_id: str) -> Conversation:
        request = conversation_service_pb2.GetConversationRequest(conversation_id=conversation_id)
        with translated():
            found = (await self._stub.GetConversation(request, timeout=CALL_SECONDS)).conversation
        human = found.responder == conversation_pb2.RESPONDER_HUMAN
        return Conversation(
            id=found.id,
            customer_id=found.customer_id,
            responder=Responder.HUMAN if human else Responder.ASSISTANT,
            open=found.state == conversation_pb2.CONVERSATION_STATE_OPEN,
            ticket_id=found.ticket_ids[-1] if found.ticket_ids else "",
        )

    async def append_customer_message(self, request_id: str, conversation_id: str, text: str, turn_id: str) -> Message:
        return await self._append(
            conversation_service_pb2.AppendMessageRequest(
                request_id=request_id,
                conversation_id=conversation_id,
                text=text,
                author=message_pb2.AUTHOR_CUSTOMER,
                turn_id=turn_id,
            )
        )

    async def append_answer(
        self, request_id: str, conversation_id: str, text: str, citations: Sequence[Citation], turn_id: str
    ) -> Message:
        return await self._append(
            conversation_service_pb2.AppendMessageRequest(
                request_id=request_id,
                conversation_id=conversation_id,
                text=text,
                author=message_pb2.AUTHOR_ASSISTANT,
                citations=[citation_message(citation) for citation in citations],
                turn_id=turn_id,
            )
        )

    async def _append(self, request: conversation_service_pb2.AppendMessageRequest) -> Message:
        with translated():
            return message_of((await self._stub.AppendMessage(request, timeout=CALL_SECONDS)).message)

    async def append_events(
        self, request_id: str, conversation_id: str, turn_id: str, events: Sequence[TurnEvent]
    ) -> None:
        request = conversation_service_pb2.AppendEventsRequest(
            request_id=request_id,
            conversation_id=conversation_id,
            events=[event_message(turn_id, event) for event in events],
        )
        with translated():
            await self._stub.AppendEvents(request, timeout=CALL_SECONDS)

    async def context(self, conversation_id: str, maximum_tokens: int) -> list[Message]:
        request = conversation_service_pb2.GetContextRequest(conversation_id=conversation_id, max_tokens=maximum_tokens)
        with translated():
            answered = await self._stub.GetContext(request, timeout=CALL_SECONDS)
        return [message_of(message) for message in answered.messages]

    async def messages(self, conversation_id: str, limit: int) -> list[Message]:
        request = conversation_service_pb2.ListMessagesRequest(conversation_id=conversation_id, page_size=limit)
        with translated():
            answered = await self._stub.ListMessages(request, timeout=CALL_SECONDS)
        return [message_of(message) for message in answered.messages]

    async def set_typing(self, conversation_id: str, *, typing: bool) -> None:
        request = conversation_service_pb2.SetTypingRequest(
            conversation_id=conversation_id, typing=typing, author=message_pb2.AUTHOR_ASSISTANT
        )
        with translated():
            await self._stub.SetTyping(request, timeout=CALL_SECONDS)

    async def set_responder(self, conversation_id: str, responder: Responder) -> None:
        request = conversation_service_pb2.SetResponderRequest(
            conversation_id=conversation_id, responder=_RESPONDERS[responder]
        )
        with translated():
            await self._stub.SetResponder(request, timeout=CALL_SECONDS)

    async def link_ticket(self, conversation_id: str, ticket: OpenedTicket) -> None:
        request = conversation_service_pb2.LinkTicketRequest(
            conversation_id=conversation_id,
            ticket_id=ticket.id,
            ticket_number=ticket.number,
            subject=ticket.subject,
        )
        with translated():
            await self._stub.LinkTicket(request, timeout=CALL_SECONDS)

    async def watch(self, conversation_id: str, from_offset: int, turn_id: str) -> AsyncGenerator[TurnEvent, None]:
        request = conversation_service_pb2.WatchRequest(conversation_id=conversation_id, from_offset=from_offset)
        call = self._stub.Watch(request)
        try:
            with translated():
                async for response in call:
                    if response.WhichOneof("frame") != "event" or response.event.turn_id != turn_id:
                        continue
                    event = event_of(response.event)
                    if event is not None:
                        yield event
        finally:
            call.cancel()

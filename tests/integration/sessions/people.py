"""How tests talk to the service: as a customer, as an agent, and as the orchestrator that acts for a customer."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from deskmesh.sessions.v1 import conversation_service_pb2 as pb
from deskmesh.sessions.v1 import event_pb2, message_pb2
from deskmesh.sessions.v1.conversation_pb2 import Conversation
from deskmesh.sessions.v1.conversation_service_pb2_grpc import ConversationServiceStub
from services.common.ids import new_id
from tests.support.server import Headers, RunningService, acting

if TYPE_CHECKING:
    # Exists for type checkers only.
    from deskmesh.sessions.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub

SECONDS = 30.0


class People:
    """A customer and an agent of one organization."""

    def __init__(self, service: RunningService, organization_id: str) -> None:
        self.service = service
        self.organization_id = organization_id
        self.customer_id = new_id("usr")
        self.customer = service.person(organization_id, self.customer_id, "customer")
        self.agent = service.person(organization_id, new_id("usr"), "agent")
        self.acting = acting(organization_id, self.customer_id, ("customer",))

    @property
    def edge(self) -> "ConversationServiceAsyncStub":
        """For people outside; needs the headers of one."""
        return ConversationServiceStub(self.service.channel("edge"))

    @property
    def orchestrator(self) -> "ConversationServiceAsyncStub":
        """For the workload that runs turns; needs acting headers."""
        return ConversationServiceStub(self.service.channel("orchestrator"))

    async def begin(self) -> Conversation:
        """A new conversation of the customer."""
        request = pb.CreateConversationRequest(request_id=new_id("req"))
        response = await self.edge.CreateConversation(request, metadata=self.customer)
        return response.conversation

    async def say(self, conversation_id: str, text: str, *, request_id: str = "") -> message_pb2.Message:
        """A message of the customer, as a turn records it."""
        return await self._append(conversation_id, text, message_pb2.AUTHOR_CUSTOMER, request_id)

    async def answer(self, conversation_id: str, text: str) -> message_pb2.Message:
        """A message of the assistant."""
        return await self._append(conversation_id, text, message_pb2.AUTHOR_ASSISTANT, "")

    async def agent_says(self, conversation_id: str, text: str) -> message_pb2.Message:
        """A message of the agent."""
        request = pb.AppendMessageRequest(
            request_id=new_id("req"), conversation_id=conversation_id, text=text, author=message_pb2.AUTHOR_AGENT
        )
        response = await self.edge.AppendMessage(request, metadata=self.agent)
        return response.message

    async def write_pieces(self, conversation_id: str, *texts: str) -> int:
        """Pieces of an answer; the offset of the last."""
        request = pb.AppendEventsRequest(
            request_id=new_id("req"),
            conversation_id=conversation_id,
            events=[
                event_pb2.ConversationEvent(turn_id="trn_1", answer_delta=event_pb2.AnswerDelta(text=text))
                for text in texts
            ],
        )
        response = await self.orchestrator.AppendEvents(request, metadata=self.acting)
        return response.last_offset

    async def close(self, conversation_id: str) -> Conversation:
        """Close as the customer."""
        request = pb.CloseConversationRequest(conversation_id=conversation_id)
        response = await self.edge.CloseConversation(request, metadata=self.customer)
        return response.conversation

    @asynccontextmanager
    async def watching(
        self, conversation_id: str, from_offset: int = 0, *, headers: Headers | None = None
    ) -> AsyncIterator["Stream"]:
        """A stream, cancelled at the end of the block."""
        async with streaming(self.edge, conversation_id, from_offset, headers or self.customer) as stream:
            yield stream

    async def _append(
        self, conversation_id: str, text: str, author: message_pb2.Author, request_id: str
    ) -> message_pb2.Message:
        request = pb.AppendMessageRequest(
            request_id=request_id or new_id("req"), conversation_id=conversation_id, text=text, author=author
        )
        response = await self.orchestrator.AppendMessage(request, metadata=self.acting)
        return response.message


@asynccontextmanager
async def streaming(
    stub: "ConversationServiceAsyncStub", conversation_id: str, from_offset: int, headers: Headers
) -> AsyncIterator["Stream"]:
    """A Watch call, cancelled at the end of the block."""
    call = stub.Watch(pb.WatchRequest(conversation_id=conversation_id, from_offset=from_offset), metadata=headers)
    try:
        yield Stream(call)
    finally:
        call.cancel()


class Stream:
    """A Watch call, read one frame at a time and never for long."""

    def __init__(self, call: AsyncIterable[pb.WatchResponse]) -> None:
        self._frames = aiter(call)

    async def frame(self) -> pb.WatchResponse:
        """The next frame."""
        async with asyncio.timeout(SECONDS):
            return await anext(self._frames)

    async def event(self) -> event_pb2.ConversationEvent:
        """The next event, whatever stands before it."""
        while True:
            frame = await self.frame()
            if frame.WhichOneof("frame") == "event":
                return frame.event

    async def until(self, kind: str) -> list[event_pb2.ConversationEvent]:
        """The events before the next frame of a kind."""
        found: list[event_pb2.ConversationEvent] = []
        while True:
            frame = await self.frame()
            if frame.WhichOneof("frame") == kind:
                return found
            if frame.WhichOneof("frame") == "event":
                found.append(frame.event)

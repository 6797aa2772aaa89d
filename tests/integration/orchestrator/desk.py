"""What tests do with an orchestrator: converse as a customer, and look at what came of it."""

import asyncio
from typing import Any

from deskmesh.orchestrator.v1 import orchestrator_service_pb2 as pb
from deskmesh.orchestrator.v1 import orchestrator_service_pb2_grpc, turn_pb2
from services.common.ids import new_id
from tests.integration.orchestrator.doubles import Doubles
from tests.integration.orchestrator.neighbours.sessions import Conversation
from tests.support.server import RunningService

ENDED = (turn_pb2.TURN_STATE_FINISHED, turn_pb2.TURN_STATE_FAILED, turn_pb2.TURN_STATE_CANCELLED)


class Desk:
    """A customer with one conversation."""

    def __init__(self, service: RunningService, doubles: Doubles, organization_id: str) -> None:
        self.service = service
        self.doubles = doubles
        self.organization_id = organization_id
        self.user_id = new_id("usr")
        self.person = service.person(organization_id, self.user_id, "customer")
        self.stub = orchestrator_service_pb2_grpc.OrchestratorServiceStub(service.channel("edge"))
        self.conversation_id = new_id("cnv")
        self.conversation: Conversation = doubles.sessions.start(self.conversation_id, self.user_id)

    async def send(self, text: str, request_id: str = "", reply: pb.ProposalReply | None = None) -> Any:
        """SendMessage."""
        request = pb.SendMessageRequest(
            request_id=request_id or new_id("req"),
            conversation_id=self.conversation_id,
            text=text,
            proposal_reply=reply,
        )
        return await self.stub.SendMessage(request, metadata=self.person)

    def run(self, text: str, request_id: str = "") -> Any:
        """RunTurn; iterate over its frames."""
        request = pb.RunTurnRequest(
            request_id=request_id or new_id("req"), conversation_id=self.conversation_id, text=text
        )
        return self.stub.RunTurn(request, metadata=self.person)

    async def get(self, turn_id: str) -> turn_pb2.Turn:
        """GetTurn."""
        return (await self.stub.GetTurn(pb.GetTurnRequest(turn_id=turn_id), metadata=self.person)).turn

    async def ended(self, turn_id: str, seconds: float = 20.0) -> turn_pb2.Turn:
        """The turn once it has ended."""
        async with asyncio.timeout(seconds):
            while True:
                turn = await self.get(turn_id)
                if turn.state in ENDED:
                    return turn
                await asyncio.sleep(0.02)

    async def ask(self, text: str, **options: Any) -> turn_pb2.Turn:
        """Send and wait for the end."""
        return await self.ended((await self.send(text, **options)).turn.id)

    def kinds(self, turn_id: str) -> list[str]:
        """The kinds of events that the turn left in the conversation."""
        return [event.WhichOneof("event") for event in self.conversation.events if event.turn_id == turn_id]

    async def told(self, turn_id: str, kind: str, seconds: float = 10.0) -> None:
        """Wait until the conversation has an event of the kind."""
        async with asyncio.timeout(seconds):
            while True:
                if kind in self.kinds(turn_id):
                    return
                await asyncio.sleep(0.02)

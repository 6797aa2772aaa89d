"""OrchestratorService on gRPC."""

from collections.abc import AsyncIterator

import grpc.aio

from deskmesh.orchestrator.v1 import orchestrator_service_pb2 as pb
from deskmesh.orchestrator.v1 import orchestrator_service_pb2_grpc
from services.common.context import caller, idempotency
from services.orchestrator import mapping
from services.orchestrator.usecases import TurnService

Context = grpc.aio.ServicerContext[object, object]


class OrchestratorServicer(orchestrator_service_pb2_grpc.OrchestratorServiceServicer):
    """Maps calls to use cases and back."""

    def __init__(self, turns: TurnService) -> None:
        self._turns = turns

    async def SendMessage(self, request: pb.SendMessageRequest, context: Context) -> pb.SendMessageResponse:
        command = mapping.to_send(request, caller(), idempotency())
        return mapping.send_response(await self._turns.send(command))

    async def RunTurn(self, request: pb.RunTurnRequest, context: Context) -> AsyncIterator[pb.RunTurnResponse]:
        command = mapping.to_send(request, caller(), idempotency())
        sent = await self._turns.send(command)
        yield mapping.run_started(sent)
        if sent.turn is None:
            yield mapping.run_finished(None)
            return
        async for frame in self._turns.follow(command.caller, sent.turn):
            yield mapping.run_frame(frame)
        yield mapping.run_finished(await self._turns.get_ended(command.caller, sent.turn.id))

    async def CancelTurn(self, request: pb.CancelTurnRequest, context: Context) -> pb.CancelTurnResponse:
        return pb.CancelTurnResponse(turn=mapping.turn_message(await self._turns.cancel(caller(), request.turn_id)))

    async def GetTurn(self, request: pb.GetTurnRequest, context: Context) -> pb.GetTurnResponse:
        return pb.GetTurnResponse(turn=mapping.turn_message(await self._turns.get(caller(), request.turn_id)))

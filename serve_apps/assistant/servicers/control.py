"""`ControlService`: keeps what the model registry says where every router finds it."""

import asyncio

from deskmesh.inference.v1 import control_service_pb2, control_service_pb2_grpc
from serve_apps.assistant.control import ControlBoard, RegistryState
from services.common.interceptors.call import RpcContext
from services.common.server import ServicerRegistration


class ControlServicer(control_service_pb2_grpc.ControlServiceServicer):
    """Any router takes it for all of them."""

    def __init__(self, board: ControlBoard) -> None:
        self._board = board

    def registration(self) -> ServicerRegistration:
        """This servicer with the generated function that adds it to a server."""
        return ServicerRegistration(control_service_pb2_grpc.add_ControlServiceServicer_to_server, self)

    async def SetModelStates(
        self, request: control_service_pb2.SetModelStatesRequest, context: RpcContext
    ) -> control_service_pb2.SetModelStatesResponse:
        """Keep which models must get no requests."""
        as_of = request.as_of.seconds + request.as_of.nanos / 1e9
        state = RegistryState(frozenset(request.disabled_models), as_of)
        await asyncio.to_thread(self._board.tell, state)
        return control_service_pb2.SetModelStatesResponse()

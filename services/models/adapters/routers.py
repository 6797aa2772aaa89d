"""This environment's routers, through the inference sidecar."""

from collections.abc import Sequence
from datetime import datetime

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.inference.v1 import (
    control_service_pb2,
    control_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from services.common.errors import from_rpc_error
from services.models.domain import Health, Sighting


class RemoteRouters:
    """The routers; what one is told all know, as they share a board."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_seconds: float) -> None:
        self._routers = router_service_pb2_grpc.RouterServiceStub(channel)
        self._control = control_service_pb2_grpc.ControlServiceStub(channel)
        self._timeout_seconds = timeout_seconds

    async def look(self) -> Sequence[Sighting]:
        """The models they have. Raises RemoteError."""
        request = router_service_pb2.ListModelsRequest()
        try:
            response = await self._routers.ListModels(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return [_sighting(one) for one in response.models]

    async def tell(self, disabled: Sequence[str], as_of: datetime) -> None:
        """Which models must get no requests. Raises RemoteError."""
        moment = Timestamp()
        moment.FromDatetime(as_of)
        request = control_service_pb2.SetModelStatesRequest(disabled_models=disabled, as_of=moment)
        try:
            await self._control.SetModelStates(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


def _sighting(status: router_service_pb2.ModelStatus) -> Sighting:
    if not status.replicas:
        health = Health.DOWN
    elif all(replica.degraded for replica in status.replicas):
        health = Health.DEGRADED
    else:
        health = Health.SERVING
    profile = status.profile
    words = (router_service_pb2.Capability.Name(one).removeprefix("CAPABILITY_") for one in profile.capabilities)
    metadata = {
        "capabilities": " ".join(words).lower(),
        "context_length": str(profile.context_length),
        "quality": str(profile.quality),
    }
    return Sighting(profile.name, health, metadata)

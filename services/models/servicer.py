"""The services of models on the wire. Errors are left to the interceptors."""

from typing import Any

import grpc.aio

from deskmesh.models.v1 import deployment_service_pb2 as deployments_pb
from deskmesh.models.v1 import deployment_service_pb2_grpc, model_service_pb2_grpc
from deskmesh.models.v1 import model_service_pb2 as pb
from services.common.context import caller, idempotency
from services.models import mapping
from services.models.usecases.deployments import Deployments
from services.models.usecases.registry import Registry

Context = grpc.aio.ServicerContext[Any, Any]


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """The registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """List a page of models."""
        return mapping.model_page(await self._registry.list(mapping.to_list(request)))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Read one model."""
        return pb.GetModelResponse(model=mapping.model(await self._registry.get(request.name, request.environment)))

    async def RegisterModel(self, request: pb.RegisterModelRequest, context: Context) -> pb.RegisterModelResponse:
        """Make a model known."""
        command = mapping.to_register(request, caller(), idempotency())
        return pb.RegisterModelResponse(model=mapping.model(await self._registry.register(command)))

    async def EnableModel(self, request: pb.EnableModelRequest, context: Context) -> pb.EnableModelResponse:
        """Let a model get requests again."""
        command = mapping.to_switch(request, caller())
        return pb.EnableModelResponse(model=mapping.model(await self._registry.switch(command)))

    async def DisableModel(self, request: pb.DisableModelRequest, context: Context) -> pb.DisableModelResponse:
        """Take a model out of routing."""
        command = mapping.to_switch(request, caller())
        return pb.DisableModelResponse(model=mapping.model(await self._registry.switch(command)))

    async def PromoteModel(self, request: pb.PromoteModelRequest, context: Context) -> pb.PromoteModelResponse:
        """Take a model over into another environment."""
        command = mapping.to_promote(request, caller())
        return pb.PromoteModelResponse(model=mapping.model(await self._registry.promote(command)))

    async def ListModelEvents(self, request: pb.ListModelEventsRequest, context: Context) -> pb.ListModelEventsResponse:
        """List a page of what was done to models."""
        return mapping.event_page(await self._registry.events(mapping.to_list_events(request)))


class DeploymentServicer(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Deployments."""

    def __init__(self, deployments: Deployments) -> None:
        self._deployments = deployments

    async def Deploy(self, request: deployments_pb.DeployRequest, context: Context) -> deployments_pb.DeployResponse:
        """Check a file and begin to roll it out."""
        rollout, notes = await self._deployments.deploy(mapping.to_deploy(request, caller(), idempotency()))
        begun = mapping.deployment(rollout, current=False, whole=False) if rollout is not None else None
        return deployments_pb.DeployResponse(deployment=begun, notes=notes)

    async def RollBack(
        self, request: deployments_pb.RollBackRequest, context: Context
    ) -> deployments_pb.RollBackResponse:
        """Go back."""
        rollout = await self._deployments.go_back(mapping.to_go_back(request, caller(), idempotency()))
        return deployments_pb.RollBackResponse(deployment=mapping.deployment(rollout, current=False, whole=False))

    async def ListDeployments(
        self, request: deployments_pb.ListDeploymentsRequest, context: Context
    ) -> deployments_pb.ListDeploymentsResponse:
        """List a page of deployments."""
        return mapping.deployment_page(await self._deployments.list(request.page_size, request.page_token))

    async def GetDeployment(
        self, request: deployments_pb.GetDeploymentRequest, context: Context
    ) -> deployments_pb.GetDeploymentResponse:
        """Read one deployment."""
        rollout, current = await self._deployments.get(request.deployment_id)
        found = mapping.deployment(rollout, current=rollout.id == current, whole=True)
        return deployments_pb.GetDeploymentResponse(deployment=found)

"""Wires the models service."""

from contextlib import AsyncExitStack
from functools import partial

from deskmesh.models.v1 import deployment_service_pb2_grpc, model_service_pb2_grpc
from services.common.janitor import request_ids
from services.common.outbox import OutboxRelay
from services.common.server import Platform, ServicerRegistration
from services.models import tables
from services.models.adapters.applications import RemoteApplications
from services.models.adapters.cache import ValkeyCache
from services.models.adapters.routers import RemoteRouters
from services.models.adapters.turns import ValkeyTurns
from services.models.adapters.units import SqlModelsWork
from services.models.conductor import Conductor
from services.models.keeper import Keeper
from services.models.rollouts import Patience
from services.models.servicer import DeploymentServicer, ModelServicer
from services.models.settings import ModelsSettings
from services.models.usecases.deployments import Deployments
from services.models.usecases.registry import Registry


async def wire(stack: AsyncExitStack, platform: Platform[ModelsSettings]) -> list[ServicerRegistration]:
    """Build the servicers, the outbox's relay, the keeper and the conductor, which run until the stack closes."""
    settings, clock = platform.settings, platform.clock
    await stack.enter_async_context(platform.janitor(request_ids(tables.idempotency_records, settings)))
    relay = await stack.enter_async_context(OutboxRelay("models", platform.sessionmaker, platform.redis, tables.outbox))
    work = partial(SqlModelsWork, platform.sessionmaker, relay.wake, settings.environment)
    cache = ValkeyCache(platform.redis, settings.environment, seconds=settings.cache_seconds)
    channel = platform.channels.channel(settings.inference_address, "inference")
    keeper = await stack.enter_async_context(
        Keeper(
            work,
            RemoteRouters(channel, timeout_seconds=settings.router_timeout_seconds),
            cache,
            clock,
            environment=settings.environment,
            endpoint=settings.inference_address,
            seconds=settings.look_seconds,
        )
    )
    registry = Registry(work, cache, clock, settings.environment, keeper.wake)
    applications = RemoteApplications(channel, timeout_seconds=settings.router_timeout_seconds)
    conductor = await stack.enter_async_context(
        Conductor(
            work,
            applications,
            ValkeyTurns(platform.redis),
            clock,
            environment=settings.environment,
            seconds=settings.step_seconds,
            idle_seconds=settings.look_seconds,
            patience=Patience(
                start_seconds=settings.start_seconds,
                repeat_seconds=settings.gates.shadow_seconds if settings.gates.shadow_percent else 0.0,
                step_seconds=settings.share_seconds,
                last_seconds=settings.last_share_seconds,
                hold_seconds=settings.gates.hold_seconds,
            ),
            limits=settings.gates,
        )
    )
    deployments = Deployments(work, applications, clock, settings.environment, conductor.wake)
    return [
        ServicerRegistration(model_service_pb2_grpc.add_ModelServiceServicer_to_server, ModelServicer(registry)),
        ServicerRegistration(
            deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server, DeploymentServicer(deployments)
        ),
    ]

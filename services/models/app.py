"""Wires the models service."""

from contextlib import AsyncExitStack
from functools import partial

from deskmesh.models.v1 import model_service_pb2_grpc
from services.common.janitor import request_ids
from services.common.outbox import OutboxRelay
from services.common.server import Platform, ServicerRegistration
from services.models import tables
from services.models.adapters.cache import ValkeyCache
from services.models.adapters.routers import RemoteRouters
from services.models.adapters.units import SqlModelsWork
from services.models.keeper import Keeper
from services.models.servicer import ModelServicer
from services.models.settings import ModelsSettings
from services.models.usecases.registry import Registry


async def wire(stack: AsyncExitStack, platform: Platform[ModelsSettings]) -> list[ServicerRegistration]:
    """Build the servicer, the outbox's relay and the keeper, which run until the stack closes."""
    settings, clock = platform.settings, platform.clock
    await stack.enter_async_context(platform.janitor(request_ids(tables.idempotency_records, settings)))
    relay = await stack.enter_async_context(OutboxRelay("models", platform.sessionmaker, platform.redis, tables.outbox))
    work = partial(SqlModelsWork, platform.sessionmaker, relay.wake)
    cache = ValkeyCache(platform.redis, settings.environment, seconds=settings.cache_seconds)
    keeper = await stack.enter_async_context(
        Keeper(
            work,
            RemoteRouters(
                platform.channels.channel(settings.inference_address, "inference"),
                timeout_seconds=settings.router_timeout_seconds,
            ),
            cache,
            clock,
            environment=settings.environment,
            endpoint=settings.inference_address,
            seconds=settings.look_seconds,
        )
    )
    registry = Registry(work, cache, clock, settings.environment, keeper.wake)
    return [ServicerRegistration(model_service_pb2_grpc.add_ModelServiceServicer_to_server, ModelServicer(registry))]

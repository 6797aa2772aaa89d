"""The models service on real stores and mTLS, beside a real router of models that are only described."""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from deskmesh.models.v1 import model_pb2, model_service_pb2_grpc
from deskmesh.models.v1 import model_service_pb2 as pb
from serve_apps.assistant.board import Board, Report
from serve_apps.assistant.config import ModelConfig
from serve_apps.assistant.control import ControlBoard
from serve_apps.assistant.engine_config import SimulatedEngineConfig
from serve_apps.assistant.routing_config import RouterConfig
from serve_apps.assistant.servicer import registration
from serve_apps.assistant.servicers.control import ControlServicer
from serve_apps.assistant.servicers.router import RouterServicer
from services.common.ids import new_id
from services.common.server import Platform, ServicerRegistration, serving
from services.common.settings import ServiceSettings
from services.models.app import wire
from services.models.settings import ModelsSettings
from tests.integration.models.house import House, running_house
from tests.integration.serve_apps.conftest import MemoryStore
from tests.support.server import Headers, RunningService, TestStack
from tests.support.valkey import running_valkey

NAMES = ("simulated-first", "simulated-second")


@dataclass
class Routing:
    """A router over mTLS, as it is found behind the sidecar."""

    servicer: RouterServicer
    board: ControlBoard
    service: RunningService


@asynccontextmanager
async def running_router(stack: TestStack, listen: str = "127.0.0.1:0") -> AsyncIterator[Routing]:
    models = tuple(
        ModelConfig(
            name=name,
            application=f"app-{index}",
            context_length=1000,
            engine=SimulatedEngineConfig(kind="simulated"),
        )
        for index, name in enumerate(NAMES)
    )
    servicer = RouterServicer(RouterConfig(), models, random.Random(3))
    servicer.learn(
        [
            Report(
                "app-0",
                "127.0.0.1:1",
                NAMES[0],
                draining=False,
                running=0,
                waiting=0,
                kv_cache_usage=0.0,
                capacity=10,
                sequence=1,
            )
        ]
    )
    store = MemoryStore()
    board = ControlBoard(store)

    async def wire_router(_: AsyncExitStack, platform: Platform[ServiceSettings]) -> list[ServicerRegistration]:
        return [registration(servicer), ControlServicer(board, Board(store)).registration()]

    settings = stack.settings(
        "inference",
        ServiceSettings,
        database_url=stack.postgres.url("models"),
        listen_address=listen,
        drain_seconds=0.1,
    )
    async with serving("inference", settings, wire_router) as server:
        service = RunningService("inference", f"127.0.0.1:{server.port}", settings, stack, server.stop)
        yield Routing(servicer, board, service)
        await service.close()


@dataclass
class Desk:
    """An operator at the models service."""

    service: RunningService
    headers: Headers

    @property
    def stub(self) -> "model_service_pb2_grpc.ModelServiceAsyncStub":
        stub: model_service_pb2_grpc.ModelServiceAsyncStub = model_service_pb2_grpc.ModelServiceStub(
            self.service.channel("laptop")
        )
        return stub

    def new_name(self) -> str:
        """A model of this test alone."""
        return new_id("m").replace("_", "-")

    async def register(self, name: str, **fields: str) -> model_pb2.Model:
        """Make a model known, in an environment that no router looks at unless `fields` say another."""
        values = {"environment": "lab", "endpoint": "lab:443"} | fields
        request = pb.RegisterModelRequest(request_id=new_id("req"), name=name, **values)  # type: ignore[arg-type]
        return (await self.stub.RegisterModel(request, metadata=self.headers)).model


@pytest.fixture(scope="session")
def models_redis() -> Iterator[str]:
    """A Valkey of their own, because tests take it away."""
    with running_valkey() as url:
        yield url


@pytest_asyncio.fixture(scope="session")
async def routing(stack: TestStack) -> AsyncIterator[Routing]:
    async with running_router(stack) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def running(stack: TestStack, routing: Routing, models_redis: str) -> AsyncIterator[RunningService]:
    settings = stack.settings(
        "models",
        ModelsSettings,
        redis_url=models_redis,
        inference_address=routing.service.address,
        look_seconds=0.05,
        drain_seconds=0.1,
    )
    async with serving("models", settings, wire) as server:
        service = RunningService("models", f"127.0.0.1:{server.port}", settings, stack, server.stop)
        yield service
        await service.close()


@pytest.fixture
def desk(running: RunningService, organization_id: str) -> Desk:
    return Desk(running, running.person(organization_id, "usr_engineer", "ml_engineer"))


@pytest_asyncio.fixture
async def house(stack: TestStack, models_redis: str, organization_id: str) -> AsyncIterator[House]:
    async with running_house(stack, models_redis, organization_id) as running:
        yield running

"""A platform whose models can be deployed: a real service, router, servicers and database; only starting a process is
replaced by a report on the board, and the engine is the simulated one."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import redis.asyncio

from deskmesh.inference.v1 import router_service_pb2, router_service_pb2_grpc
from deskmesh.models.v1 import deployment_pb2, deployment_service_pb2_grpc
from deskmesh.models.v1 import deployment_service_pb2 as pb
from deskmesh.orchestrator.v1 import figures_pb2
from deskmesh.sessions.v1 import message_pb2
from serve_apps.assistant import yaml_file
from serve_apps.assistant.board import Board, Report
from serve_apps.assistant.config import ModelConfig, TargetConfig
from serve_apps.assistant.control import ControlBoard
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.fleet import Fleet
from serve_apps.assistant.routing_config import RouterConfig
from serve_apps.assistant.servicer import InferenceServicer, registration
from serve_apps.assistant.servicers.control import ControlServicer
from serve_apps.assistant.servicers.router import RouterServicer
from serve_apps.assistant.versions import split_of, version_of
from services.common import background
from services.common.ids import new_id
from services.common.server import Platform, ServicerRegistration, serving
from services.common.settings import ServiceSettings
from services.models.app import wire
from services.models.limits import Limits
from services.models.settings import ModelsSettings
from tests.integration.serve_apps.conftest import MemoryStore
from tests.support.server import Headers, RunningService, TestStack

MODEL = "simulated-words"
PROMOTED, ROLLED_BACK = deployment_pb2.DEPLOYMENT_STATE_PROMOTED, deployment_pb2.DEPLOYMENT_STATE_ROLLED_BACK
# Nobody asks here: the shadow need not be kept for turns to repeat.
GATES = Limits(shadow_seconds=0.05)
SHADOW, CANARY = deployment_pb2.DEPLOYMENT_STATE_SHADOW, deployment_pb2.DEPLOYMENT_STATE_CANARY


def text(queued: int, router: dict[str, object] | None = None, **changes: object) -> str:
    """A target; another number makes another version."""
    model: dict[str, object] = {
        "name": MODEL,
        "application": "words",
        "context_length": 1000,
        "max_queued_requests": queued,
        "engine": {"kind": "simulated"},
    }
    return json.dumps({"models": [model | changes], "router": router or {}})


def models_of(target: str) -> tuple[ModelConfig, ...]:
    return yaml_file.parse(target, TargetConfig, "t").models if target else ()


@dataclass
class Site:
    """What Ray and its processes do otherwise: versions that start become replicas on the board."""

    store: MemoryStore = field(default_factory=MemoryStore)
    reports: dict[str, Report] = field(default_factory=dict)
    # Why the next versions do not start.
    trouble: str = ""
    troubles: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    def deploy(self, name: str, model: ModelConfig) -> None:
        if self.trouble:
            self.troubles[name] = self.trouble
            return
        self.running.add(name)
        self.reports[name] = Report(
            "words",
            f"replica-of-{name}",
            MODEL,
            draining=False,
            running=0,
            waiting=0,
            kv_cache_usage=0.0,
            capacity=9,
            sequence=1,
            version=version_of(model),
        )

    def delete(self, name: str) -> None:
        self.running.discard(name)
        self.reports.pop(name, None)
        self.troubles.pop(name, None)


class Reports(Board):
    """The board, with what runs at the site."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.store)
        self._site = site

    async def read(self) -> list[Report]:
        return list(self._site.reports.values())


@dataclass
class House:
    """A running platform, and an operator in it."""

    site: Site
    control: ControlBoard
    engine: SimulatedEngine
    router: RunningService
    service: RunningService
    headers: Headers

    @property
    def stub(self) -> "deployment_service_pb2_grpc.DeploymentServiceAsyncStub":
        stub: deployment_service_pb2_grpc.DeploymentServiceAsyncStub = (
            deployment_service_pb2_grpc.DeploymentServiceStub(self.service.channel("laptop"))
        )
        return stub

    async def deploy(self, target: str, **fields: object) -> deployment_pb2.Deployment:
        request = pb.DeployRequest(request_id=new_id("req"), file="t.yaml", text=target, **fields)  # type: ignore[arg-type]
        return (await self.stub.Deploy(request, metadata=self.headers)).deployment

    async def get(self, deployment_id: str = "") -> deployment_pb2.Deployment:
        request = pb.GetDeploymentRequest(deployment_id=deployment_id)
        return (await self.stub.GetDeployment(request, metadata=self.headers)).deployment

    async def until(
        self, deployment_id: str, holds: Callable[[deployment_pb2.Deployment], bool]
    ) -> deployment_pb2.Deployment:
        deadline = time.monotonic() + 20
        while not holds(found := await self.get(deployment_id)):
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.02)
        return found

    async def found_running(self, target: str) -> None:
        """Wait until what runs is on record."""
        deadline = time.monotonic() + 20
        while True:
            page = await self.stub.ListDeployments(pb.ListDeploymentsRequest(page_size=1), metadata=self.headers)
            if page.deployments and (await self.get(page.deployments[0].id)).text == target:
                return
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    @property
    def _routing(self) -> "router_service_pb2_grpc.RouterServiceAsyncStub":
        stub: router_service_pb2_grpc.RouterServiceAsyncStub = router_service_pb2_grpc.RouterServiceStub(
            self.router.channel("orchestrator")
        )
        return stub

    async def route(self, conversation: str) -> router_service_pb2.RouteResponse:
        return await self._routing.Route(router_service_pb2.RouteRequest(affinity_key=conversation))

    async def until_leased(self, seconds: float) -> None:
        """Wait until a conversation's next requests need not ask for so long."""
        deadline = time.monotonic() + 20
        while (await self.route("c")).lease.ToTimedelta().total_seconds() != seconds:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    def shadow(self) -> AsyncIterator[router_service_pb2.RouteShadowResponse]:
        """Where turns may be repeated, as long as they may."""
        return aiter(self._routing.RouteShadow(router_service_pb2.RouteShadowRequest(model=MODEL), timeout=20))

    async def until_served(self, target: str) -> None:
        """Wait until the routers are told of what is on record."""
        deadline = time.monotonic() + 20
        while self.serving_text() != target:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def restarted(self, **changes: object) -> AsyncIterator[None]:
        """The models service ended and started anew, with some other settings until the block ends."""
        await self.service.stop()
        settings = self.service.settings.model_copy(update=changes)
        assert isinstance(settings, ModelsSettings)
        stack = self.service.stack
        async with serving("models", settings, wire) as models:
            await self.service.close()
            self.service = RunningService("models", f"127.0.0.1:{models.port}", settings, stack, models.stop)
            yield

    async def publish(self, topic: str, *payloads: bytes) -> None:
        """What another service tells."""
        async with redis.asyncio.Redis.from_url(self.service.settings.redis_url) as store:
            pipeline = store.pipeline(transaction=False)
            for payload in payloads:
                pipeline.xadd(f"deskmesh:{topic}", {"organization_id": "org_1", "payload": payload})
            await pipeline.execute()

    async def converse(self, version: str, turns: range, seconds: float = 0.1) -> None:
        """Turns of customers whose sentences this version ranked, and how long it took."""
        told = [figures_pb2.TurnFigures(turn_id=f"{version}-{number}") for number in turns]
        for one in told:
            call = one.calls.add(step="score", model=MODEL, version=version, grounded=True)
            call.first_token.FromMilliseconds(round(seconds * 1000))
        await self.publish("orchestrator:turn.measured", *(one.SerializeToString() for one in told))

    async def repeat(self, served: str, tried: str, turns: range, seconds: float = 0.1) -> None:
        """What the version in the shadow made of turns that another one served, and how long it took."""
        told = [figures_pb2.TurnFigures(turn_id=f"{served}-{number}") for number in turns]
        for one in told:
            call = one.shadow_calls.add(step="score", model=MODEL, version=tried, grounded=True, prompt_tokens=1000)
            call.first_token.FromMilliseconds(round(seconds * 1000))
        await self.publish("orchestrator:turn.measured", *(one.SerializeToString() for one in told))

    async def rate(self, version: str, turns: range, rating: message_pb2.Rating) -> None:
        """What customers think of the answers of these turns."""
        told = (message_pb2.Message(turn_id=f"{version}-{number}", rating=rating) for number in turns)
        await self.publish("sessions:message.rated", *(one.SerializeToString() for one in told))

    def serving_text(self) -> str:
        targets = self.control.targets()
        assert targets is not None
        return targets.stable


@asynccontextmanager
async def running_house(stack: TestStack, redis_url: str, organization_id: str) -> AsyncIterator[House]:
    """A platform that serves a version of its own."""
    first = text(random.randrange(1000, 100_000))
    site = Site()
    control = ControlBoard(site.store)
    control.begin(first)
    config = yaml_file.parse(first, TargetConfig, "t")
    site.deploy("words", config.models[0])
    servicer = RouterServicer(RouterConfig(), config.models, random.Random(5))
    engine = SimulatedEngine(context_length=1000, max_running=8, first_token_seconds=0.01, token_seconds=0.01)
    await engine.start()
    inference = InferenceServicer(engine, model=MODEL, context_length=1000, capacity=8)

    async def wire_site(_: AsyncExitStack, platform: Platform[ServiceSettings]) -> list[ServicerRegistration]:
        controlling = ControlServicer(control, Reports(site)).registration()
        return [registration(servicer), registration(inference), controlling]

    async def turn() -> None:
        fleet = Fleet(config, control, site)
        while True:
            reports = list(site.reports.values())
            fleet.step(site.troubles, reports, site.running)
            servicer.learn(reports)
            targets = control.targets()
            assert targets is not None
            stable, tried = (models_of(one) for one in (targets.stable, targets.candidate))
            servicer.learn_config(yaml_file.parse(targets.stable, TargetConfig, "t").router)
            servicer.learn_versions(stable, split_of(targets, stable, tried))
            await asyncio.sleep(0.01)

    settings = stack.settings(
        "inference", ServiceSettings, database_url=stack.postgres.url("models"), drain_seconds=0.1
    )
    async with serving("inference", settings, wire_site) as server:
        router = RunningService("inference", f"127.0.0.1:{server.port}", settings, stack, server.stop)
        models_settings = stack.settings(
            "models",
            ModelsSettings,
            redis_url=redis_url,
            inference_address=router.address,
            step_seconds=0.02,
            start_seconds=10.0,
            share_seconds=0.05,
            last_share_seconds=0.05,
            gates=GATES,
            drain_seconds=0.1,
        )
        turning = asyncio.create_task(turn())
        async with serving("models", models_settings, wire) as models:
            service = RunningService("models", f"127.0.0.1:{models.port}", models_settings, stack, models.stop)
            headers = service.person(organization_id, "usr_engineer", "ml_engineer")
            running = House(site, control, engine, router, service, headers)
            await running.found_running(first)
            yield running
            await running.service.close()
        await background.end(turning)
        await router.close()
    await engine.stop()

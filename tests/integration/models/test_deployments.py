"""Deployments from the call to the replica: a real service, router, servicers and database; only starting a process is
replaced by a report on the board, and the engine is the simulated one."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
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
from serve_apps.assistant.engines.base import Delta, Finished, FinishReason, Usage
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.fleet import Fleet
from serve_apps.assistant.routing_config import RouterConfig
from serve_apps.assistant.servicer import InferenceServicer, registration
from serve_apps.assistant.servicers.control import ControlServicer
from serve_apps.assistant.servicers.router import RouterServicer
from serve_apps.assistant.versions import Split, version_of, versions_of
from services.common import background
from services.common.ids import new_id
from services.common.server import Platform, ServicerRegistration, serving
from services.common.settings import ServiceSettings
from services.models.app import wire
from services.models.limits import Limits, TooFew
from services.models.settings import ModelsSettings
from tests.integration.serve_apps.conftest import MemoryStore
from tests.support.server import Headers, RunningService, TestStack, refused

MODEL = "simulated-words"
PROMOTED, ROLLED_BACK = deployment_pb2.DEPLOYMENT_STATE_PROMOTED, deployment_pb2.DEPLOYMENT_STATE_ROLLED_BACK
CANARY = deployment_pb2.DEPLOYMENT_STATE_CANARY


def text(queued: int, **changes: object) -> str:
    """A target; another number makes another version."""
    model: dict[str, object] = {
        "name": MODEL,
        "application": "words",
        "context_length": 1000,
        "max_queued_requests": queued,
        "engine": {"kind": "simulated"},
    }
    return json.dumps({"models": [model | changes]})


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

    async def replica_for(self, conversation: str) -> str:
        return (await self._route(conversation)).replica

    async def version_for(self, conversation: str) -> str:
        return (await self._route(conversation)).version

    async def _route(self, conversation: str) -> router_service_pb2.RouteResponse:
        stub = router_service_pb2_grpc.RouterServiceStub(self.router.channel("orchestrator"))
        return await stub.Route(router_service_pb2.RouteRequest(affinity_key=conversation))

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

    async def rate(self, version: str, turns: range, rating: message_pb2.Rating) -> None:
        """What customers think of the answers of these turns."""
        told = (message_pb2.Message(turn_id=f"{version}-{number}", rating=rating) for number in turns)
        await self.publish("sessions:message.rated", *(one.SerializeToString() for one in told))

    def serving_text(self) -> str:
        targets = self.control.targets()
        assert targets is not None
        return targets.stable


@pytest_asyncio.fixture
async def house(stack: TestStack, models_redis: str, organization_id: str) -> AsyncIterator[House]:
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
            split = Split(versions_of(stable), versions_of(tried), targets.percent, frozenset(targets.tenants))
            servicer.learn_versions(stable, split)
            await asyncio.sleep(0.01)

    settings = stack.settings(
        "inference", ServiceSettings, database_url=stack.postgres.url("models"), drain_seconds=0.1
    )
    async with serving("inference", settings, wire_site) as server:
        router = RunningService("inference", f"127.0.0.1:{server.port}", settings, stack, server.stop)
        models_settings = stack.settings(
            "models",
            ModelsSettings,
            redis_url=models_redis,
            inference_address=router.address,
            step_seconds=0.02,
            start_seconds=10.0,
            share_seconds=0.05,
            last_share_seconds=0.05,
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


async def test_a_good_target_goes_all_the_way_and_one_command_goes_back(house: House) -> None:
    old = house.serving_text()
    new = text(1)
    begun = await house.deploy(new, reason="more room", steps=[20])
    ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert (ended.state, ended.percent, ended.failure) == (PROMOTED, 100, "")
    assert ended.current
    assert (ended.actor, ended.reason, ended.file) == ("usr_engineer", "more room", "t.yaml")
    assert {gate.name for gate in ended.gates} == {
        "errors",
        "first token",
        "tokens/s",
        "grounded",
        "cost",
        "template",
        "live errors",
        "turns",
        "feedback",
    }
    assert all(gate.passed and not gate.undecided for gate in ended.gates)
    (few,) = [gate.explanation for gate in ended.gates if gate.name == "turns"]
    assert few.startswith("not enough turns to compare, 0 of it and 0 of what serves, 10 of each are needed")
    await house.until_served(new)
    assert await house.version_for("c") == version_of(models_of(new)[0])
    assert await house.replica_for("c") == f"replica-of-words-{version_of(models_of(new)[0])}"

    request = pb.RollBackRequest(request_id=new_id("req"), reason="a whim")
    back = (await house.stub.RollBack(request, metadata=house.headers)).deployment
    ended = await house.until(back.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert (ended.state, ended.text, ended.reason) == (PROMOTED, old, "a whim")
    await house.until_served(old)
    page = await house.stub.ListDeployments(pb.ListDeploymentsRequest(page_size=2), metadata=house.headers)
    assert [one.id for one in page.deployments] == [back.id, begun.id]
    assert [one.current for one in page.deployments] == [True, False]


async def _broken(*_: object) -> AsyncIterator[Delta | Finished]:
    raise RuntimeError("the template is broken")
    yield


async def _silent(*_: object) -> AsyncIterator[Delta | Finished]:
    yield Finished(FinishReason.STOP, Usage(10, 0, 0))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (None, "no such weights"),
        (_broken, "6 of 6 golden questions failed: INTERNAL"),
        (_silent, "6 of 6 golden questions failed: NOTHING_WRITTEN"),
    ],
    ids=["at start", "in its answers", "without a word"],
)
async def test_a_bad_target_goes_back_by_itself_and_touches_nothing(
    house: House, broken: Callable[..., AsyncIterator[Delta | Finished]] | None, said: str
) -> None:
    old = house.serving_text()
    before = await house.replica_for("c")
    if broken is None:
        house.site.trouble = "RuntimeError: no such weights"
    else:
        house.engine.generate = broken  # type: ignore[assignment]
    begun = await house.deploy(text(2))
    ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert ended.state == ROLLED_BACK
    assert said in ended.failure
    assert not ended.current
    assert house.serving_text() == old
    assert await house.replica_for("c") == before


async def test_a_restart_in_the_middle_goes_on_where_it_stopped(house: House) -> None:
    new = text(11)
    async with house.restarted(share_seconds=60.0):
        begun = await house.deploy(new, steps=[20])
        await house.until(begun.id, lambda one: one.state == CANARY)
        async with house.restarted(share_seconds=0.05):
            ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
            assert (ended.state, ended.failure) == (PROMOTED, "")
            await house.until_served(new)


async def test_turns_of_customers_take_it_back_also_after_a_restart(house: House) -> None:
    old = house.serving_text()
    before, after = (version_of(models_of(one)[0]) for one in (old, text(21)))
    # Before its first share, so of no account.
    await house.converse(after, range(100, 150), seconds=9.0)
    async with house.restarted(share_seconds=60.0):
        begun = await house.deploy(text(21), steps=[50])
        await house.until(begun.id, lambda one: one.state == CANARY)
        await house.converse(before, range(12))
        await house.converse(after, range(9), seconds=2.5)
        await house.publish("orchestrator:turn.measured", b"not a turn")
        async with house.restarted(share_seconds=60.0):
            await house.converse(after, range(9, 10), seconds=2.5)
            ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert ended.state == ROLLED_BACK
    assert ended.failure == "ranking of turns: 2.50 s, at most 1.30 s; now 0.10 s"
    assert {gate.name: gate.passed for gate in ended.gates}["ranking of turns"] is False
    assert house.serving_text() == old


async def test_a_share_that_is_held_for_ratings_of_customers_is_taken_back_by_them(house: House) -> None:
    before, after = (version_of(models_of(one)[0]) for one in (house.serving_text(), text(22)))
    async with house.restarted(gates=Limits(few_ratings=TooFew.HOLD)):
        begun = await house.deploy(text(22), steps=[50])
        held = await house.until(begun.id, lambda one: any(gate.undecided for gate in one.gates))
        assert (held.state, held.percent) == (CANARY, 50)
        for version in (before, after):
            await house.converse(version, range(14))
        await house.rate(before, range(10), message_pb2.RATING_UP)
        # Rated anew, and taken back: only the last word counts. Never are there ten, so nothing is judged in between.
        await house.rate(after, range(13, 14), message_pb2.RATING_UP)
        await house.rate(after, range(13, 14), message_pb2.RATING_UNSPECIFIED)
        await house.rate(after, range(9), message_pb2.RATING_UP)
        await house.rate(after, range(9), message_pb2.RATING_DOWN)
        await house.rate("somebody else's", range(99), message_pb2.RATING_UP)
        assert (await house.get(begun.id)).state == CANARY
        await house.rate(after, range(9, 10), message_pb2.RATING_DOWN)
        ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert (ended.state, ended.failure) == (ROLLED_BACK, "feedback: 10 of 10 did not help, at most 56%; now 0 of 10")


async def test_a_model_that_falls_asleep_while_it_is_tried_is_promoted_asleep(house: House) -> None:
    new = text(13, autoscaling={"min_replicas": 0})
    async with house.restarted(last_share_seconds=1.0):
        begun = await house.deploy(new, steps=[20])
        await house.until(begun.id, lambda one: one.state == CANARY)
        del house.site.reports[f"words-{version_of(models_of(new)[0])}"]
        ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
        assert (ended.state, ended.failure) == (PROMOTED, "")
        await house.until_served(new)


async def test_what_fails_while_the_service_is_away_goes_back_when_it_returns(house: House) -> None:
    old = house.serving_text()
    house.site.deploy = lambda name, model: None  # type: ignore[method-assign]
    begun = await house.deploy(text(12))
    await house.service.stop()
    house.site.troubles[f"words-{version_of(models_of(text(12))[0])}"] = "RuntimeError: out of memory"
    async with house.restarted():
        ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
        assert (ended.state, ended.failure) == (ROLLED_BACK, "RuntimeError: out of memory")
        await house.until_served(old)


async def test_one_at_a_time_and_taken_back_by_hand(house: House) -> None:
    # It never becomes ready, so that there is something to take back.
    house.site.deploy = lambda name, model: None  # type: ignore[method-assign]
    begun = await house.deploy(text(3))
    async with refused() as refusal:
        await house.deploy(text(4))
    assert refusal.error.reason == "DEPLOYMENT_IN_PROGRESS"
    request = pb.RollBackRequest(request_id=new_id("req"), reason="on second thoughts")
    taken = (await house.stub.RollBack(request, metadata=house.headers)).deployment
    assert (taken.id, taken.state, taken.failure) == (begun.id, ROLLED_BACK, "by hand: on second thoughts")
    async with refused() as refusal:
        await house.stub.RollBack(pb.RollBackRequest(request_id=new_id("req")), metadata=house.headers)
    assert refusal.error.reason == "NOTHING_TO_ROLL_BACK"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("models: [", "t.yaml:1"),
        (text(5, context_length=1), "t.yaml:1: models[0].context_length"),
        (text(5, name="simulated-other"), "names and applications must be those that run"),
    ],
    ids=["no YAML", "a field", "another model"],
)
async def test_a_file_that_cannot_be_deployed_is_refused_by_line_and_field(
    house: House, target: str, said: str
) -> None:
    async with refused() as refusal:
        await house.deploy(target)
    assert refusal.error.reason == "TARGET_INVALID"
    assert said in str(refusal.error.violations)


async def test_a_check_begins_nothing_and_what_serves_is_nothing_new(house: House) -> None:
    request = pb.DeployRequest(request_id=new_id("req"), file="t.yaml", text=text(6), check_only=True)
    answer = await house.stub.Deploy(request, metadata=house.headers)
    assert not answer.HasField("deployment")
    assert answer.notes == [f"{MODEL}: simulated, no model at all"]
    async with refused() as refusal:
        await house.deploy(house.serving_text())
    assert "nothing differs" in str(refusal.error.violations)

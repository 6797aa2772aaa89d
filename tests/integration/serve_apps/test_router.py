"""The router over real gRPC: what it is told of replicas, what it decides, and what it says of it."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from deskmesh.inference.v1 import router_service_pb2, router_service_pb2_grpc, routing_pb2
from serve_apps.assistant.board import Board, Report
from serve_apps.assistant.config import CapabilityName, Cost, ModelConfig
from serve_apps.assistant.engine_config import SimulatedEngineConfig
from serve_apps.assistant.engines.base import EngineLoad
from serve_apps.assistant.engines.patience import FREE_RETRIES
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.routing_config import (
    CascadeConfig,
    HedgingConfig,
    ModelWeights,
    PowerOfTwo,
    PrefixAffinity,
    QueueConfig,
    RouterConfig,
)
from serve_apps.assistant.scaling_log import Decision
from serve_apps.assistant.servicer import registration
from serve_apps.assistant.servicers.router import RouterServicer
from serve_apps.assistant.versions import Split
from services.common.errors import from_rpc_error
from tests.integration.serve_apps.conftest import MemoryStore, stop

CAPACITY = 10
CONFIG = RouterConfig(
    models=ModelWeights(cost=1.0),
    replica_policies=(
        PrefixAffinity(kind="prefix_affinity", slack=4, remembered_blocks=64),
        PowerOfTwo(kind="power_of_two"),
    ),
    cascade=CascadeConfig(models=("simulated-small", "simulated-large"), least_mean_log_probability=-0.5),
    hedging=HedgingConfig(share=0.0, least_seconds=0.1),
)


def model(name: str, quality: int, cost: float) -> ModelConfig:
    return ModelConfig(
        name=f"simulated-{name}",
        application=name,
        capabilities=(CapabilityName.CHAT,),
        quality=quality,
        cost=Cost(input_per_million=cost, output_per_million=cost),
        context_length=1000,
        engine=SimulatedEngineConfig(kind="simulated"),
    )


SMALL, LARGE = model("small", 2, 1.0), model("large", 8, 10.0)


def report(model: ModelConfig, port: int, load: int = 0, *, sequence: int = 0, draining: bool = False) -> Report:
    return Report(model.application, f"127.0.0.1:{port}", model.name, draining, load, 0, 0.0, CAPACITY, sequence)


@dataclass
class Router:
    """A running router."""

    servicer: RouterServicer
    stub: "router_service_pb2_grpc.RouterServiceAsyncStub"

    async def route(self, **fields: object) -> router_service_pb2.RouteResponse:
        return await self.stub.Route(router_service_pb2.RouteRequest(**fields))  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def router(short_folder: Path) -> AsyncIterator[Router]:
    servicer = RouterServicer(CONFIG, (SMALL, LARGE), random.Random(7))
    settings = ReplicaSettings(
        host="127.0.0.1",
        first_port=42500,
        run_folder=short_folder,
        environment="dev",
        log_level="INFO",
        otlp_endpoint="",
        drain_seconds=0.2,
    )
    board = Board(MemoryStore())
    server = ReplicaServer(settings, application="router", model="", capacity=1, load=EngineLoad, board=board)
    await server.start([registration(servicer)])
    servicer.learn([report(SMALL, 1), report(SMALL, 2), report(LARGE, 3)])
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub: router_service_pb2_grpc.RouterServiceAsyncStub = router_service_pb2_grpc.RouterServiceStub(channel)
        yield Router(servicer, stub)
    await stop(server)


async def test_a_choice_is_explained(router: Router) -> None:
    answer = await router.route(min_quality=5, prompt_tokens=100, completion_tokens=100)
    assert (answer.model.name, answer.model.quality, answer.replica) == (LARGE.name, 8, "127.0.0.1:3")
    first, second = answer.routing.candidates
    assert (first.model, first.rejection, first.ready_replicas) == (LARGE.name, routing_pb2.REJECTION_UNSPECIFIED, 1)
    assert first.cost == pytest.approx(0.002)
    assert dict(first.parts) == {"quality": 0.0, "cost": 0.0, "load": 0.0}
    assert (second.model, second.rejection) == (SMALL.name, routing_pb2.REJECTION_QUALITY)
    assert answer.routing.model_reason == "the only one that fits"
    assert answer.lease.ToMilliseconds() == 5000


async def test_the_cheap_one_serves_until_it_is_full(router: Router) -> None:
    for _ in range(2 * CAPACITY):
        assert (await router.route()).model.name == SMALL.name
    # The replicas have not reported yet; the router knows what it has sent.
    full = await router.route()
    assert full.model.name == LARGE.name
    assert full.routing.candidates[1].rejection == routing_pb2.REJECTION_OVERLOADED
    # What they report now holds instead.
    router.servicer.learn([report(SMALL, 1, sequence=1), report(SMALL, 2, CAPACITY, sequence=1)])
    assert (await router.route()).replica == "127.0.0.1:1"


async def test_when_it_is_nearly_full_the_tenant_that_takes_most_is_refused_first(router: Router) -> None:
    for _ in range(8):
        await router.route(tenant="loud", completion_tokens=900)
    await router.route(tenant="quiet", completion_tokens=10)
    nearly_full = [report(one, port, CAPACITY - 1, sequence=1) for one, port in ((SMALL, 1), (SMALL, 2), (LARGE, 3))]
    router.servicer.learn(nearly_full)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await router.route(tenant="loud", completion_tokens=10)
    assert from_rpc_error(raised.value).reason == "MODEL_OVERLOADED"
    assert (await router.route(tenant="quiet", completion_tokens=10)).replica


async def test_who_finds_no_room_waits_and_sees_the_place(router: Router) -> None:
    full = [report(one, port, CAPACITY, sequence=1) for one, port in ((SMALL, 1), (SMALL, 2), (LARGE, 3))]
    router.servicer.learn(full)

    def enter(tenant: str, seconds: int) -> "grpc.aio.UnaryStreamCall[Any, router_service_pb2.RouteQueuedResponse]":
        route = router_service_pb2.RouteRequest(tenant=tenant, within=Duration(seconds=seconds))
        return router.stub.RouteQueued(router_service_pb2.RouteQueuedRequest(route=route))

    async with asyncio.timeout(10):
        late = enter("one", 20)
        assert (await anext(aiter(late))).waiting.place == 1
        # A call begins when it is made: only now, so that it comes second.
        soon = enter("one", 10)
        first = (await anext(aiter(soon))).waiting
        assert (first.place, first.waiting) == (1, 2)
        assert router.servicer.waiting == 2
        # Half of a replica's places are kept from those that wait here, so that what it holds is soon done.
        router.servicer.learn([report(SMALL, 1, CAPACITY // 2 - 1, sequence=2)])
        routed = [frame.routed async for frame in soon if frame.HasField("routed")]
        assert [one.replica for one in routed] == ["127.0.0.1:1"]
        assert routed[0].routing.place == 1
        assert routed[0].routing.HasField("waited")
        router.servicer.learn([report(SMALL, 1, sequence=3)])
        routed = [frame.routed async for frame in late if frame.HasField("routed")]
        assert routed[0].replica == "127.0.0.1:1"
        assert router.servicer.waiting == 0


async def test_another_configuration_holds_from_the_next_request_on(router: Router) -> None:
    assert (await router.route()).model.name == SMALL.name
    router.servicer.learn_config(RouterConfig(models=ModelWeights(quality=1.0), lease_seconds=1.0))
    answer = await router.route(prefix_blocks=[1, 2])
    assert (answer.model.name, answer.routing.model_reason) == (LARGE.name, "best score")
    assert answer.lease.ToMilliseconds() == 1000
    assert not answer.HasField("escalation")
    # What remembers prompts is there again once a policy asks for it.
    router.servicer.learn_config(CONFIG)
    again = [await router.route(model=SMALL.name, prefix_blocks=[1, 2]) for _ in range(2)]
    assert "by prefix affinity" in again[1].routing.replica_reason


async def test_who_waits_keeps_the_place_when_fewer_may_wait(router: Router) -> None:
    router.servicer.learn([report(SMALL, 1, CAPACITY, sequence=1)])
    request = router_service_pb2.RouteQueuedRequest(route=router_service_pb2.RouteRequest())
    async with asyncio.timeout(10):
        waiting = router.stub.RouteQueued(request)
        assert (await anext(aiter(waiting))).waiting.place == 1
        router.servicer.learn_config(CONFIG.model_copy(update={"queue": QueueConfig(max_waiting=0)}))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await anext(aiter(router.stub.RouteQueued(request)))
        assert from_rpc_error(raised.value).reason == "MODEL_OVERLOADED"
        router.servicer.learn([report(SMALL, 1, sequence=2)])
        assert [frame.routed.replica async for frame in waiting if frame.HasField("routed")] == ["127.0.0.1:1"]


async def test_with_room_the_only_frame_is_the_route(router: Router) -> None:
    request = router_service_pb2.RouteQueuedRequest(route=router_service_pb2.RouteRequest(min_quality=5))
    (frame,) = [frame async for frame in router.stub.RouteQueued(request)]
    assert frame.routed.model.name == LARGE.name
    assert frame.routed.routing.place == 0
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        [
            frame
            async for frame in router.stub.RouteQueued(
                router_service_pb2.RouteQueuedRequest(route=router_service_pb2.RouteRequest(model="nobody"))
            )
        ]
    assert from_rpc_error(raised.value).reason == "MODEL_NOT_FOUND"


async def test_what_is_not_good_enough_goes_to_the_next_of_the_cascade(router: Router) -> None:
    first = await router.route()
    assert first.model.name == SMALL.name
    assert first.escalation.least_mean_log_probability == -0.5
    second = await router.route(escalate_from=SMALL.name)
    assert second.model.name == LARGE.name
    assert not second.HasField("escalation")
    assert second.routing.candidates[1].rejection == routing_pb2.REJECTION_CASCADE


async def test_a_second_replica_is_named_for_what_is_slow_as_often_as_allowed(router: Router) -> None:
    assert not (await router.route()).HasField("hedge_after")
    slow = [replace(report(SMALL, port, sequence=1), slow_first_token_seconds=0.5) for port in (1, 2)]
    router.servicer.learn(slow)
    first = await router.route(model=SMALL.name)
    assert first.hedge_after.ToMilliseconds() == 500
    for _ in range(FREE_RETRIES):
        assert (await router.route(model=SMALL.name, hedge_of=first.replica)).replica != first.replica
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await router.route(model=SMALL.name, hedge_of=first.replica)
    assert from_rpc_error(raised.value).reason == "MODEL_OVERLOADED"


async def test_nobody_is_sent_to_a_replica_that_drains(router: Router) -> None:
    router.servicer.learn([report(SMALL, 1, draining=True), report(SMALL, 2)])
    assert {(await router.route()).replica for _ in range(6)} == {"127.0.0.1:2"}


async def test_prompts_that_begin_alike_go_to_one_replica(router: Router) -> None:
    first = await router.route(prefix_blocks=[1, 2, 3])
    again = await router.route(prefix_blocks=[1, 2, 3, 4])
    assert again.replica == first.replica
    assert "prefix affinity (3 of 4 blocks)" in again.routing.replica_reason


async def test_every_refusal_has_its_reason(router: Router) -> None:
    for fields, code, reason in (
        ({"model": "nobody"}, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ({"prompt_tokens": 5000}, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ({"min_quality": 11}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"language": "english"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        (
            {"avoid_replicas": [f"127.0.0.1:{port}" for port in (1, 2, 3)]},
            grpc.StatusCode.UNAVAILABLE,
            "MODEL_UNAVAILABLE",
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await router.route(**fields)
        error = from_rpc_error(raised.value)
        assert (error.code, error.reason) == (code, reason), fields


async def test_decisions_on_replicas_can_be_followed(router: Router) -> None:
    first = Decision(100.5, SMALL.name, 1, 2, 16.0, 3.0, 0.5, 1.2, "19 requests are more than 1 × 16")
    router.servicer.learn_decisions([first, replace(first, model=LARGE.name)])
    call = router.stub.WatchScaling(router_service_pb2.WatchScalingRequest(model=SMALL.name))
    async with asyncio.timeout(5):
        found = (await anext(aiter(call))).decision
        assert (found.model, found.from_replicas, found.to_replicas, found.running) == (SMALL.name, 1, 2, 16.0)
        assert found.decided_at.ToMilliseconds() == 100_500
        router.servicer.learn_decisions([first, replace(first, at=200.0, from_replicas=2, to_replicas=1)])
        found = (await anext(aiter(call))).decision
        assert (found.from_replicas, found.to_replicas) == (2, 1)
    call.cancel()


async def test_models_are_listed_with_what_they_are(router: Router) -> None:
    listed = (await router.stub.ListModels(router_service_pb2.ListModelsRequest())).models
    assert [(one.profile.name, len(one.replicas)) for one in listed] == [(SMALL.name, 2), (LARGE.name, 1)]
    assert listed[0].replicas[0].capacity == CAPACITY
    assert list(listed[1].profile.languages) == ["en"]


def shadowed(router: Router, version: str = "new", load: int = 0, *, large: int = 0) -> None:
    """One more replica of SMALL, of a version in the shadow; the loads are its own and that of LARGE."""
    known = [replace(report(SMALL, port), version="old") for port in (1, 2)]
    router.servicer.learn([*known, report(LARGE, 3, large), replace(report(SMALL, 4, load), version="new")])
    old = {SMALL.name: "old", LARGE.name: ""}
    tried = {SMALL.name: version, LARGE.name: ""}
    router.servicer.learn_versions((SMALL, LARGE), Split(old, tried, shadow={SMALL.name: version}, shadow_percent=20))


def shadow(router: Router, name: str = SMALL.name) -> "grpc.aio.UnaryStreamCall[Any, Any]":
    return router.stub.RouteShadow(router_service_pb2.RouteShadowRequest(model=name))


async def test_a_version_in_the_shadow_is_named_to_who_repeats_a_request_until_it_leaves(router: Router) -> None:
    shadowed(router)
    answer = await router.route(model=SMALL.name)
    assert (answer.version, answer.shadow_percent) == ("old", 20)
    assert (await router.route(model=LARGE.name)).shadow_percent == 0
    call = shadow(router)
    async with asyncio.timeout(5):
        frames = aiter(call)
        found = await anext(frames)
        assert (found.replica, found.version) == ("127.0.0.1:4", "new")
        router.servicer.learn_versions((SMALL, LARGE), Split({SMALL.name: "old", LARGE.name: ""}))
        assert [frame async for frame in frames] == []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(shadow(router)))
    assert from_rpc_error(raised.value).reason == "MODEL_UNAVAILABLE"
    assert (await router.route(model=SMALL.name)).shadow_percent == 0


async def test_what_nobody_is_shown_gives_way_to_who_waits(router: Router) -> None:
    shadowed(router)
    frames = aiter(shadow(router))
    async with asyncio.timeout(5):
        await anext(frames)
        # One of LARGE's ten places is free, but none within the share of those that waited.
        shadowed(router, large=CAPACITY - 1)
        waiting = router.stub.RouteQueued(
            router_service_pb2.RouteQueuedRequest(route=router_service_pb2.RouteRequest(model=LARGE.name))
        )
        assert (await anext(aiter(waiting))).HasField("waiting")
        assert [frame async for frame in frames] == []
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await anext(aiter(shadow(router)))
        assert from_rpc_error(raised.value).reason == "MODEL_OVERLOADED"
        waiting.cancel()


@pytest.mark.parametrize(
    ("version", "load", "name", "reason"),
    [
        ("new", CAPACITY, SMALL.name, "MODEL_OVERLOADED"),
        ("newer", 0, SMALL.name, "MODEL_UNAVAILABLE"),
        ("new", 0, LARGE.name, "MODEL_UNAVAILABLE"),
    ],
    ids=["full", "without a replica", "another model"],
)
async def test_without_room_in_the_shadow_nothing_is_repeated(
    router: Router, version: str, load: int, name: str, reason: str
) -> None:
    shadowed(router, version, load)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(shadow(router, name)))
    assert from_rpc_error(raised.value).reason == reason

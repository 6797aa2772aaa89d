"""A model of which no replica is kept: the request is held, the policy hears of it, and the request goes on."""

import asyncio
import random
from types import SimpleNamespace

import pytest

from deskmesh.inference.v1 import router_service_pb2
from serve_apps.assistant.autoscaling import Bounds, Demand, Memory, QueueDepthPolicy, decide
from serve_apps.assistant.board import Report
from serve_apps.assistant.config import AutoscalingBounds, ModelConfig
from serve_apps.assistant.engine_config import SimulatedEngineConfig
from serve_apps.assistant.errors import ModelAsleep, ModelUnavailable
from serve_apps.assistant.routing_config import RouterConfig
from serve_apps.assistant.scaling_log import ScalingLog
from serve_apps.assistant.servicers.router import RouterServicer
from serve_apps.assistant.wishes import FRESH_SECONDS, Wishes
from tests.integration.serve_apps.conftest import MemoryStore

BOUNDS = Bounds(
    min_replicas=0, max_replicas=4, target_running=4, upscale_delay_seconds=1.0, downscale_delay_seconds=10.0
)


def model(min_replicas: int) -> ModelConfig:
    return ModelConfig(
        name="simulated-rare",
        application="rare",
        context_length=1000,
        engine=SimulatedEngineConfig(kind="simulated"),
        autoscaling=AutoscalingBounds(min_replicas=min_replicas, max_replicas=4, target_running=4),
    )


def router(min_replicas: int) -> RouterServicer:
    return RouterServicer(RouterConfig(), (model(min_replicas),), random.Random(1))


REPORT = Report(
    "rare",
    "127.0.0.1:1",
    "simulated-rare",
    draining=False,
    running=0,
    waiting=0,
    kv_cache_usage=0.0,
    capacity=8,
    sequence=0,
)
ANY = router_service_pb2.RouteRequest()
CONTEXT: object = SimpleNamespace()


def test_the_last_replica_goes_when_nobody_asks() -> None:
    target, memory = decide(BOUNDS, 1, [Demand(0, 0, 0.0)], Memory(), now=0.0)
    assert target == 1
    assert decide(BOUNDS, 1, [Demand(0, 0, 0.0)], memory, now=10.0)[0] == 0
    assert decide(BOUNDS, 1, [Demand(1, 0, 0.1)], memory, now=10.0)[0] == 1


def test_held_requests_start_as_many_as_they_need_at_once() -> None:
    assert decide(BOUNDS, 0, [], Memory(), now=0.0)[0] == 0
    assert decide(BOUNDS, 0, [], Memory(), now=0.0, held=1)[0] == 1
    assert decide(BOUNDS, 0, [], Memory(), now=0.0, held=9)[0] == 3
    assert decide(BOUNDS, 0, [], Memory(), now=0.0, held=1000)[0] == 4


def test_wishes_are_summed_over_routers_and_forgotten() -> None:
    now = [1000.0]
    wishes = Wishes(MemoryStore(), clock=lambda: now[0])
    wishes.write("rare", "a:1", 2)
    wishes.write("rare", "b:1", 3)
    wishes.write("rarer", "a:1", 7)
    assert (wishes.held("rare"), wishes.held("rarer"), wishes.held("other")) == (5, 7, 0)
    now[0] += FRESH_SECONDS / 2
    wishes.write("rare", "a:1", 1)
    now[0] += FRESH_SECONDS * 0.75
    assert wishes.held("rare") == 1


def test_the_policy_wakes_a_model_and_says_why() -> None:
    log, wishes = ScalingLog(MemoryStore()), Wishes(MemoryStore())
    policy = QueueDepthPolicy("simulated-rare", 4, 0.5, 10.0, log, wishes)
    context = SimpleNamespace(
        capacity_adjusted_min_replicas=0,
        capacity_adjusted_max_replicas=4,
        policy_state={},
        aggregated_metrics={},
        target_num_replicas=0,
        current_time=1.0,
    )
    assert policy(context)[0] == 0
    wishes.write("simulated-rare", "a:1", 5)
    assert policy(context)[0] == 2
    (decision,) = log.read()
    assert (decision.from_replicas, decision.to_replicas, decision.waiting) == (0, 2, 5)
    assert decision.reason == "5 requests are held for a replica"


async def test_a_request_waits_for_the_replica_that_it_starts() -> None:
    servicer = router(0)
    frames = servicer.RouteQueued(router_service_pb2.RouteQueuedRequest(route=ANY), CONTEXT)  # type: ignore[arg-type]
    assert (await anext(frames)).waiting.place == 1
    assert servicer.wishes() == {"simulated-rare": 1}
    assert servicer.wishes() == {}
    # Each look at the board asks again, so the wish stays fresh while somebody waits.
    servicer.learn([])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert servicer.wishes() == {"simulated-rare": 1}
    servicer.learn([REPORT])
    last = await anext(frames)
    assert last.routed.replica == REPORT.replica
    # It may have been less than half a millisecond.
    assert last.routed.routing.HasField("waited")


async def test_nobody_is_woken_for_a_caller_who_has_gone() -> None:
    servicer = router(0)
    frames = servicer.RouteQueued(router_service_pb2.RouteQueuedRequest(route=ANY), CONTEXT)  # type: ignore[arg-type]
    await anext(frames)
    servicer.wishes()
    await frames.aclose()  # type: ignore[attr-defined]
    servicer.learn([])
    await asyncio.sleep(0)
    assert servicer.wishes() == {}


async def test_who_does_not_wait_is_told_and_wakes_it_all_the_same() -> None:
    servicer = router(0)
    with pytest.raises(ModelAsleep) as raised:
        await servicer.Route(ANY, CONTEXT)  # type: ignore[arg-type]
    assert (raised.value.retry_after_seconds or 0) > 1
    assert servicer.wishes() == {"simulated-rare": 1}


async def test_a_model_that_should_have_a_replica_and_has_none_is_unavailable() -> None:
    with pytest.raises(ModelUnavailable):
        await router(1).Route(ANY, CONTEXT)  # type: ignore[arg-type]

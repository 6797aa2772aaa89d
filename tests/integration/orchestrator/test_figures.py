"""What turns show of models: published for whoever judges these, with the version that answered."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
import redis.asyncio

from deskmesh.inference.v1 import router_service_pb2
from deskmesh.orchestrator.v1 import figures_pb2, turn_pb2
from services.orchestrator.app import wire
from services.orchestrator.errors import ModelUnavailable
from services.orchestrator.settings import OrchestratorSettings
from tests.integration.orchestrator.desk import Desk
from tests.integration.orchestrator.doubles import Doubles
from tests.integration.orchestrator.neighbours.inference import LARGE, MODEL
from tests.support.server import TestStack

QUESTION = "What does standard delivery cost?"
STREAM = "deskmesh:orchestrator:turn.measured"
VERSIONS = {MODEL: "v1", LARGE: "v2"}


@pytest_asyncio.fixture
async def store(desk: Desk) -> AsyncIterator[redis.asyncio.Redis]:
    desk.doubles.inference.versions = dict(VERSIONS)
    valkey = redis.asyncio.Redis.from_url(desk.service.settings.redis_url)
    yield valkey
    await valkey.aclose()


async def told(store: redis.asyncio.Redis) -> list[figures_pb2.TurnFigures]:
    """All that was published."""
    entries: Any = await store.xrange(STREAM)
    return [figures_pb2.TurnFigures.FromString(fields[b"payload"]) for _, fields in entries]


async def figures_of(store: redis.asyncio.Redis, turn: turn_pb2.Turn) -> list[figures_pb2.CallFigures]:
    """What was published of a turn, once it is."""
    async with asyncio.timeout(10):
        while True:
            if found := [one for one in await told(store) if one.turn_id == turn.id]:
                return list(found[0].calls)
            await asyncio.sleep(0.02)


def capable(desk: Desk) -> None:
    """The model may word freely."""
    free = router_service_pb2.CAPABILITY_FREE_WORDING
    desk.doubles.inference.capabilities = [router_service_pb2.CAPABILITY_CHAT, free]


async def test_every_turn_with_a_known_version_shows_how_its_model_did(desk: Desk, store: redis.asyncio.Redis) -> None:
    inference = desk.doubles.inference
    inference.versions = {}
    unknown = await desk.ask(QUESTION)
    inference.versions = dict(VERSIONS)
    ranked = await desk.ask(QUESTION)
    inference.faults.errors["Score"] = ModelUnavailable()
    failed = await desk.ask(QUESTION)
    inference.faults.errors.clear()
    capable(desk)
    inference.writes = ["Standard delivery ", "costs £3.95. "]
    founded = await desk.ask(QUESTION)
    inference.writes = ["Standard delivery costs £3.95. ", "Goodbye."]
    drifted = await desk.ask(QUESTION)

    # Told in their order: with the last one all are there.
    _, word = await figures_of(store, drifted)
    assert (word.step, word.version, word.error_reason, word.grounded) == ("word", "v1", "", False)
    score, word = await figures_of(store, founded)
    assert (score.step, word.step, word.version, word.grounded) == ("score", "word", "v1", True)
    assert word.tokens_per_second > 0
    (score,) = await figures_of(store, ranked)
    assert ranked.decision == turn_pb2.DECISION_ANSWER
    assert (score.step, score.model, score.version, score.error_reason) == ("score", MODEL, "v1", "")
    assert 0 < score.first_token.ToTimedelta().total_seconds() < 10
    assert score.grounded
    # The turn's own record says it, too.
    assert [step.versions["model"] for step in ranked.steps if step.name == "score"] == ["v1"]
    (score,) = await figures_of(store, failed)
    assert (score.version, score.error_reason) == ("v1", "MODEL_UNAVAILABLE")
    assert not score.HasField("first_token")
    assert not score.HasField("grounded")
    assert unknown.id not in {one.turn_id for one in await told(store)}


async def test_each_model_of_a_cascade_speaks_for_itself(desk: Desk, store: redis.asyncio.Redis) -> None:
    capable(desk)
    inference = desk.doubles.inference
    inference.routing.escalation.least_mean_log_probability = -1.0
    inference.writes_of = {
        MODEL: (["Standard delivery costs £9.99."], -0.1),
        LARGE: (["Standard delivery costs £3.95."], -0.1),
    }
    _, small, large = await figures_of(store, await desk.ask(QUESTION))
    assert (small.version, small.grounded) == ("v1", False)
    assert (large.version, large.grounded) == ("v2", True)


async def test_a_call_that_never_ends_counts_against_its_version(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str
) -> None:
    doubles.inference.versions = dict(VERSIONS)
    doubles.inference.faults.gates["Score"] = asyncio.Event()
    async with stack.service(
        "orchestrator", OrchestratorSettings, wire, turn_seconds=2.0, drain_seconds=0.5, **addresses
    ) as service:
        desk = Desk(service, doubles, organization_id)
        async with redis.asyncio.Redis.from_url(service.settings.redis_url) as valkey:
            (call,) = await figures_of(valkey, await desk.ask(QUESTION))
    assert (call.step, call.version, call.error_reason) == ("score", "v1", "CANCELLED")
    assert not call.HasField("grounded")

"""Turns that are repeated for a version in the shadow: told to whoever judges models, and to nobody else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio

from deskmesh.orchestrator.v1 import figures_pb2, turn_pb2
from services.common.errors import DomainError
from services.orchestrator.adapters.inference import SHADOW_PRIORITY
from services.orchestrator.errors import ModelUnavailable
from tests.integration.orchestrator.desk import Desk
from tests.integration.orchestrator.neighbours.faults import Faults
from tests.integration.orchestrator.neighbours.inference import MODEL, SHADOW_REPLICA
from tests.integration.orchestrator.test_budgets import nothing_held
from tests.integration.orchestrator.test_figures import QUESTION, capable, figures_of, told


@pytest_asyncio.fixture
async def store(desk: Desk) -> AsyncIterator[redis.asyncio.Redis]:
    desk.doubles.inference.versions = {MODEL: "v1"}
    desk.doubles.inference.shadow_percent = 100
    async with redis.asyncio.Redis.from_url(desk.service.settings.redis_url) as valkey:
        yield valkey


async def repeated(store: redis.asyncio.Redis, turn: turn_pb2.Turn) -> list[figures_pb2.CallFigures]:
    """What was published of a turn's repetition, once it is."""
    async with asyncio.timeout(10):
        while True:
            if found := [one for one in await told(store) if one.turn_id == turn.id and one.shadow_calls]:
                assert not found[0].calls
                return list(found[0].shadow_calls)
            await asyncio.sleep(0.02)


def in_shadow(desk: Desk) -> Faults:
    return desk.doubles.inference.at_replica[SHADOW_REPLICA]


async def test_what_a_turn_asked_is_asked_again_and_nobody_else_hears_of_it(
    desk: Desk, store: redis.asyncio.Redis
) -> None:
    inference, usage = desk.doubles.inference, desk.doubles.usage
    capable(desk)
    inference.writes = ["Standard delivery ", "costs £3.95. "]
    turn = await desk.ask(QUESTION)
    score, word = await repeated(store, turn)
    assert (score.step, score.model, score.version, score.grounded) == ("score", MODEL, "v-shadow", True)
    assert (word.step, word.model, word.version, word.grounded) == ("word", MODEL, "v-shadow", True)
    assert score.first_token.ToMicroseconds() > 0
    assert (word.prompt_tokens, word.completion_tokens) == (100, 2)
    assert score.prompt_tokens == turn.usage.prompt_tokens - 100
    assert inference.prompts[0] == inference.prompts[1]
    assert inference.priorities == [0, 0, SHADOW_PRIORITY, SHADOW_PRIORITY]

    again = await desk.get(turn.id)
    assert again == turn
    assert [step.versions["model"] for step in turn.steps if step.name in ("score", "word")] == ["v1", "v1"]
    assert desk.kinds(turn.id).count("message_added") == 2
    assert "".join(event.answer_delta.text for event in desk.conversation.events) == turn.answer
    await nothing_held(desk)
    assert sum(entry.prompt_tokens for entry in usage.entries.values()) == turn.usage.prompt_tokens
    assert {entry.step for entry in usage.entries.values()} == {"score", "word"}
    assert len(usage.entries) == 2

    inference.shadow_percent = 0
    await desk.ask(QUESTION)
    assert inference.shadows == 2


@pytest.mark.parametrize(
    ("method", "error", "reason"),
    [
        # Another replica would be of the version that serves.
        ("Chat", ModelUnavailable(), "MODEL_UNAVAILABLE"),
        ("Score", RuntimeError("the template is broken"), "INTERNAL"),
    ],
    ids=["its engine dies", "it breaks"],
)
async def test_a_version_that_fails_in_the_shadow_fails_nobodys_turn(
    desk: Desk, store: redis.asyncio.Redis, method: str, error: DomainError, reason: str
) -> None:
    capable(desk)
    desk.doubles.inference.writes = ["Standard delivery costs £3.95. "]
    in_shadow(desk).errors[method] = error
    turn = await desk.ask(QUESTION)
    (failed,) = [one for one in await repeated(store, turn) if one.error_reason]
    assert (failed.step, failed.version) == ("score" if method == "Score" else "word", "v-shadow")
    assert (failed.error_reason, failed.HasField("grounded")) == (reason, False)
    assert not [one for one in desk.doubles.inference.routed if one.avoid_replicas]
    assert (turn.state, turn.decision) == (turn_pb2.TURN_STATE_FINISHED, turn_pb2.DECISION_ANSWER)
    assert [one.error_reason for one in turn.steps] == [""] * len(turn.steps)


async def test_a_version_that_hangs_in_the_shadow_delays_nobody_and_is_left_at_once(
    desk: Desk, store: redis.asyncio.Redis
) -> None:
    inference, faults = desk.doubles.inference, in_shadow(desk)
    faults.gates["Score"] = asyncio.Event()
    turns = [await desk.ask(QUESTION)]
    await asyncio.wait_for(faults.entered["Score"].wait(), 10)
    # One at a time: what comes meanwhile is answered, and not repeated.
    turns.append(await desk.ask(QUESTION))
    assert inference.shadows == 1
    inference.shadow_left.set()
    await asyncio.wait_for(faults.cancelled["Score"].wait(), 10)
    # Nor is it begun again, whatever a lease still says.
    faults.gates.clear()
    turns.append(await desk.ask(QUESTION))
    await asyncio.wait_for(inference.faults.entered["RouteShadow"].wait(), 10)
    assert [turn.decision for turn in turns] == [turn_pb2.DECISION_ANSWER] * 3
    # Told after all that was told before it.
    await figures_of(store, turns[2])
    ids = {turn.id for turn in turns}
    assert not [one for one in await told(store) if one.turn_id in ids and one.shadow_calls]


async def test_what_nobody_waits_for_gives_way_to_turns(desk: Desk, store: redis.asyncio.Redis) -> None:
    faults = in_shadow(desk)
    faults.gates["Score"] = asyncio.Event()
    await desk.ask(QUESTION)
    await asyncio.wait_for(faults.entered["Score"].wait(), 10)
    gate = desk.doubles.knowledge.faults.gates["Search"] = asyncio.Event()
    others = [Desk(desk.service, desk.doubles, desk.organization_id) for _ in range(3)]
    sent = [(await other.send(QUESTION)).turn.id for other in others]
    # More than half of its four places are taken.
    await asyncio.wait_for(faults.cancelled["Score"].wait(), 10)
    gate.set()
    for other, turn_id in zip(others, sent, strict=True):
        assert (await other.ended(turn_id)).decision == turn_pb2.DECISION_ANSWER

"""Models that may word answers freely: what they say is checked sentence by sentence."""

import asyncio

import pytest

from deskmesh.inference.v1 import router_service_pb2
from deskmesh.orchestrator.v1 import turn_pb2
from services.orchestrator.errors import ModelUnavailable
from tests.integration.orchestrator.desk import Desk
from tests.integration.orchestrator.neighbours.inference import LARGE, MODEL, REPLICA, SECOND_REPLICA

QUESTION = "What does standard delivery cost?"


@pytest.fixture(autouse=True)
def capable(desk: Desk) -> None:
    """The model may word freely."""
    desk.doubles.inference.capabilities = [
        router_service_pb2.CAPABILITY_CHAT,
        router_service_pb2.CAPABILITY_FREE_WORDING,
    ]


async def test_grounded_sentences_go_out_as_they_are_written(desk: Desk) -> None:
    desk.doubles.inference.writes = [
        "Standard delivery ",
        "costs £3.95. ",
        "Orders worth £60 travel free",
        " of charge.",
    ]
    turn = await desk.ask(QUESTION)
    assert turn.answer == "Standard delivery costs £3.95. Orders worth £60 travel free of charge. [1]"
    assert desk.kinds(turn.id).count("answer_delta") == 3
    assert turn.usage.completion_tokens == 4
    assert len(turn.citations) == 1
    assert QUESTION in desk.doubles.inference.prompts[0]


async def test_a_drifting_sentence_is_replaced_by_a_quotation(desk: Desk) -> None:
    desk.doubles.inference.writes = ["Standard delivery costs £9.99 per order. ", "It takes 24 hours."]
    turn = await desk.ask(QUESTION)
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    assert "9.99" not in turn.answer
    assert "24 hours" not in turn.answer
    assert "Standard delivery costs £3.95 per order. [1]" in turn.answer
    (step,) = [step for step in turn.steps if step.name == "word"]
    assert step.details["drifted"] == "true"


async def test_the_router_is_told_what_it_can_use(desk: Desk) -> None:
    desk.doubles.inference.writes = ["Standard delivery costs £3.95."]
    await desk.ask(QUESTION)
    room, ranking, wording = desk.doubles.inference.routed
    assert room.tenant == ""
    score, free = router_service_pb2.CAPABILITY_SCORE, router_service_pb2.CAPABILITY_FREE_WORDING
    for asked, ability in ((ranking, score), (wording, free)):
        assert ability in asked.capabilities
        assert (asked.tenant, asked.affinity_key) == (desk.organization_id, desk.conversation_id)
        assert asked.prompt_tokens > 0
        assert 0 < asked.within.ToMilliseconds() <= 60_000
        assert not asked.HasField("max_cost")
    assert (ranking.completion_tokens, wording.completion_tokens) == (1, 200)
    assert not ranking.prefix_blocks
    await desk.ask(QUESTION)
    again = desk.doubles.inference.routed[-1]
    assert len(wording.prefix_blocks) > 1
    assert again.prefix_blocks == wording.prefix_blocks


async def test_without_a_model_that_words_freely_the_sentences_are_quoted(desk: Desk) -> None:
    desk.doubles.inference.capabilities = [router_service_pb2.CAPABILITY_CHAT]
    turn = await desk.ask(QUESTION)
    assert "Standard delivery costs £3.95 per order. [1]" in turn.answer
    (step,) = [step for step in turn.steps if step.name == "route_wording"]
    assert (step.details["reason"], step.error_reason) == ("no model fits", "")
    assert not desk.doubles.inference.prompts


UNFOUNDED = ["Standard delivery costs £9.99 per order."]
FOUNDED = ["Standard delivery costs £3.95."]


@pytest.mark.parametrize("small", [(UNFOUNDED, -0.1), (FOUNDED, -2.5)], ids=["unfounded", "a guess"])
async def test_what_the_small_model_cannot_say_the_larger_one_is_asked(
    desk: Desk, small: tuple[list[str], float]
) -> None:
    inference = desk.doubles.inference
    inference.routing.escalation.least_mean_log_probability = -1.0
    inference.writes_of = {MODEL: small, LARGE: (FOUNDED, -0.1)}
    turn = await desk.ask(QUESTION)
    assert turn.answer == "Standard delivery costs £3.95. [1]"
    first, second = [step for step in turn.steps if step.name == "word"]
    assert (first.model, first.details["drifted"], first.details["sentences"]) == (MODEL, "true", "0")
    assert (second.model, second.details["drifted"]) == (LARGE, "false")
    assert first.details["likelihood"] == f"{small[1]:.3f}"
    assert inference.routed[-1].escalate_from == MODEL
    assert turn.model == LARGE
    assert turn.usage.completion_tokens == 2


async def test_where_no_model_can_say_it_the_passages_are_quoted(desk: Desk) -> None:
    inference = desk.doubles.inference
    inference.routing.escalation.least_mean_log_probability = -1.0
    inference.writes = UNFOUNDED
    turn = await desk.ask(QUESTION)
    assert "Standard delivery costs £3.95 per order. [1]" in turn.answer
    assert [step.model for step in turn.steps if step.name == "word"] == [MODEL, LARGE]


async def test_what_is_slow_to_begin_is_asked_of_a_second_replica(desk: Desk) -> None:
    inference = desk.doubles.inference
    inference.routing.hedge_after.FromMilliseconds(50)
    inference.writes = FOUNDED
    slow = inference.at_replica[REPLICA]
    slow.gates["Chat"] = asyncio.Event()
    turn = await desk.ask(QUESTION)
    assert turn.answer == "Standard delivery costs £3.95. [1]"
    (step,) = [step for step in turn.steps if step.name == "word"]
    assert step.details["replica"] == SECOND_REPLICA
    assert inference.routed[-1].hedge_of == REPLICA
    # The one that lost is ended, and its place free.
    await asyncio.wait_for(slow.cancelled["Chat"].wait(), 5)


async def test_a_replica_that_fails_before_the_first_word_is_made_up_for(desk: Desk) -> None:
    inference = desk.doubles.inference
    inference.writes = FOUNDED
    inference.at_replica[REPLICA].errors["Chat"] = ModelUnavailable()
    turn = await desk.ask(QUESTION)
    assert turn.answer == "Standard delivery costs £3.95. [1]"
    assert list(inference.routed[-1].avoid_replicas) == [REPLICA]
    inference.at_replica[SECOND_REPLICA].errors["Chat"] = ModelUnavailable()
    assert "Standard delivery costs £3.95 per order. [1]" in (await desk.ask(QUESTION)).answer

"""Models that may word answers freely: what they say is checked sentence by sentence."""

import pytest

from deskmesh.inference.v1 import router_service_pb2
from deskmesh.orchestrator.v1 import turn_pb2
from tests.integration.orchestrator.desk import Desk

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
    assert turn.answer == "Standard delivery costs £3.95. [1] Orders worth £60 travel free of charge. [1]"
    assert desk.kinds(turn.id).count("answer_delta") == 2
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

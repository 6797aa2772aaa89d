"""A question, from the message to the stored answer."""

from deskmesh.orchestrator.v1 import turn_pb2
from tests.integration.orchestrator.desk import Desk


async def test_an_answer_quotes_and_cites_the_help_centre(desk: Desk) -> None:
    turn = await desk.ask("What does standard delivery cost?")
    assert turn.state == turn_pb2.TURN_STATE_FINISHED, turn
    assert turn.decision == turn_pb2.DECISION_ANSWER
    assert "Standard delivery costs £3.95 per order. [1]" in turn.answer
    assert [citation.heading for citation in turn.citations] == ["Cost"]
    assert turn.model == "double"
    assert turn.usage.prompt_tokens > 0
    assert 0 < turn.first_token.ToTimedelta().total_seconds() <= turn.total.ToTimedelta().total_seconds()
    assert {"context", "retrieve", "classify", "decide", "route", "rank", "score", "word"} <= {
        step.name for step in turn.steps
    }
    assert desk.doubles.inference.headers[0]["x-deskmesh-replica"] == "127.0.0.1:40502"


async def test_the_conversation_is_told_in_order(desk: Desk) -> None:
    turn = await desk.ask("How long can items be returned?")
    assert desk.kinds(turn.id) == [
        "message_added",
        "turn_started",
        "answer_delta",
        "citation_added",
        "message_added",
        "turn_finished",
    ]
    pieces = "".join(event.answer_delta.text for event in desk.conversation.events if event.HasField("answer_delta"))
    assert pieces == turn.answer == desk.conversation.messages[-1].text


async def test_what_is_only_near_is_quoted_and_said_to_be_no_more(desk: Desk) -> None:
    turn = await desk.ask("standard delivery kite")
    assert turn.decision == turn_pb2.DECISION_CLARIFY
    assert turn.answer.startswith("I'm not sure that this answers you.")
    assert "[1]" in turn.answer
    assert turn.answer.endswith("a person will answer you.")
    assert len(turn.citations) == 1
    pieces = "".join(event.answer_delta.text for event in desk.conversation.events if event.HasField("answer_delta"))
    assert pieces == turn.answer


async def test_the_record_says_that_a_turn_waited_for_its_model(desk: Desk) -> None:
    desk.doubles.inference.place = 3
    turn = await desk.ask("What does standard delivery cost?")
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    (step,) = [step for step in turn.steps if step.name == "route"]
    assert step.details["waited"] == "0.250 s from place 3"

"""RunTurn: the same work with its events on the call."""

import grpc

from deskmesh.orchestrator.v1 import turn_pb2
from services.common.ids import new_id
from services.orchestrator.errors import ModelOverloaded
from tests.integration.orchestrator.desk import Desk
from tests.support.server import refused


async def test_frames_from_start_to_end(desk: Desk) -> None:
    frames = [frame async for frame in desk.run("What does standard delivery cost?")]
    kinds = [frame.WhichOneof("frame") for frame in frames]
    assert kinds == ["started", "delta", "citation", "finished"]
    turn = frames[-1].finished.turn
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    assert "".join(frame.delta.text for frame in frames) == turn.answer
    assert frames[2].citation.number == 1
    assert frames[2].citation.citation == turn.citations[0]
    assert frames[0].started.turn_id == turn.id


async def test_a_repeat_joins_from_the_start(desk: Desk) -> None:
    request_id = new_id("req")
    first = [frame async for frame in desk.run("How long can items be returned?", request_id)]
    again = [frame async for frame in desk.run("How long can items be returned?", request_id)]
    assert again == first
    assert len(desk.conversation.messages) == 2


async def test_a_broken_call_does_not_end_the_turn(desk: Desk) -> None:
    call = desk.run("How long can items be returned?")
    async for frame in call:
        turn_id = frame.started.turn_id
        break
    call.cancel()
    turn = await desk.ended(turn_id)
    assert turn.state == turn_pb2.TURN_STATE_FINISHED


async def test_a_failure_is_the_calls_own(desk: Desk) -> None:
    desk.doubles.inference.faults.errors["Route"] = ModelOverloaded(retry_after_seconds=7)
    async with refused() as refusal:
        async for _ in desk.run("What does standard delivery cost?"):
            pass
    assert refusal.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.error.reason == "MODEL_OVERLOADED"
    assert refusal.error.retry_after_seconds == 7

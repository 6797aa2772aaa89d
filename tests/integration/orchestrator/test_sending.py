"""SendMessage: what is recorded, once, and what is refused."""

import asyncio

import grpc
import pytest

from deskmesh.orchestrator.v1 import orchestrator_service_pb2 as pb
from deskmesh.orchestrator.v1 import turn_pb2
from deskmesh.sessions.v1 import conversation_pb2, message_pb2
from services.common.errors import Unavailable
from services.common.ids import new_id
from tests.integration.orchestrator.desk import Desk
from tests.support.server import refused


async def test_a_repeated_request_has_one_effect(desk: Desk) -> None:
    request_id = new_id("req")
    first = await desk.send("What does standard delivery cost?", request_id)
    await desk.ended(first.turn.id)
    again = await desk.send("What does standard delivery cost?", request_id)
    assert again.turn.id == first.turn.id
    assert again.message.id == first.message.id
    assert [message.author for message in desk.conversation.messages] == [
        message_pb2.AUTHOR_CUSTOMER,
        message_pb2.AUTHOR_ASSISTANT,
    ]


async def test_racing_repeats_have_one_effect(desk: Desk) -> None:
    request_id = new_id("req")
    sent = await asyncio.gather(*(desk.send("How long can items be returned?", request_id) for _ in range(5)))
    assert len({response.turn.id for response in sent}) == 1
    await desk.ended(sent[0].turn.id)
    assert len(desk.conversation.messages) == 2


async def test_a_request_id_with_other_content_is_refused(desk: Desk) -> None:
    request_id = new_id("req")
    await desk.ask("Hello", request_id=request_id)
    async with refused() as refusal:
        await desk.send("Goodbye", request_id)
    assert refusal.error.reason == "REQUEST_ID_REUSED"


async def test_a_lost_commit_leaves_one_message_when_repeated(desk: Desk) -> None:
    request_id = new_id("req")
    desk.doubles.sessions.faults.errors["AppendMessage"] = Unavailable()
    async with refused() as refusal:
        await desk.send("Hello", request_id)
    assert refusal.error.code is grpc.StatusCode.UNAVAILABLE
    del desk.doubles.sessions.faults.errors["AppendMessage"]
    turn = await desk.ask("Hello", request_id=request_id)
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    assert len(desk.conversation.messages) == 2


async def test_one_turn_a_conversation_at_a_time(desk: Desk) -> None:
    gate = desk.doubles.inference.faults.gates["Score"] = asyncio.Event()
    first = await desk.send("What does standard delivery cost?")
    async with refused() as refusal:
        await desk.send("And express?")
    assert refusal.error.reason == "TURN_IN_PROGRESS"
    assert refusal.error.code is grpc.StatusCode.FAILED_PRECONDITION
    assert len(desk.conversation.messages) == 1
    gate.set()
    await desk.ended(first.turn.id)
    assert (await desk.ask("Hello")).state == turn_pb2.TURN_STATE_FINISHED


async def test_a_person_answers_without_a_turn(desk: Desk) -> None:
    desk.conversation.proto.responder = conversation_pb2.RESPONDER_HUMAN
    request_id = new_id("req")
    for _ in range(2):
        sent = await desk.send("Are you there?", request_id)
        assert not sent.HasField("turn")
    assert [message.text for message in desk.conversation.messages] == ["Are you there?"]
    frames = [frame async for frame in desk.run("Still there?")]
    assert [frame.WhichOneof("frame") for frame in frames] == ["started", "finished"]
    assert not frames[-1].finished.HasField("turn")


async def test_conversations_that_cannot_be_written(desk: Desk) -> None:
    desk.conversation.proto.state = conversation_pb2.CONVERSATION_STATE_CLOSED
    async with refused() as refusal:
        await desk.send("Hello")
    assert refusal.error.reason == "CONVERSATION_CLOSED"
    desk.conversation.proto.state = conversation_pb2.CONVERSATION_STATE_OPEN
    # Staff may read it, but cannot speak for its customer.
    desk.conversation.proto.customer_id = new_id("usr")
    async with refused() as refusal:
        await desk.send("Hello")
    assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [field for field, _ in refusal.error.violations] == ["conversation_id"]
    assert desk.conversation.messages == []
    desk.conversation_id = "cnv_of_nobody"
    async with refused() as refusal:
        await desk.send("Hello")
    assert refusal.error.reason == "CONVERSATION_NOT_FOUND"
    assert refusal.error.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(("text", "field"), [("", "text"), (" \n\t ", "text"), ("x" * 32769, "text")])
async def test_text_that_is_not_a_message(desk: Desk, text: str, field: str) -> None:
    async with refused() as refusal:
        await desk.send(text)
    assert refusal.error.reason == "INVALID_FIELD"
    assert field in {name for name, _ in refusal.error.violations}
    assert desk.conversation.messages == []


async def test_a_reply_needs_its_proposal(desk: Desk) -> None:
    async with refused() as refusal:
        await desk.send("yes", reply=pb.ProposalReply(proposal_id="prp_none", accepted=True))
    assert refusal.error.reason == "PROPOSAL_NOT_FOUND"
    assert desk.conversation.messages == []


async def test_turns_of_others_are_not_found(desk: Desk, organization_id: str) -> None:
    turn = await desk.ask("Hello")
    own = desk.person
    for person in (
        desk.service.person(organization_id, new_id("usr"), "customer"),
        desk.service.person(new_id("org"), desk.user_id, "customer", "agent"),
    ):
        desk.person = person
        async with refused() as refusal:
            await desk.get(turn.id)
        assert refusal.error.reason == "TURN_NOT_FOUND"
        async with refused() as refusal:
            await desk.stub.CancelTurn(pb.CancelTurnRequest(turn_id=turn.id), metadata=person)
        assert refusal.error.reason == "TURN_NOT_FOUND"
    desk.person = own
    desk.person = desk.service.person(organization_id, new_id("usr"), "agent")
    assert (await desk.get(turn.id)).id == turn.id

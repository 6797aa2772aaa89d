"""What happens when parts fail: typed ends, degraded answers, take-over, cancellation."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import sqlalchemy as sa

from deskmesh.inference.v1 import router_service_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2 as pb
from deskmesh.orchestrator.v1 import turn_pb2
from services.common.errors import Unavailable
from services.common.ids import new_id
from services.orchestrator.app import wire
from services.orchestrator.errors import ModelOverloaded, ModelUnavailable
from services.orchestrator.settings import OrchestratorSettings
from tests.integration.orchestrator.desk import Desk
from tests.integration.orchestrator.doubles import Doubles
from tests.support.server import TestStack, refused

QUESTION = "What does standard delivery cost?"


async def test_a_busy_model_fails_the_turn_retryably(desk: Desk) -> None:
    desk.doubles.inference.faults.errors["Score"] = ModelOverloaded(retry_after_seconds=5)
    turn = await desk.ask(QUESTION)
    assert turn.state == turn_pb2.TURN_STATE_FAILED
    assert turn.error_reason == "MODEL_OVERLOADED"
    await desk.told(turn.id, "turn_failed")
    failed = desk.conversation.events[-1].turn_failed
    assert (failed.reason, failed.retryable, failed.retry_after_seconds) == ("MODEL_OVERLOADED", True, 5)
    del desk.doubles.inference.faults.errors["Score"]
    assert (await desk.ask(QUESTION)).state == turn_pb2.TURN_STATE_FINISHED


async def test_a_full_model_refuses_a_question_before_it_is_recorded(desk: Desk) -> None:
    desk.doubles.inference.faults.errors["Route"] = ModelOverloaded(retry_after_seconds=5)
    request_id = new_id("req")
    async with refused() as refusal:
        await desk.send(QUESTION, request_id)
    assert refusal.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (refusal.error.reason, refusal.error.retry_after_seconds) == ("MODEL_OVERLOADED", 5)
    async with refused() as refusal:
        async for _ in desk.run(QUESTION):
            pass
    assert refusal.error.reason == "MODEL_OVERLOADED"
    assert desk.conversation.messages == []
    del desk.doubles.inference.faults.errors["Route"]
    sent = await desk.send(QUESTION, request_id)
    assert (await desk.ended(sent.turn.id)).state == turn_pb2.TURN_STATE_FINISHED
    desk.doubles.inference.faults.errors["Route"] = ModelOverloaded()
    assert (await desk.send(QUESTION, request_id)).turn.id == sent.turn.id, "a repeat asks for nothing new"


async def test_a_full_model_keeps_nobody_from_a_person_or_a_ticket(desk: Desk) -> None:
    desk.doubles.inference.faults.errors["Route"] = ModelOverloaded()
    offered = await desk.ask("Please open a ticket about my broken tent pole")
    assert offered.decision == turn_pb2.DECISION_TICKET
    assert (await desk.ask("Yes, please.")).ticket_id
    assert (await desk.ask("I want to talk to a human")).decision == turn_pb2.DECISION_HANDOFF


async def test_a_router_that_says_nothing_does_not_hold_a_message_up(desk: Desk) -> None:
    desk.doubles.inference.faults.gates["Route"] = gate = asyncio.Event()
    sent = await asyncio.wait_for(desk.send(QUESTION), 3)
    gate.set()
    assert (await desk.ended(sent.turn.id)).state == turn_pb2.TURN_STATE_FINISHED


async def test_without_a_model_the_help_centre_is_still_quoted(desk: Desk) -> None:
    desk.doubles.inference.faults.errors["Route"] = ModelUnavailable()
    turn = await desk.ask(QUESTION)
    assert turn.decision == turn_pb2.DECISION_ANSWER
    assert "£3.95" in turn.answer
    assert turn.model == ""
    (step,) = [step for step in turn.steps if step.name == "route"]
    assert step.error_reason == "MODEL_UNAVAILABLE"


async def test_a_model_that_fails_while_scoring_is_done_without(desk: Desk) -> None:
    desk.doubles.inference.faults.errors["Score"] = ModelUnavailable()
    turn = await desk.ask(QUESTION)
    assert "£3.95" in turn.answer
    assert turn.usage.prompt_tokens == 0


async def test_without_the_embedder_the_turn_fails_retryably(desk: Desk) -> None:
    desk.doubles.inference.faults.errors["Embed"] = Unavailable()
    turn = await desk.ask(QUESTION)
    assert turn.state == turn_pb2.TURN_STATE_FAILED
    assert turn.error_reason == "DEPENDENCY_UNAVAILABLE"
    await desk.told(turn.id, "turn_failed")
    assert desk.conversation.events[-1].turn_failed.retryable


async def test_a_person_is_reached_without_the_help_centre(desk: Desk) -> None:
    desk.doubles.knowledge.faults.errors["Search"] = Unavailable()
    turn = await desk.ask("I want to talk to a human")
    assert turn.decision == turn_pb2.DECISION_HANDOFF
    assert (await desk.ended(turn.id)).state == turn_pb2.TURN_STATE_FINISHED


async def test_sessions_that_come_back_lose_nothing(desk: Desk) -> None:
    desk.doubles.sessions.faults.errors["AppendEvents"] = Unavailable()
    sent = await desk.send(QUESTION)
    await asyncio.sleep(0.5)
    del desk.doubles.sessions.faults.errors["AppendEvents"]
    turn = await desk.ended(sent.turn.id)
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    assert desk.kinds(turn.id)[-1] == "turn_finished"


async def test_cancelling_frees_the_engine_at_once(desk: Desk) -> None:
    faults = desk.doubles.inference.faults
    faults.gates["Score"] = asyncio.Event()
    sent = await desk.send(QUESTION)
    await asyncio.wait_for(faults.entered["Score"].wait(), 10)
    cancelled = (await desk.stub.CancelTurn(pb.CancelTurnRequest(turn_id=sent.turn.id), metadata=desk.person)).turn
    assert cancelled.state == turn_pb2.TURN_STATE_CANCELLED
    assert cancelled.error_reason == "TURN_CANCELLED"
    await asyncio.wait_for(faults.cancelled["Score"].wait(), 5)
    await desk.told(sent.turn.id, "turn_failed")
    assert desk.conversation.events[-1].turn_failed.reason == "TURN_CANCELLED"
    faults.gates.clear()
    assert (await desk.ask("Hello")).state == turn_pb2.TURN_STATE_FINISHED
    again = (await desk.stub.CancelTurn(pb.CancelTurnRequest(turn_id=sent.turn.id), metadata=desk.person)).turn
    assert again.state == turn_pb2.TURN_STATE_CANCELLED


async def test_an_ended_turn_cannot_be_cancelled(desk: Desk) -> None:
    turn = await desk.ask(QUESTION)
    after = (await desk.stub.CancelTurn(pb.CancelTurnRequest(turn_id=turn.id), metadata=desk.person)).turn
    assert after == turn


async def test_a_turn_ends_by_its_deadline(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str
) -> None:
    doubles.knowledge.faults.gates["Search"] = asyncio.Event()
    async with stack.service(
        "orchestrator", OrchestratorSettings, wire, turn_seconds=1.0, drain_seconds=0.5, **addresses
    ) as service:
        desk = Desk(service, doubles, organization_id)
        turn = await desk.ask(QUESTION)
    assert turn.state == turn_pb2.TURN_STATE_FAILED
    assert turn.error_reason == "DEADLINE_EXCEEDED"


async def test_the_queue_is_bounded(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str
) -> None:
    gate = doubles.inference.faults.gates["Score"] = asyncio.Event()
    limits = {"concurrent_turns": 1, "maximum_waiting_turns": 1, "drain_seconds": 0.5}
    async with stack.service("orchestrator", OrchestratorSettings, wire, **limits, **addresses) as service:
        desks = [Desk(service, doubles, organization_id) for _ in range(3)]
        running = await desks[0].send(QUESTION)
        await asyncio.wait_for(doubles.inference.faults.entered["Score"].wait(), 10)
        waiting = await desks[1].send(QUESTION)
        async with refused() as refusal:
            await desks[2].send(QUESTION)
        assert refusal.error.reason == "MODEL_OVERLOADED"
        assert refusal.error.retry_after_seconds
        assert desks[2].conversation.messages == []
        gate.set()
        for desk, sent in ((desks[0], running), (desks[1], waiting)):
            assert (await desk.ended(sent.turn.id)).state == turn_pb2.TURN_STATE_FINISHED


async def test_another_process_takes_a_dead_workers_turn_up(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str
) -> None:
    settings = {"lease_seconds": 1.0, "drain_seconds": 0.2, **addresses}
    doubles.inference.faults.gates["Score"] = asyncio.Event()
    async with stack.service("orchestrator", OrchestratorSettings, wire, **settings) as dying:
        desk = Desk(dying, doubles, organization_id)
        sent = await desk.send(QUESTION)
        await asyncio.wait_for(doubles.inference.faults.entered["Score"].wait(), 10)
    # The process is gone in the middle of the turn, which it neither ended nor gave back.
    doubles.inference.faults.gates.clear()
    async with stack.service("orchestrator", OrchestratorSettings, wire, **settings) as service:
        heir = Desk(service, doubles, organization_id)
        heir.person, heir.conversation_id, heir.conversation = desk.person, desk.conversation_id, desk.conversation
        turn = await heir.ended(sent.turn.id)
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    assert [message.text for message in heir.conversation.messages] == [QUESTION, turn.answer]
    kinds = heir.kinds(turn.id)
    assert kinds.count("turn_finished") == 1
    assert kinds.count("answer_delta") == 1


async def test_a_dead_workers_half_told_answer_ends_as_lost(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str
) -> None:
    settings = {"lease_seconds": 1.0, "drain_seconds": 0.2, **addresses}
    free = router_service_pb2.CAPABILITY_FREE_WORDING
    doubles.inference.capabilities = [router_service_pb2.CAPABILITY_CHAT, free]
    doubles.inference.writes = ["Standard delivery costs £3.95 per order. ", "Orders worth £60 or more travel free."]
    async with stack.service("orchestrator", OrchestratorSettings, wire, **settings) as dying:
        desk = Desk(dying, doubles, organization_id)
        doubles.inference.faults.gates["ChatDelta"] = gate = asyncio.Event()
        sent = await desk.send(QUESTION)
        await asyncio.wait_for(doubles.inference.faults.entered["ChatDelta"].wait(), 10)
        await asyncio.sleep(0.1)
    gate.set()
    async with stack.service("orchestrator", OrchestratorSettings, wire, **settings) as service:
        heir = Desk(service, doubles, organization_id)
        heir.person, heir.conversation_id, heir.conversation = desk.person, desk.conversation_id, desk.conversation
        turn = await heir.ended(sent.turn.id)
        await heir.told(turn.id, "turn_failed")
    assert turn.state == turn_pb2.TURN_STATE_FAILED
    assert turn.error_reason == "TURN_LOST"


async def test_a_concluded_turn_is_only_told_again(
    stack: TestStack, doubles: Doubles, addresses: dict[str, str], organization_id: str
) -> None:
    settings = {"lease_seconds": 1.0, "drain_seconds": 0.2, **addresses}
    async with stack.service("orchestrator", OrchestratorSettings, wire, **settings) as service:
        desk = Desk(service, doubles, organization_id)
        turn = await desk.ask("Please open a ticket about my broken tent pole")
        # As if the worker had died between telling and storing the end.
        engine = sa.create_engine(sa.make_url(stack.postgres.admin_url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            connection.execute(sa.text("delete from orchestrator.turn_steps where turn_id = :id"), {"id": turn.id})
            connection.execute(
                sa.text("update orchestrator.turns set state = 'running', lease_until = :past where id = :id"),
                {"id": turn.id, "past": datetime.now(UTC) - timedelta(seconds=5)},
            )
        engine.dispose()
        again = await desk.ended(turn.id)
    assert again.state == turn_pb2.TURN_STATE_FINISHED
    assert again.answer == turn.answer
    assert desk.kinds(turn.id).count("turn_finished") == 1
    assert len(desk.conversation.messages) == 2

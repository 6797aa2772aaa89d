"""With the real sessions and tickets services: what the doubles assume of them holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio

from deskmesh.orchestrator.v1 import orchestrator_service_pb2 as pb
from deskmesh.orchestrator.v1 import orchestrator_service_pb2_grpc, turn_pb2
from deskmesh.sessions.v1 import conversation_pb2, conversation_service_pb2, conversation_service_pb2_grpc
from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2, ticket_service_pb2_grpc
from services.common.ids import new_id
from services.common.settings import ServiceSettings
from services.orchestrator.app import wire as wire_orchestrator
from services.orchestrator.settings import OrchestratorSettings
from services.sessions.app import wire as wire_sessions
from services.sessions.settings import SessionsSettings
from services.tickets.app import wire as wire_tickets
from services.tickets.settings import TicketsSettings
from tests.integration.orchestrator.doubles import Doubles
from tests.integration.orchestrator.neighbours.inference import InferenceDouble
from tests.support.server import TestStack

# Nobody listens there; only assigning tickets asks for agents.
NOWHERE = "127.0.0.1:9"


class Neighbourhood:
    """A customer of real sessions, tickets and orchestrator services."""

    def __init__(
        self, sessions: Any, tickets: Any, orchestrator: Any, inference: InferenceDouble, organization_id: str
    ) -> None:
        self.inference = inference
        self.person = orchestrator.person(organization_id, new_id("usr"), "customer")
        self.sessions = conversation_service_pb2_grpc.ConversationServiceStub(sessions.channel("edge"))
        self.tickets = ticket_service_pb2_grpc.TicketServiceStub(tickets.channel("edge"))
        self.orchestrator = orchestrator_service_pb2_grpc.OrchestratorServiceStub(orchestrator.channel("edge"))

    async def start(self) -> str:
        """Begin a conversation."""
        request = conversation_service_pb2.CreateConversationRequest(request_id=new_id("req"))
        return str((await self.sessions.CreateConversation(request, metadata=self.person)).conversation.id)

    async def run(self, conversation_id: str, text: str) -> turn_pb2.Turn:
        """RunTurn to its end."""
        request = pb.RunTurnRequest(request_id=new_id("req"), conversation_id=conversation_id, text=text)
        async for frame in self.orchestrator.RunTurn(request, metadata=self.person):
            if frame.HasField("finished"):
                turn: turn_pb2.Turn = frame.finished.turn
                return turn
        raise AssertionError("the turn did not finish")

    async def conversation(self, conversation_id: str) -> conversation_pb2.Conversation:
        """Read it."""
        request = conversation_service_pb2.GetConversationRequest(conversation_id=conversation_id)
        found: conversation_pb2.Conversation = (
            await self.sessions.GetConversation(request, metadata=self.person)
        ).conversation
        return found

    async def my_tickets(self) -> list[ticket_pb2.Ticket]:
        """The customer's tickets."""
        listed = await self.tickets.ListTickets(ticket_service_pb2.ListTicketsRequest(), metadata=self.person)
        return list(listed.tickets)


@pytest_asyncio.fixture
async def neighbourhood(stack: TestStack, doubles: Doubles, organization_id: str) -> AsyncIterator[Neighbourhood]:
    async with AsyncExitStack() as running:

        async def serve(name: str, kind: Any, wire: Any, **settings: Any) -> Any:
            return await running.enter_async_context(stack.service(name, kind, wire, drain_seconds=0.2, **settings))

        inference = await serve("inference", ServiceSettings, doubles.wire_inference)
        knowledge = await serve("knowledge", ServiceSettings, doubles.wire_knowledge)
        sessions = await serve("sessions", SessionsSettings, wire_sessions, inference_address=inference.address)
        tickets = await serve(
            "tickets",
            TicketsSettings,
            wire_tickets,
            sessions_address=sessions.address,
            auth_address=NOWHERE,
            due_hours_normal=0.5,
            # It must not close what other tests solved by a clock of their own.
            close_solved_days=36_500,
        )
        usage = await serve("usage", ServiceSettings, doubles.wire_usage)
        orchestrator = await serve(
            "orchestrator",
            OrchestratorSettings,
            wire_orchestrator,
            sessions_address=sessions.address,
            tickets_address=tickets.address,
            knowledge_address=knowledge.address,
            inference_address=inference.address,
            usage_address=usage.address,
        )
        yield Neighbourhood(sessions, tickets, orchestrator, doubles.inference, organization_id)


async def test_a_whole_conversation(neighbourhood: Neighbourhood) -> None:
    conversation_id = await neighbourhood.start()
    answered = await neighbourhood.run(conversation_id, "What does standard delivery cost?")
    assert answered.decision == turn_pb2.DECISION_ANSWER
    assert "£3.95" in answered.answer

    offered = await neighbourhood.run(conversation_id, "Please open a ticket about my broken tent pole")
    assert offered.proposal.ticket_subject == "My broken tent pole"
    opened = await neighbourhood.run(conversation_id, "yes please")
    (ticket,) = await neighbourhood.my_tickets()
    assert ticket.id == opened.ticket_id
    assert ticket.conversation_id == conversation_id
    assert "What does standard delivery cost?" in ticket.description
    assert list((await neighbourhood.conversation(conversation_id)).ticket_ids) == [ticket.id]

    # The ticket is due within the hour.
    before = len(neighbourhood.inference.priorities)
    urgent = await neighbourhood.run(conversation_id, "How long can items be returned?")
    (step,) = [step for step in urgent.steps if step.name == "urgency"]
    assert (step.details["priority"], step.error_reason) == ("-2", "")
    assert neighbourhood.inference.routed[-1].priority == -2
    assert set(neighbourhood.inference.priorities[before:]) == {-2}

    handed = await neighbourhood.run(conversation_id, "I want to talk to a human")
    assert handed.decision == turn_pb2.DECISION_HANDOFF
    after = await neighbourhood.conversation(conversation_id)
    assert after.responder == conversation_pb2.RESPONDER_HUMAN
    kinds = {ticket.kind for ticket in await neighbourhood.my_tickets()}
    assert kinds == {ticket_pb2.TICKET_KIND_REQUEST, ticket_pb2.TICKET_KIND_HANDOFF}


async def test_the_log_tells_the_turn_without_gaps(neighbourhood: Neighbourhood) -> None:
    conversation_id = await neighbourhood.start()
    turn = await neighbourhood.run(conversation_id, "How long can items be returned?")
    watch = conversation_service_pb2.WatchRequest(conversation_id=conversation_id)
    events = []
    async with asyncio.timeout(10):
        async for frame in neighbourhood.sessions.Watch(watch, metadata=neighbourhood.person):
            if frame.HasField("event"):
                events.append(frame.event)
                if frame.event.HasField("turn_finished"):
                    break
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.answer_delta.text for event in events) == turn.answer
    assert {event.turn_id for event in events} == {turn.id}

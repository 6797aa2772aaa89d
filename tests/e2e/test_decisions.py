"""What the assistant does when it should not simply answer."""

import asyncio

from deskmesh.orchestrator.v1 import turn_pb2
from deskmesh.sessions.v1 import conversation_pb2, conversation_service_pb2
from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2
from tests.support.stack import Stack


async def test_a_person_is_asked_for(stack: Stack) -> None:
    async with stack.client("customer") as customer, stack.client("agent") as agent:
        turn = await customer.ask("I want to talk to a real person, please.")
        assert turn.decision == turn_pb2.DECISION_HANDOFF
        request = conversation_service_pb2.GetConversationRequest(conversation_id=turn.conversation_id)
        conversation = (await customer.conversations.GetConversation(request)).conversation
        assert conversation.responder == conversation_pb2.RESPONDER_HUMAN
        listed = await agent.tickets.ListTickets(
            ticket_service_pb2.ListTicketsRequest(conversation_id=turn.conversation_id)
        )
        assert [ticket.kind for ticket in listed.tickets] == [ticket_pb2.TICKET_KIND_HANDOFF]


async def test_a_ticket_is_opened_only_after_the_customer_confirms(stack: Stack) -> None:
    async with stack.client("customer") as client:
        offered = await client.ask("Please open a ticket about my tent that arrived with a broken pole.")
        assert offered.decision == turn_pb2.DECISION_TICKET
        assert offered.HasField("proposal")
        mine = ticket_service_pb2.ListTicketsRequest(conversation_id=offered.conversation_id)
        assert not (await client.tickets.ListTickets(mine)).tickets

        opened = await client.ask("Yes, please do.", offered.conversation_id)
        assert opened.decision == turn_pb2.DECISION_TICKET
        tickets = (await client.tickets.ListTickets(mine)).tickets
        assert [ticket.id for ticket in tickets] == [opened.ticket_id]
        assert "tent" in tickets[0].subject
        assert str(tickets[0].number) in opened.answer

        async with asyncio.timeout(10):
            async for event in client.watch(offered.conversation_id):
                if event.HasField("ticket_linked"):
                    assert event.ticket_linked.ticket_id == opened.ticket_id
                    break


async def test_a_declined_ticket_is_not_opened(stack: Stack) -> None:
    async with stack.client("customer") as client:
        offered = await client.ask("I'd like to raise a ticket about a parcel that never came.")
        assert offered.HasField("proposal")
        await client.ask("No, leave it.", offered.conversation_id)
        listed = await client.tickets.ListTickets(
            ticket_service_pb2.ListTicketsRequest(conversation_id=offered.conversation_id)
        )
        assert not listed.tickets


async def test_what_the_articles_do_not_say_is_not_answered(stack: Stack) -> None:
    async with stack.client("customer") as client:
        turn = await client.ask("Who won the football world cup in 1966?")
    assert turn.decision in (turn_pb2.DECISION_TICKET, turn_pb2.DECISION_CLARIFY)
    assert not turn.citations

"""What bad input must not do: write, show another tenant's records, take an effect twice or over a newer one."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from deskmesh.auth.v1 import auth_service_pb2
from deskmesh.knowledge.v1 import article_service_pb2, search_service_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2
from deskmesh.sessions.v1 import conversation_service_pb2, message_pb2
from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2
from deskmesh_client import DeskmeshError
from tests.e2e.bad_input.calls import message, request_id
from tests.support.stack import Stack


async def test_what_is_refused_writes_nothing(stack: Stack) -> None:
    async with stack.client("customer") as client:
        conversation = await client.start_conversation()
        for text in ("", "  ", "x" * 40_000):
            with pytest.raises(DeskmeshError):
                await client.orchestrator.SendMessage(message(conversation_id=conversation.id, text=text))
        listed = await client.conversations.ListMessages(
            conversation_service_pb2.ListMessagesRequest(conversation_id=conversation.id)
        )
    assert not listed.messages
    assert listed.last_offset == 0


async def test_another_tenants_records_are_not_found(stack: Stack) -> None:
    async with stack.client("customer") as mine, stack.client() as stranger:
        turn = await mine.ask("Please open a ticket about a missing parcel.")
        turn = await mine.ask("yes", turn.conversation_id)
        owner = auth_service_pb2.NewOrganization(slug=f"other-{uuid.uuid4().hex[:8]}", name="Another shop")
        signed_up = await stranger.auth.SignUp(
            auth_service_pb2.SignUpRequest(
                email=f"{uuid.uuid4().hex[:8]}@example.org",
                password="correct horse battery",
                display_name="Stranger",
                new_organization=owner,
            )
        )
        stranger._keep(signed_up.tokens)
        reads: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
            (
                "CONVERSATION_NOT_FOUND",
                lambda: stranger.conversations.GetConversation(
                    conversation_service_pb2.GetConversationRequest(conversation_id=turn.conversation_id)
                ),
            ),
            (
                "CONVERSATION_NOT_FOUND",
                lambda: stranger.conversations.ListMessages(
                    conversation_service_pb2.ListMessagesRequest(conversation_id=turn.conversation_id)
                ),
            ),
            (
                "TICKET_NOT_FOUND",
                lambda: stranger.tickets.GetTicket(ticket_service_pb2.GetTicketRequest(ticket_id=turn.ticket_id)),
            ),
            (
                "TURN_NOT_FOUND",
                lambda: stranger.orchestrator.GetTurn(orchestrator_service_pb2.GetTurnRequest(turn_id=turn.id)),
            ),
            (
                "ARTICLE_NOT_FOUND",
                lambda: stranger.articles.GetArticle(article_service_pb2.GetArticleRequest(slug="returns-policy")),
            ),
        ]
        for reason, read in reads:
            with pytest.raises(DeskmeshError) as caught:
                await read()
            assert (caught.value.reason, caught.value.code) == (reason, grpc.StatusCode.NOT_FOUND)
        assert not (await stranger.tickets.ListTickets(ticket_service_pb2.ListTicketsRequest())).tickets
        assert not (await stranger.search.Search(search_service_pb2.SearchRequest(query="returns"))).hits


async def test_a_stale_etag_changes_nothing(stack: Stack) -> None:
    async with stack.client("agent") as agent:
        created = await agent.tickets.CreateTicket(
            ticket_service_pb2.CreateTicketRequest(request_id=request_id(), subject="Stale")
        )

        def update(priority: ticket_pb2.TicketPriority) -> ticket_service_pb2.UpdateTicketRequest:
            return ticket_service_pb2.UpdateTicketRequest(
                ticket_id=created.ticket.id,
                etag=created.ticket.etag,
                update_mask=FieldMask(paths=["priority"]),
                priority=priority,
            )

        await agent.tickets.UpdateTicket(update(ticket_pb2.TICKET_PRIORITY_HIGH))
        with pytest.raises(DeskmeshError) as caught:
            await agent.tickets.UpdateTicket(update(ticket_pb2.TICKET_PRIORITY_LOW))
        assert (caught.value.reason, caught.value.code) == ("STALE_ETAG", grpc.StatusCode.ABORTED)
        read = await agent.tickets.GetTicket(ticket_service_pb2.GetTicketRequest(ticket_id=created.ticket.id))
        assert read.ticket.priority == ticket_pb2.TICKET_PRIORITY_HIGH


async def test_a_request_id_has_one_effect(stack: Stack) -> None:
    async with stack.client("customer") as client:
        conversation = await client.start_conversation()
        first = message(conversation_id=conversation.id, text="Do gift cards expire?")
        sent = await client.orchestrator.SendMessage(first)
        assert (await client.orchestrator.SendMessage(first)).message.id == sent.message.id
        changed = message(conversation_id=conversation.id, text="Something else", request_id=first.request_id)
        with pytest.raises(DeskmeshError) as caught:
            await client.orchestrator.SendMessage(changed)
        assert (caught.value.reason, caught.value.code) == ("REQUEST_ID_REUSED", grpc.StatusCode.ALREADY_EXISTS)
        async for event in client.watch(conversation.id):
            if event.HasField("turn_finished") or event.HasField("turn_failed"):
                break
        listed = await client.conversations.ListMessages(
            conversation_service_pb2.ListMessagesRequest(conversation_id=conversation.id)
        )
    assert [m.author for m in listed.messages].count(message_pb2.AUTHOR_CUSTOMER) == 1

"""Conversations over the wire: who may do what, and how each refusal reads."""

import asyncio
from collections.abc import Awaitable

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from deskmesh.sessions.v1 import conversation_service_pb2 as pb
from deskmesh.sessions.v1.conversation_pb2 import (
    CONVERSATION_STATE_CLOSED,
    CONVERSATION_STATE_OPEN,
    RESPONDER_ASSISTANT,
    RESPONDER_HUMAN,
)
from deskmesh.sessions.v1.message_pb2 import AUTHOR_CUSTOMER, RATING_UP
from services.common.ids import new_id
from tests.integration.sessions.people import People
from tests.support.server import RunningService, refused


@pytest.fixture
def strangers(service: RunningService) -> People:
    """People of another organization."""
    return People(service, new_id("org"))


@pytest.fixture
def neighbour(people: People) -> People:
    """Another customer of the same organization."""
    return People(people.service, people.organization_id)


async def test_a_conversation_begins_open_and_answered_by_the_assistant(people: People) -> None:
    request = pb.CreateConversationRequest(
        request_id=new_id("req"), title="Delivery", idle_timeout=Duration(seconds=120)
    )
    made = (await people.edge.CreateConversation(request, metadata=people.customer)).conversation
    assert (made.title, made.state, made.responder) == ("Delivery", CONVERSATION_STATE_OPEN, RESPONDER_ASSISTANT)
    assert (made.customer_id, made.last_offset, made.idle_timeout.seconds) == (people.customer_id, 0, 120)
    read = await people.edge.GetConversation(
        pb.GetConversationRequest(conversation_id=made.id), metadata=people.customer
    )
    assert read.conversation == made


async def test_a_repeated_request_makes_one_conversation(people: People) -> None:
    request = pb.CreateConversationRequest(request_id=new_id("req"), title="Once")
    calls = [people.edge.CreateConversation(request, metadata=people.customer) for _ in range(5)]
    made = await asyncio.gather(*(call for call in calls))
    assert len({response.conversation.id for response in made}) == 1
    request.title = "Twice"
    async with refused() as refusal:
        await people.edge.CreateConversation(request, metadata=people.customer)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_timeout_out_of_range_is_named(people: People) -> None:
    request = pb.CreateConversationRequest(request_id=new_id("req"), idle_timeout=Duration(seconds=5))
    async with refused() as refusal:
        await people.edge.CreateConversation(request, metadata=people.customer)
    assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [field for field, _ in refusal.error.violations] == ["idle_timeout"]


@pytest.mark.parametrize("who", ["stranger", "strange agent", "neighbour"])
async def test_what_is_another_s_is_not_found(people: People, strangers: People, neighbour: People, who: str) -> None:
    conversation = await people.begin()
    answer = await people.answer(conversation.id, "Yes.")
    headers, acting = {
        "stranger": (strangers.customer, strangers.acting),
        "strange agent": (strangers.agent, strangers.acting),
        "neighbour": (neighbour.customer, neighbour.acting),
    }[who]
    edge, orchestrator, key = people.edge, people.orchestrator, conversation.id
    watch = edge.Watch(pb.WatchRequest(conversation_id=key), metadata=headers)
    calls: list[Awaitable[object]] = [
        edge.GetConversation(pb.GetConversationRequest(conversation_id=key), metadata=headers),
        edge.CloseConversation(pb.CloseConversationRequest(conversation_id=key), metadata=headers),
        edge.ListMessages(pb.ListMessagesRequest(conversation_id=key), metadata=headers),
        edge.SetTyping(pb.SetTypingRequest(conversation_id=key, typing=True), metadata=headers),
        edge.SetResponder(pb.SetResponderRequest(conversation_id=key, responder=RESPONDER_HUMAN), metadata=headers),
        edge.RateMessage(pb.RateMessageRequest(message_id=answer.id, rating=RATING_UP), metadata=headers),
        anext(aiter(watch)),
        orchestrator.AppendMessage(
            pb.AppendMessageRequest(request_id=new_id("req"), conversation_id=key, text="Hi", author=AUTHOR_CUSTOMER),
            metadata=acting,
        ),
        orchestrator.GetContext(pb.GetContextRequest(conversation_id=key, max_tokens=1), metadata=acting),
        orchestrator.LinkTicket(pb.LinkTicketRequest(conversation_id=key, ticket_id="tkt_1"), metadata=acting),
    ]
    for call in calls:
        async with refused() as refusal:
            await call
        assert refusal.error.code is grpc.StatusCode.NOT_FOUND
        assert refusal.error.reason in ("CONVERSATION_NOT_FOUND", "MESSAGE_NOT_FOUND")
    async with people.watching(conversation.id) as stream:
        assert len(await stream.until("caught_up")) == 1


async def test_lists_show_customers_their_own_and_agents_all(people: People, neighbour: People) -> None:
    mine, other = await people.begin(), await neighbour.begin()
    request = pb.ListConversationsRequest()
    own = await people.edge.ListConversations(request, metadata=people.customer)
    every = await people.edge.ListConversations(request, metadata=people.agent)
    assert [one.id for one in own.conversations] == [mine.id]
    assert [one.id for one in every.conversations] == [other.id, mine.id]


async def test_pages_of_conversations(people: People) -> None:
    made = [(await people.begin()).id for _ in range(5)]
    # Whoever wrote last comes first.
    await people.say(made[0], "Still there?")
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListConversationsRequest(page_size=2, page_token=token, state=CONVERSATION_STATE_OPEN)
        page = await people.edge.ListConversations(request, metadata=people.customer)
        seen.extend(one.id for one in page.conversations)
        token = page.next_page_token
        if not token:
            break
    assert seen == [made[0], *made[:0:-1]]


async def test_a_page_token_of_another_list_is_refused(people: People) -> None:
    for _ in range(2):
        await people.begin()
    request = pb.ListConversationsRequest(page_size=1)
    token = (await people.edge.ListConversations(request, metadata=people.customer)).next_page_token
    conversation = await people.begin()
    for wrong in (
        pb.ListConversationsRequest(page_token=token, state=CONVERSATION_STATE_CLOSED),
        pb.ListConversationsRequest(page_token="nonsense"),
    ):
        async with refused() as refusal:
            await people.edge.ListConversations(wrong, metadata=people.customer)
        assert refusal.error.reason == "INVALID_PAGE_TOKEN"
    async with refused() as refusal:
        messages = pb.ListMessagesRequest(conversation_id=conversation.id, page_token=token)
        await people.edge.ListMessages(messages, metadata=people.customer)
    assert refusal.error.reason == "INVALID_PAGE_TOKEN"


async def test_closing_twice_changes_nothing(people: People) -> None:
    conversation = await people.begin()
    first = await people.close(conversation.id)
    assert (first.state, first.last_offset) == (CONVERSATION_STATE_CLOSED, 1)
    assert await people.close(conversation.id) == first


async def test_a_closed_conversation_takes_no_message(people: People) -> None:
    conversation = await people.begin()
    await people.close(conversation.id)
    async with refused() as refusal:
        await people.say(conversation.id, "One more thing")
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONVERSATION_CLOSED")


async def test_an_agent_who_writes_takes_over(people: People) -> None:
    conversation = await people.begin()
    message = await people.agent_says(conversation.id, "I am looking into it.")
    assert message.user_id
    read = await people.edge.GetConversation(
        pb.GetConversationRequest(conversation_id=conversation.id), metadata=people.customer
    )
    assert read.conversation.responder == RESPONDER_HUMAN
    back = await people.edge.SetResponder(
        pb.SetResponderRequest(conversation_id=conversation.id, responder=RESPONDER_ASSISTANT), metadata=people.agent
    )
    assert back.conversation.responder == RESPONDER_ASSISTANT
    async with people.watching(conversation.id) as stream:
        told = await stream.until("caught_up")
    assert [event.WhichOneof("event") for event in told] == [
        "message_added",
        "responder_changed",
        "responder_changed",
    ]


async def test_a_customer_gets_a_person_through_a_turn_only(people: People) -> None:
    conversation = await people.begin()
    request = pb.SetResponderRequest(conversation_id=conversation.id, responder=RESPONDER_HUMAN)
    async with refused() as refusal:
        await people.edge.SetResponder(request, metadata=people.customer)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")
    handed = await people.orchestrator.SetResponder(request, metadata=people.acting)
    assert handed.conversation.responder == RESPONDER_HUMAN


async def test_a_ticket_is_linked_once(people: People) -> None:
    conversation = await people.begin()
    request = pb.LinkTicketRequest(
        conversation_id=conversation.id, ticket_id="tkt_1", ticket_number=7, subject="Broken zip"
    )
    for _ in range(2):
        await people.orchestrator.LinkTicket(request, metadata=people.acting)
    async with people.watching(conversation.id) as stream:
        (told,) = await stream.until("caught_up")
    assert (told.ticket_linked.ticket_number, told.ticket_linked.subject) == (7, "Broken zip")


async def test_a_workload_that_is_no_caller_is_refused(people: People) -> None:
    request = pb.LinkTicketRequest(conversation_id="cnv_1", ticket_id="tkt_1")
    async with refused() as refusal:
        await people.edge.LinkTicket(request, metadata=people.agent)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ALLOWED")

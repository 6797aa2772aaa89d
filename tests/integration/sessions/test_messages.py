"""Messages and the events of turns over the wire."""

import asyncio
from typing import Any, cast

import grpc
import pytest
import redis.asyncio

from deskmesh.sessions.v1 import conversation_service_pb2 as pb
from deskmesh.sessions.v1 import event_pb2, message_pb2
from deskmesh.sessions.v1.conversation_pb2 import Conversation
from services.common.ids import new_id
from tests.integration.sessions.people import People
from tests.support.server import refused

CITATION = message_pb2.Citation(
    article_id="art_1",
    title="Returns",
    passage="Within 30 days.",
    url="/articles/returns#how",
    passage_id="psg_1",
    article_version=2,
    heading="How",
)


def append(conversation: Conversation, text: str = "Hello", **changes: Any) -> pb.AppendMessageRequest:
    values: dict[str, Any] = {
        "request_id": new_id("req"),
        "conversation_id": conversation.id,
        "text": text,
        "author": message_pb2.AUTHOR_CUSTOMER,
    }
    return pb.AppendMessageRequest(**values | changes)


async def test_messages_come_back_in_order(people: People) -> None:
    conversation = await people.begin()
    await people.say(conversation.id, "How long can I return shoes?")
    request = append(
        conversation,
        "Within 30 days [1].",
        author=message_pb2.AUTHOR_ASSISTANT,
        citations=[CITATION],
        turn_id="trn_1",
    )
    added = (await people.orchestrator.AppendMessage(request, metadata=people.acting)).message
    listed = await people.edge.ListMessages(
        pb.ListMessagesRequest(conversation_id=conversation.id), metadata=people.customer
    )
    assert [message.text for message in listed.messages] == ["How long can I return shoes?", "Within 30 days [1]."]
    assert listed.messages[1] == added
    assert listed.messages[1].citations == [CITATION]
    assert (listed.next_page_token, listed.last_offset) == ("", 2)


async def test_a_repeated_request_adds_one_message(people: People) -> None:
    conversation = await people.begin()
    request = append(conversation)
    calls = [people.orchestrator.AppendMessage(request, metadata=people.acting) for _ in range(8)]
    added = await asyncio.gather(*(call for call in calls))
    assert len({response.message.id for response in added}) == 1
    await people.close(conversation.id)
    # The answer stays the same even where a new request would be refused.
    again = await people.orchestrator.AppendMessage(request, metadata=people.acting)
    assert again == added[0]
    request.text = "Something else"
    async with refused() as refusal:
        await people.orchestrator.AppendMessage(request, metadata=people.acting)
    assert refusal.error.reason == "REQUEST_ID_REUSED"


async def test_repeated_events_are_added_once(people: People) -> None:
    conversation = await people.begin()
    request = pb.AppendEventsRequest(
        request_id=new_id("req"),
        conversation_id=conversation.id,
        events=[
            event_pb2.ConversationEvent(turn_id="trn_1", turn_started=event_pb2.TurnStarted(message_id="msg_1")),
            event_pb2.ConversationEvent(turn_id="trn_1", answer_delta=event_pb2.AnswerDelta(text="Yes")),
        ],
    )
    for _ in range(3):
        response = await people.orchestrator.AppendEvents(request, metadata=people.acting)
        assert response.last_offset == 2
    del request.events[1]
    async with refused() as refusal:
        await people.orchestrator.AppendEvents(request, metadata=people.acting)
    assert refusal.error.reason == "REQUEST_ID_REUSED"
    async with people.watching(conversation.id) as stream:
        first, second = await stream.until("caught_up")
    assert (first.offset, first.turn_id, first.turn_started.message_id) == (1, "trn_1", "msg_1")
    assert (second.offset, second.answer_delta.text) == (2, "Yes")
    assert second.HasField("occurred_at")


async def test_many_writers_leave_no_gap(people: People) -> None:
    conversation = await people.begin()
    writers = [people.say(conversation.id, f"message {number}") for number in range(15)]
    writers_of_pieces = [people.write_pieces(conversation.id, "a", "b") for _ in range(15)]
    await asyncio.gather(*writers, *writers_of_pieces)
    async with people.watching(conversation.id) as stream:
        told = await stream.until("caught_up")
    assert [event.offset for event in told] == list(range(1, 46))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": " \n\t"}, "text"),
        ({"text": "ü" * 16_385}, "text"),
        ({"author": 0}, "author"),
        ({"author": 9}, "author"),
        ({"request_id": "short"}, "request_id"),
        ({"conversation_id": ""}, "conversation_id"),
        ({"citations": [CITATION]}, "citations"),
        ({"author": message_pb2.AUTHOR_SYSTEM, "turn_id": "trn_1"}, "turn_id"),
    ],
)
async def test_bad_messages_are_refused_by_field(people: People, changes: dict[str, Any], field: str) -> None:
    conversation = await people.begin()
    async with refused() as refusal:
        await people.orchestrator.AppendMessage(append(conversation, **changes), metadata=people.acting)
    assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in [path for path, _ in refusal.error.violations]
    listed = await people.edge.ListMessages(
        pb.ListMessagesRequest(conversation_id=conversation.id), metadata=people.customer
    )
    assert (len(listed.messages), listed.last_offset) == (0, 0)


async def test_a_message_of_32_kib_passes(people: People) -> None:
    conversation = await people.begin()
    message = await people.say(conversation.id, "ü" * 16_384)
    assert len(message.text.encode()) == 32_768


@pytest.mark.parametrize(
    "author", [message_pb2.AUTHOR_CUSTOMER, message_pb2.AUTHOR_ASSISTANT, message_pb2.AUTHOR_SYSTEM]
)
async def test_people_outside_write_as_agents_only(people: People, author: message_pb2.Author) -> None:
    conversation = await people.begin()
    for headers in (people.customer, people.agent):
        async with refused() as refusal:
            await people.edge.AppendMessage(append(conversation, author=author), metadata=headers)
        assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [field for field, _ in refusal.error.violations] == ["author"]


async def test_a_customer_is_no_agent(people: People) -> None:
    conversation = await people.begin()
    request = append(conversation, author=message_pb2.AUTHOR_AGENT)
    async with refused() as refusal:
        await people.edge.AppendMessage(request, metadata=people.customer)
    assert refusal.error.code is grpc.StatusCode.PERMISSION_DENIED


async def test_events_with_an_rpc_of_their_own_are_refused(people: People) -> None:
    conversation = await people.begin()
    for event in (
        event_pb2.ConversationEvent(conversation_closed=event_pb2.ConversationClosed()),
        event_pb2.ConversationEvent(message_added=event_pb2.MessageAdded()),
        event_pb2.ConversationEvent(offset=5, answer_delta=event_pb2.AnswerDelta(text="x")),
        event_pb2.ConversationEvent(),
    ):
        request = pb.AppendEventsRequest(request_id=new_id("req"), conversation_id=conversation.id, events=[event])
        async with refused() as refusal:
            await people.orchestrator.AppendEvents(request, metadata=people.acting)
        assert refusal.error.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_pages_of_messages_lead_into_the_stream(people: People) -> None:
    conversation = await people.begin()
    for text in "abcde":
        await people.say(conversation.id, text)
    await people.write_pieces(conversation.id, "piece")
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListMessagesRequest(conversation_id=conversation.id, page_size=2, page_token=token)
        page = await people.edge.ListMessages(request, metadata=people.customer)
        seen.extend(message.text for message in page.messages)
        token = page.next_page_token
        if not token:
            break
        assert page.last_offset == 0
    assert (seen, page.last_offset) == (list("abcde"), 5)
    async with people.watching(conversation.id, page.last_offset) as stream:
        assert (await stream.event()).answer_delta.text == "piece"


async def test_an_open_proposal_is_told_again_after_listing(people: People) -> None:
    conversation = await people.begin()
    await people.say(conversation.id, "My zip broke")
    proposed = event_pb2.ConversationEvent(
        turn_id="trn_1",
        action_proposed=event_pb2.ActionProposed(
            proposal_id="prp_1", ticket=event_pb2.ProposedTicket(subject="Broken zip")
        ),
    )
    request = pb.AppendEventsRequest(request_id=new_id("req"), conversation_id=conversation.id, events=[proposed])
    await people.orchestrator.AppendEvents(request, metadata=people.acting)
    await people.answer(conversation.id, "Shall I open a ticket?")
    listed = await people.edge.ListMessages(
        pb.ListMessagesRequest(conversation_id=conversation.id), metadata=people.customer
    )
    async with people.watching(conversation.id, listed.last_offset) as stream:
        assert (await stream.event()).action_proposed.proposal_id == "prp_1"


async def test_the_customer_rates_an_answer(people: People) -> None:
    conversation = await people.begin()
    answer = await people.answer(conversation.id, "Yes.")
    await people.close(conversation.id)
    up, down, none = message_pb2.RATING_UP, message_pb2.RATING_DOWN, message_pb2.RATING_UNSPECIFIED
    for rating in (up, up, down, none):
        request = pb.RateMessageRequest(message_id=answer.id, rating=rating)
        response = await people.edge.RateMessage(request, metadata=people.customer)
        assert response.message.rating == rating
    async with people.watching(conversation.id, 2) as stream:
        told = await stream.until("ended")
    assert [event.message_rated.rating for event in told] == [up, down, none]


async def test_only_the_customer_rates_and_only_answers(people: People) -> None:
    conversation = await people.begin()
    question, answer = await people.say(conversation.id, "Is it?"), await people.answer(conversation.id, "Yes.")
    async with refused() as refusal:
        await people.edge.RateMessage(
            pb.RateMessageRequest(message_id=answer.id, rating=message_pb2.RATING_UP), metadata=people.agent
        )
    assert refusal.error.code is grpc.StatusCode.PERMISSION_DENIED
    async with refused() as refusal:
        await people.edge.RateMessage(
            pb.RateMessageRequest(message_id=question.id, rating=message_pb2.RATING_UP), metadata=people.customer
        )
    assert [field for field, _ in refusal.error.violations] == ["message_id"]
    async with refused() as refusal:
        await people.edge.RateMessage(pb.RateMessageRequest(message_id="msg_0"), metadata=people.customer)
    assert refusal.error.reason == "MESSAGE_NOT_FOUND"


async def test_other_services_hear_of_closed_conversations_and_ratings(people: People) -> None:
    conversation = await people.begin()
    answer = await people.answer(conversation.id, "Yes.")
    rate = pb.RateMessageRequest(message_id=answer.id, rating=message_pb2.RATING_UP)
    await people.edge.RateMessage(rate, metadata=people.customer)
    await people.close(conversation.id)
    store = redis.asyncio.Redis.from_url(people.service.settings.redis_url)
    rated = message_pb2.Message.FromString(await published(store, "message.rated", conversation.id))
    closed = Conversation.FromString(await published(store, "conversation.closed", conversation.id))
    await store.aclose()
    assert (rated.id, rated.rating) == (answer.id, message_pb2.RATING_UP)
    assert closed.HasField("closed_at")


async def published(store: redis.asyncio.Redis, topic: str, key: str) -> bytes:
    """The payload of the first event of a topic with this key, as soon as the relay has published it."""
    async with asyncio.timeout(10):
        while True:
            entries = await store.xrange(f"deskmesh:sessions:{topic}")
            for _, entry in cast("list[tuple[bytes, dict[bytes, bytes]]]", entries):
                if entry[b"key"] == key.encode():
                    return entry[b"payload"]
            await asyncio.sleep(0.05)

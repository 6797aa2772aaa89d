"""The stream of a conversation over the wire: resumed at any offset, nothing lost or repeated."""

import grpc

from deskmesh.sessions.v1.event_pb2 import ConversationEvent
from tests.integration.sessions.people import People
from tests.support.server import refused


def offsets(events: list[ConversationEvent]) -> list[int]:
    return [event.offset for event in events]


async def test_a_stream_tells_what_was_and_what_comes(people: People) -> None:
    conversation = await people.begin()
    await people.say(conversation.id, "Where is my parcel?")
    async with people.watching(conversation.id) as stream:
        told = await stream.until("caught_up")
        assert [event.WhichOneof("event") for event in told] == ["message_added"]
        assert told[0].message_added.message.text == "Where is my parcel?"
        await people.write_pieces(conversation.id, "It is ", "on its way.")
        assert [(await stream.event()).answer_delta.text for _ in range(2)] == ["It is ", "on its way."]


async def test_a_stream_resumes_at_every_offset(people: People) -> None:
    conversation = await people.begin()
    await people.write_pieces(conversation.id, *"abcdef")
    for offset in range(7):
        async with people.watching(conversation.id, offset) as stream:
            assert offsets(await stream.until("caught_up")) == list(range(offset + 1, 7))


async def test_an_offset_beyond_the_end_is_refused(people: People) -> None:
    conversation = await people.begin()
    async with refused() as refusal, people.watching(conversation.id, 1) as stream:
        await stream.frame()
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE")
    assert refusal.error.metadata["last_offset"] == "0"


async def test_a_closed_conversation_is_told_to_its_end(people: People) -> None:
    conversation = await people.begin()
    await people.say(conversation.id, "Never mind.")
    async with people.watching(conversation.id) as live:
        await live.until("caught_up")
        await people.close(conversation.id)
        assert offsets(await live.until("ended")) == [2]
    async with people.watching(conversation.id) as late:
        assert offsets(await late.until("caught_up")) == [1, 2]
        assert (await late.frame()).ended.last_offset == 2

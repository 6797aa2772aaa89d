"""What a newcomer does first: ask, from the command line and through the client."""

import asyncio

from deskmesh.orchestrator.v1 import turn_pb2
from deskmesh_client import Cited, Delta, Finished
from tests.support.stack import Stack

QUESTION = "How many days do I have to return something?"
FACT = "45 days"


def test_chat_once_prints_one_object(stack: Stack) -> None:
    answer = stack.deskmesh_json("chat", "--once", QUESTION)
    assert FACT in answer["answer"]
    assert answer["decision"] == "answer"
    citation = answer["citations"][0]
    assert set(citation) == {"article_id", "title", "passage", "url"}
    assert FACT in citation["passage"]
    assert citation["url"].startswith("/help/returns-policy")
    assert answer["conversation_id"]
    assert answer["turn_id"]
    assert answer["model"]
    assert set(answer["usage"]) == {"prompt_tokens", "completion_tokens"}
    assert answer["usage"]["prompt_tokens"] > 0
    assert 0 < answer["timings_ms"]["first_token"] <= answer["timings_ms"]["total"]
    assert len(answer["timings_ms"]) > 4
    assert len(answer["trace_id"]) == 32


async def test_the_answer_streams_in_pieces(stack: Stack) -> None:
    async with stack.client("customer") as client:
        conversation = await client.start_conversation()
        frames = [frame async for frame in client.run_turn(conversation.id, "What does standard delivery cost?")]
    pieces = [frame.text for frame in frames if isinstance(frame, Delta)]
    assert isinstance(frames[-1], Finished)
    turn = frames[-1].turn
    assert turn.state == turn_pb2.TURN_STATE_FINISHED
    # By this a deployment's turns are told from others.
    assert [len(step.versions["model"]) for step in turn.steps if step.name == "score"] == [10]
    assert "".join(pieces) == turn.answer
    assert [frame.number for frame in frames if isinstance(frame, Cited)] == list(range(1, len(turn.citations) + 1))


async def test_the_conversation_can_be_watched_from_any_offset(stack: Stack) -> None:
    async with stack.client("customer") as client:
        turn = await client.ask("Can I return a gift card?")
        whole = []
        async for event in client.watch(turn.conversation_id):
            whole.append(event)
            if event.HasField("turn_finished"):
                break
        assert [event.offset for event in whole] == list(range(1, len(whole) + 1))
        half = len(whole) // 2
        rest = []
        async for event in client.watch(turn.conversation_id, half):
            rest.append(event)
            if event.HasField("turn_finished"):
                break
    assert rest == whole[half:]
    deltas = "".join(event.answer_delta.text for event in whole if event.HasField("answer_delta"))
    assert deltas == turn.answer


async def test_several_people_are_answered_at_once(stack: Stack) -> None:
    questions = ["Do gift cards expire?", "How do I reset my password?", "Which couriers bring express parcels?"]
    async with stack.client("customer") as client:
        async with asyncio.timeout(60):
            turns = await asyncio.gather(*(client.ask(question) for question in questions))
    assert {turn.state for turn in turns} == {turn_pb2.TURN_STATE_FINISHED}
    assert len({turn.trace_id for turn in turns}) == len(turns)

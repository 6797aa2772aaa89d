"""`kill -9` of any one process while a chat streams.

Stated in advance: the supervisor starts the process again; the client gets an answer or a typed error it may retry;
every message that was acknowledged is still there; the turn ends as finished, failed or cancelled, and never hangs.
"""

import asyncio
import time

import pytest

from deskmesh.orchestrator.v1 import orchestrator_service_pb2, turn_pb2
from deskmesh.sessions.v1 import conversation_service_pb2
from deskmesh_client import Client, DeskmeshError
from tests.support.stack import Stack

RECOVERY_SECONDS = {"ray": 240.0}
USUAL_RECOVERY_SECONDS = 60.0
TURN_SECONDS = 150.0
ENDED = (turn_pb2.TURN_STATE_FINISHED, turn_pb2.TURN_STATE_FAILED, turn_pb2.TURN_STATE_CANCELLED)
RETRYABLE = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"}

VICTIMS = [
    "orchestrator",
    "sessions",
    "knowledge",
    "tickets",
    "models",
    "auth",
    "edge-envoy",
    "gateway",
    "inference-envoy",
    "postgres",
    "valkey",
    "traces",
    "web",
    "ray",
]


async def ready(stack: Stack, seconds: float, *, restarted: str = "", since: int = 0) -> dict[str, int]:
    """Wait until every process is ready and one was restarted more often than `since`; the restarts of each."""
    deadline = time.monotonic() + seconds
    while True:
        status = await asyncio.to_thread(stack.deskmesh_json, "status")
        restarts = {process["name"]: process["restarts"] for process in status["processes"]}
        if status["ready"] and (not restarted or restarts[restarted] > since):
            return restarts
        assert time.monotonic() < deadline, f"not ready after {seconds:g} s: {status}"
        await asyncio.sleep(0.5)


async def answer_again(client: Client, seconds: float) -> turn_pb2.Turn:
    """Ask until it works, as a person would who was told to try again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await client.ask("Do gift cards expire?")
        except DeskmeshError as error:
            assert error.code.name in RETRYABLE, error
            assert time.monotonic() < deadline, error
            await asyncio.sleep(1)


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.timeout(600)
async def test_nothing_acknowledged_is_lost_and_nothing_hangs(stack: Stack, victim: str) -> None:
    seconds = RECOVERY_SECONDS.get(victim, USUAL_RECOVERY_SECONDS)
    before = await ready(stack, seconds)
    async with stack.client("customer") as client:
        conversation = await client.start_conversation()
        sent = await client.orchestrator.SendMessage(
            orchestrator_service_pb2.SendMessageRequest(
                request_id=f"kill-{victim}-{time.time_ns()}",
                conversation_id=conversation.id,
                text="How long do I have to return something, and who pays for the postage?",
            )
        )
        (await asyncio.to_thread(stack.process, victim)).kill()

        await ready(stack, seconds, restarted=victim, since=before[victim])

        deadline = time.monotonic() + TURN_SECONDS
        while True:
            try:
                turn = (
                    await client.orchestrator.GetTurn(orchestrator_service_pb2.GetTurnRequest(turn_id=sent.turn.id))
                ).turn
                if turn.state in ENDED:
                    break
            except DeskmeshError as error:
                assert error.code.name in RETRYABLE, error
            assert time.monotonic() < deadline, "the turn hangs"
            await asyncio.sleep(0.5)

        listed = await client.conversations.ListMessages(
            conversation_service_pb2.ListMessagesRequest(conversation_id=conversation.id)
        )
        assert sent.message.id in [message.id for message in listed.messages]
        if turn.state == turn_pb2.TURN_STATE_FINISHED:
            assert [m.text for m in listed.messages if m.turn_id == turn.id and m.id != sent.message.id] == [
                turn.answer
            ]

        again = await answer_again(client, seconds)
        assert again.state == turn_pb2.TURN_STATE_FINISHED


async def test_a_stream_that_is_cut_goes_on_without_gap_or_repeat(stack: Stack) -> None:
    """The sessions service dies under an open stream; the reader sees every offset once."""
    before = await ready(stack, USUAL_RECOVERY_SECONDS)
    async with stack.client("customer") as client:
        conversation = await client.start_conversation()
        offsets: list[int] = []

        async def follow() -> None:
            async for event in client.watch(conversation.id):
                offsets.append(event.offset)
                if stop.is_set() and (event.HasField("turn_finished") or event.HasField("turn_failed")):
                    return

        stop = asyncio.Event()
        reader = asyncio.create_task(follow())
        await client.ask("What is the warranty on a tent?", conversation.id)
        (await asyncio.to_thread(stack.process, "sessions")).kill()
        await ready(stack, USUAL_RECOVERY_SECONDS, restarted="sessions", since=before["sessions"])
        stop.set()
        await client.ask("Do gift cards expire?", conversation.id)
        await asyncio.wait_for(reader, 30)
    assert offsets == list(range(1, len(offsets) + 1))

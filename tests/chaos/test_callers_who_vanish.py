"""Whoever asked is killed in the middle of the answer.

Stated in advance: the message and the whole answer are in the conversation as if they had stayed, and the engine has
nothing left to do.
"""

import asyncio
import os
import time

from deskmesh.orchestrator.v1 import turn_pb2
from deskmesh.sessions.v1 import conversation_service_pb2, message_pb2
from deskmesh_client import Client
from tests.chaos.test_kill_one_process import TURN_SECONDS, USUAL_RECOVERY_SECONDS, ready
from tests.support.stack import COMMAND, Stack

QUESTION = "How long do I have to return something, and who pays for the postage?"


async def messages(client: Client, question: str, count: int) -> list[message_pb2.Message]:
    """The messages of the newest conversation, once it has so many and begins with this question."""
    deadline = time.monotonic() + TURN_SECONDS
    while True:
        request = conversation_service_pb2.ListConversationsRequest(page_size=1)
        for conversation in (await client.conversations.ListConversations(request)).conversations:
            listed = conversation_service_pb2.ListMessagesRequest(conversation_id=conversation.id)
            found = list((await client.conversations.ListMessages(listed)).messages)
            if len(found) >= count and found[0].text == question:
                return found
        assert time.monotonic() < deadline, "the message or its answer is lost"
        await asyncio.sleep(0.1)


async def test_an_answer_is_kept_for_a_customer_whose_program_is_killed(stack: Stack) -> None:
    await ready(stack, USUAL_RECOVERY_SECONDS)
    question = f"{QUESTION} ({os.getpid()}, {time.time_ns()})"
    async with stack.client("customer") as client:
        caller = await asyncio.create_subprocess_exec(
            COMMAND, "chat", "--once", question, env=stack.environment, stdout=asyncio.subprocess.DEVNULL
        )
        await messages(client, question, 1)
        caller.kill()
        await caller.wait()
        _, answer = await messages(client, question, 2)
        assert answer.text
        again = await client.ask("Do gift cards expire?")
        assert again.state == turn_pb2.TURN_STATE_FINISHED

"""Five times as many requests as a replica takes, at once.

Stated in advance: at least as many as it takes are answered, each whole; every other one is refused at once, with the
time after which to come again; who does so is answered; and nothing is left in the engine.
"""

import asyncio

import grpc
import grpc.aio

from serve_apps.assistant.engines.base import EngineLoad
from services.common.errors import RemoteError, from_rpc_error
from tests.integration.serve_apps.conftest import CAPACITY, Replica, chat

TIMES = 5
TOKENS = 20
PATIENCE_SECONDS = 30.0


async def ask(replica: Replica) -> RemoteError | None:
    """None for an answer that came whole; else what it was refused with."""
    words, ends = 0, 0
    try:
        async for frame in replica.inference.Chat(chat(max_tokens=TOKENS)):
            words += frame.delta.tokens
            ends += frame.HasField("finished")
    except grpc.aio.AioRpcError as error:
        assert words == 0, "an answer that had begun was cut"
        return from_rpc_error(error)
    assert (words, ends) == (TOKENS, 1)
    return None


async def until_answered(replica: Replica) -> None:
    """Ask as a client does that is told when to come again."""
    while refused := await ask(replica):
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MODEL_OVERLOADED")
        assert refused.retry_after_seconds
        # Not all in the same moment again.
        await asyncio.sleep(refused.retry_after_seconds / 10)


async def test_what_is_taken_is_answered_and_the_rest_is_told_when_to_come_again(replica: Replica) -> None:
    first = await asyncio.gather(*(ask(replica) for _ in range(TIMES * CAPACITY)))
    refused = [one for one in first if one]
    # More than its places: some become free while the last ones are still arriving.
    assert CAPACITY <= len(first) - len(refused) < len(first)
    assert {one.reason for one in refused} == {"MODEL_OVERLOADED"}
    assert all(one.retry_after_seconds for one in refused)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(until_answered(replica) for _ in range(TIMES * CAPACITY)))
    assert replica.engine.load() == EngineLoad()

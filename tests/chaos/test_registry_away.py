"""The model registry hangs while people ask.

Stated in advance: questions are answered as before, the routers go on with what they were told last and say how old
that is, the command line says whom it asks instead, and nothing is restarted by hand.
"""

import asyncio
import contextlib
import signal

import psutil

from deskmesh.orchestrator.v1 import turn_pb2
from tests.chaos.test_kill_one_process import USUAL_RECOVERY_SECONDS, ready
from tests.support.stack import Stack


async def test_nobody_who_asks_notices_that_the_registry_is_away(stack: Stack) -> None:
    await ready(stack, USUAL_RECOVERY_SECONDS)
    known = {model["name"] for model in stack.deskmesh_json("models", "list")["models"]}
    registry = await asyncio.to_thread(stack.process, "models")
    registry.send_signal(signal.SIGSTOP)
    try:
        async with stack.client("customer") as client:
            turn = await client.ask("Do gift cards expire?")
            assert (turn.state, bool(turn.citations)) == (turn_pb2.TURN_STATE_FINISHED, True)
        listed = await asyncio.to_thread(stack.deskmesh_json, "models", "list")
        assert {model["profile"]["name"] for model in listed["models"]} == known
        assert (listed["source"], bool(listed["registry_as_of"])) == ("router", True)
    finally:
        # The supervisor may have found that it hangs, and ended it.
        with contextlib.suppress(psutil.NoSuchProcess):
            registry.send_signal(signal.SIGCONT)
    await ready(stack, USUAL_RECOVERY_SECONDS)

"""What is below the models is killed, stopped or emptied while somebody asks; each outcome is stated in advance.

They take minutes, as the model is loaded again and again, and run with `make test-nightly`. What costs less is shown
with every run, by the other files of this folder.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
import yaml
from redis.asyncio import Redis

from deskmesh.orchestrator.v1 import orchestrator_service_pb2, turn_pb2
from deskmesh.sessions.v1 import conversation_service_pb2
from deskmesh_client import Client
from serve_apps.assistant.processes import of_session
from serve_apps.assistant.settings import CONFIGS
from tests.chaos.test_kill_one_process import ENDED, TURN_SECONDS, USUAL_RECOVERY_SECONDS, answer_again, ready
from tests.support.stack import Stack

pytestmark = pytest.mark.nightly

ENGINE = "VLLM::Eng"
CONTROLLER = "ServeController"
# A replica is noticed to be dead within 4 s, a hung one within 5 s; then the model is loaded: within 40 s at rest, but
# for minutes on a machine that is doing other things. Serve tries three times before it says that it cannot.
RELOAD_SECONDS = 360.0
REFUSE_SECONDS = 420.0


def named(stack: Stack, name: str) -> Sequence[psutil.Process]:
    """The stack's Ray processes of that name."""
    return [one for one in of_session(stack.home.resolve()) if name in " ".join([one.name(), *one.cmdline()])]


async def replaced(stack: Stack, name: str, old: int, seconds: float) -> psutil.Process:
    """The process that has taken the place of another."""
    deadline = time.monotonic() + seconds
    while True:
        found = [one for one in await asyncio.to_thread(named, stack, name) if one.pid != old]
        if found:
            return found[0]
        assert time.monotonic() < deadline, f"{name} is not there again after {seconds:g} s"
        await asyncio.sleep(0.5)


async def sent(client: Client, question: str) -> orchestrator_service_pb2.SendMessageResponse:
    conversation = await client.start_conversation()
    request = orchestrator_service_pb2.SendMessageRequest(
        request_id=f"plane-{time.time_ns()}", conversation_id=conversation.id, text=question
    )
    return await client.orchestrator.SendMessage(request)


async def ended(client: Client, turn_id: str) -> turn_pb2.Turn:
    """The turn once it has ended."""
    deadline = time.monotonic() + TURN_SECONDS
    while True:
        turn = (await client.orchestrator.GetTurn(orchestrator_service_pb2.GetTurnRequest(turn_id=turn_id))).turn
        if turn.state in ENDED:
            return turn
        assert time.monotonic() < deadline, "the turn hangs"
        await asyncio.sleep(0.25)


async def engine_struck(stack: Stack, strike: Callable[[psutil.Process], object]) -> None:
    """Strike the engine while it answers.

    The turn ends as finished or with an error that may be tried again, the message is kept, a new engine takes over,
    and the other processes of the stack are those of before.
    """
    before = await ready(stack, USUAL_RECOVERY_SECONDS)
    (engine,) = await asyncio.to_thread(named, stack, ENGINE)
    async with stack.client("customer") as client:
        message = await sent(client, "How long do I have to return something, and who pays for the postage?")
        strike(engine)
        turn = await ended(client, message.turn.id)
        if turn.state != turn_pb2.TURN_STATE_FINISHED:
            assert turn.error_reason in {"MODEL_UNAVAILABLE", "MODEL_OVERLOADED", "DEPENDENCY_UNAVAILABLE"}
        listed = await client.conversations.ListMessages(
            conversation_service_pb2.ListMessagesRequest(conversation_id=message.message.conversation_id)
        )
        assert message.message.id in [one.id for one in listed.messages]
        await replaced(stack, ENGINE, engine.pid, RELOAD_SECONDS)
        again = await answer_again(client, RELOAD_SECONDS)
        assert again.state == turn_pb2.TURN_STATE_FINISHED
    assert await ready(stack, USUAL_RECOVERY_SECONDS) == before
    assert not engine.is_running()


@pytest.mark.timeout(1000)
async def test_an_engine_that_is_killed_is_replaced(stack: Stack) -> None:
    await engine_struck(stack, lambda engine: engine.kill())


@pytest.mark.timeout(1000)
async def test_an_engine_that_is_given_no_more_memory_is_replaced(stack: Stack) -> None:
    await engine_struck(stack, lambda engine: engine.rlimit(psutil.RLIMIT_AS, (1 << 20, 1 << 20)))


@pytest.mark.timeout(1000)
async def test_all_replicas_of_a_machine_can_go_at_once(stack: Stack) -> None:
    """The model's, the embedder's and the router's; Ray and its controller are somewhere else."""

    def strike(engine: psutil.Process) -> None:
        for one in (*named(stack, "ServeReplica"), engine):
            one.kill()

    await engine_struck(stack, strike)


@pytest.mark.timeout(1000)
async def test_an_engine_that_hangs_is_noticed_and_replaced(stack: Stack) -> None:
    await engine_struck(stack, lambda engine: engine.send_signal(signal.SIGSTOP))


async def test_answers_do_not_need_the_serve_controller(stack: Stack) -> None:
    """It is killed while a turn runs and before another: both finish, it comes back, and no process is restarted."""
    before = await ready(stack, USUAL_RECOVERY_SECONDS)
    (controller,) = await asyncio.to_thread(named, stack, CONTROLLER)
    async with stack.client("customer") as client:
        message = await sent(client, "What is the warranty on a tent?")
        controller.kill()
        assert (await ended(client, message.turn.id)).state == turn_pb2.TURN_STATE_FINISHED
        assert (await client.ask("Do gift cards expire?")).state == turn_pb2.TURN_STATE_FINISHED
    await replaced(stack, CONTROLLER, controller.pid, USUAL_RECOVERY_SECONDS)
    assert await ready(stack, USUAL_RECOVERY_SECONDS) == before


async def test_nothing_is_lost_with_all_that_valkey_holds(stack: Stack) -> None:
    """Everything in it is flushed while a turn runs.

    The turn ends, its message and answer are there, people stay signed in, and who watches a conversation sees each
    offset once.
    """
    async with (
        stack.client("customer") as client,
        Redis(unix_socket_path=str(stack.home / "run" / "valkey.sock")) as redis,
    ):
        conversation = await client.start_conversation()
        offsets: list[int] = []
        done = asyncio.Event()

        async def follow() -> None:
            async for event in client.watch(conversation.id):
                offsets.append(event.offset)
                if event.HasField("turn_finished") and done.is_set():
                    return

        reader = asyncio.create_task(follow())
        message = await client.orchestrator.SendMessage(
            orchestrator_service_pb2.SendMessageRequest(
                request_id=f"flush-{time.time_ns()}", conversation_id=conversation.id, text="Do gift cards expire?"
            )
        )
        await redis.flushall()
        turn = await ended(client, message.turn.id)
        assert turn.state == turn_pb2.TURN_STATE_FINISHED
        done.set()
        again = await client.ask("What is the warranty on a tent?", conversation.id)
        assert again.state == turn_pb2.TURN_STATE_FINISHED
        await asyncio.wait_for(reader, 30)
        assert offsets == list(range(1, len(offsets) + 1))


@pytest.mark.timeout(600)
async def test_a_model_that_does_not_load_ends_the_start_with_words(stack: Stack, tmp_path: Path) -> None:
    """What the supervisor or a person sees of a wrong file.

    The process gives up by itself, says which application it was, leaves nothing behind, and touches no running stack.
    """
    before = await ready(stack, USUAL_RECOVERY_SECONDS)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    content = yaml.safe_load((CONFIGS / "laptop.yaml").read_text())
    content["models"][0]["source"] = {"kind": "path", "path": str(broken)}
    del content["embedder"]
    file = tmp_path / "broken.yaml"
    file.write_text(yaml.safe_dump(content))
    home = tmp_path / "home"
    # The supervisor makes it for whatever it starts.
    (home / "run").mkdir(parents=True)
    environment = os.environ | {
        "DESKMESH_HOME": str(home),
        "DESKMESH_BASE_PORT": str(stack.base_port + 100),
        "DESKMESH_REPLICA_PORT": str(stack.base_port + 24_000),
        "DESKMESH_INFERENCE_CONFIG": str(file),
    }
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "serve_apps.assistant", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(started.communicate(), REFUSE_SECONDS)
    assert started.returncode == 1
    assert b"application llm cannot be deployed" in said
    assert of_session(home.resolve()) == []
    assert await ready(stack, USUAL_RECOVERY_SECONDS) == before

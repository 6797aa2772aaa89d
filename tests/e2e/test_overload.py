"""More is asked of the real model than its places and its queue hold: who asks is told so, and may try again."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from deskmesh.inference.v1 import (
    chat_pb2,
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from deskmesh.orchestrator.v1 import orchestrator_service_pb2, turn_pb2
from deskmesh.sessions.v1 import conversation_service_pb2
from deskmesh_client import Client, DeskmeshError
from serve_apps.assistant.config import load_config
from services.common.errors import from_rpc_error
from tests.e2e.serve_apps.conftest import channel
from tests.support.browser import chromium
from tests.support.stack import Stack

JOURNEY = Path(__file__).parent / "web" / "overload.mjs"
TARGET = Path(__file__).parents[2] / "serve_apps" / "configs" / "laptop.yaml"
QUESTION = "How many days do I have to return something?"
# Asked beyond what fits, so that the refusals of the replica itself are seen too.
SURPLUS = 6
FILL_SECONDS = 60.0
EMPTY_SECONDS = 15.0
FLOOD_SECONDS = 280.0
JOURNEY_SECONDS = 240.0

pytestmark = pytest.mark.timeout(1500)


@asynccontextmanager
async def flooded(stack: Stack) -> AsyncIterator[list[BaseException]]:
    """Ask for long answers until every place is taken; yields what those beyond met. They are cancelled at the end."""
    (model,) = load_config(TARGET).models
    assert model.engine.kind == "vllm"
    capacity = model.engine.max_running + model.max_queued_requests
    async with channel(stack, "orchestrator") as opened:
        inference = inference_service_pb2_grpc.InferenceServiceStub(opened)
        router = router_service_pb2_grpc.RouterServiceStub(opened)
        refusals: list[BaseException] = []

        async def ask(number: int) -> None:
            request = inference_service_pb2.ChatRequest(
                model=model.name, sampling=chat_pb2.Sampling(max_tokens=3000), priority=number
            )
            request.messages.add(role=chat_pb2.CHAT_ROLE_USER, content=f"Tell story number {number}, a very long one.")
            try:
                async for _ in inference.Chat(request, timeout=FLOOD_SECONDS):
                    pass
            except grpc.aio.AioRpcError as error:
                refusals.append(error)

        asking = [asyncio.create_task(ask(number)) for number in range(capacity + SURPLUS)]
        try:
            await until_taken(router, capacity, FILL_SECONDS)
            yield refusals
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await until_taken(router, 0, EMPTY_SECONDS)


async def until_taken(router: "router_service_pb2_grpc.RouterServiceAsyncStub", places: int, seconds: float) -> None:
    """Wait until so many of the model's places are taken."""
    taken = -1
    try:
        async with asyncio.timeout(seconds):
            while taken != places:
                await asyncio.sleep(0.1)
                listed = await router.ListModels(router_service_pb2.ListModelsRequest())
                (replica,) = listed.models[0].replicas
                taken = replica.running + replica.waiting
    except TimeoutError:
        pytest.fail(f"{taken} places taken after {seconds:g} s, not {places}")


async def send(client: Client, conversation_id: str, text: str) -> turn_pb2.Turn:
    """SendMessage, as the page calls it."""
    request = orchestrator_service_pb2.SendMessageRequest(
        request_id=uuid.uuid4().hex, conversation_id=conversation_id, text=text
    )
    return (await client.orchestrator.SendMessage(request)).turn


async def test_a_full_queue_is_told_at_once_and_lets_those_through_who_need_no_model(stack: Stack) -> None:
    async with stack.client("customer") as client:
        conversation = await client.start_conversation()
        async with flooded(stack) as refusals:
            assert len(refusals) == SURPLUS
            for refusal in refusals:
                assert isinstance(refusal, grpc.aio.AioRpcError)
                error = from_rpc_error(refusal)
                assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MODEL_OVERLOADED")
                assert error.retry_after_seconds

            async with asyncio.timeout(10):
                with pytest.raises(DeskmeshError) as refused:
                    await send(client, conversation.id, QUESTION)
                with pytest.raises(DeskmeshError) as refused_run:
                    await client.ask(QUESTION, conversation.id)
            for raised in (refused.value, refused_run.value):
                assert raised.code is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert raised.reason == "MODEL_OVERLOADED"
                assert raised.retry_after_seconds
                assert raised.trace_id

            kept = await client.conversations.ListMessages(
                conversation_service_pb2.ListMessagesRequest(conversation_id=conversation.id)
            )
            assert not kept.messages, "a refused message is not recorded"
            person = await client.ask("I want to talk to a real person, please.")
            assert person.decision == turn_pb2.DECISION_HANDOFF
        turn = await client.ask(QUESTION, conversation.id)
    assert turn.decision == turn_pb2.DECISION_ANSWER
    assert "45 days" in turn.answer
    assert turn.model


async def test_the_page_says_that_the_assistant_is_busy_and_offers_to_try_again(stack: Stack, tmp_path: Path) -> None:
    environment = os.environ | {"EDGE_URL": stack.edge_url, "CHROMIUM": chromium(), "PICTURES": str(tmp_path)}
    pipe = asyncio.subprocess.PIPE
    async with flooded(stack):
        page = await asyncio.create_subprocess_exec(
            "node", str(JOURNEY), env=environment, stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert page.stdout is not None
        async with asyncio.timeout(JOURNEY_SECONDS):
            line = await page.stdout.readline()
    out, complaints = await asyncio.wait_for(page.communicate(b"there is room\n"), JOURNEY_SECONDS)
    assert page.returncode == 0, complaints.decode()
    facts = json.loads(out or line)
    assert "broke_off" not in facts, json.dumps(facts, indent=2) + f"\npictures: {tmp_path}"
    assert line == b"refused\n"
    assert "Not sent" in facts["refusal"]
    assert "busy right now" in facts["refusal"]
    assert "Try again in" in facts["refusal"]
    assert facts["waits"], "the time that the service asked for is waited for"
    assert "Try again" in facts["offered"]
    assert facts["alerts_after"] == 0
    assert facts["text_after"].count(QUESTION) == 1
    assert "45 days" in facts["text_after"]
    assert facts["faults"] == []

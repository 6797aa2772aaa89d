"""The context window, counted by whatever serves InferenceService; here it counts words."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NoReturn

import grpc
import pytest_asyncio

from deskmesh.inference.v1 import inference_service_pb2, inference_service_pb2_grpc
from deskmesh.sessions.v1 import conversation_service_pb2 as pb
from services.common.server import Platform, ServicerRegistration
from services.common.settings import ServiceSettings
from services.sessions.app import wire
from services.sessions.settings import SessionsSettings
from tests.integration.sessions.people import People
from tests.support.server import TestStack, refused


class WordCounter(inference_service_pb2_grpc.InferenceServiceServicer):
    """Counts words, and what it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.models: list[str] = []

    def Chat(self, request: object, context: object) -> NoReturn:
        raise AssertionError("nobody chats here")

    def Score(self, request: object, context: object) -> NoReturn:
        raise AssertionError("nobody scores here")

    def RenderPrompt(self, request: object, context: object) -> NoReturn:
        raise AssertionError("nobody renders here")

    async def CountTokens(
        self, request: inference_service_pb2.CountTokensRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> inference_service_pb2.CountTokensResponse:
        headers = dict(context.invocation_metadata() or ())
        self.models.append(str(headers.get("x-deskmesh-model", "")))
        if request.model:
            self.texts.extend(request.texts)
        if request.model == "broken":
            return inference_service_pb2.CountTokensResponse(model="broken")
        return inference_service_pb2.CountTokensResponse(
            counts=[len(text.split()) for text in request.texts], model=request.model or "small"
        )


@pytest_asyncio.fixture
async def counter() -> WordCounter:
    return WordCounter()


@pytest_asyncio.fixture
async def reader(stack: TestStack, counter: WordCounter, organization_id: str) -> AsyncIterator[People]:
    async def wire_counter(_: AsyncExitStack, __: Platform[ServiceSettings]) -> list[ServicerRegistration]:
        return [ServicerRegistration(inference_service_pb2_grpc.add_InferenceServiceServicer_to_server, counter)]

    async with (
        stack.service("inference", ServiceSettings, wire_counter) as inference,
        stack.service("sessions", SessionsSettings, wire, inference_address=inference.address) as service,
    ):
        yield People(service, organization_id)


async def context(people: People, conversation_id: str, max_tokens: int, model: str = "") -> pb.GetContextResponse:
    request = pb.GetContextRequest(conversation_id=conversation_id, max_tokens=max_tokens, model=model)
    return await people.orchestrator.GetContext(request, metadata=people.acting)


async def test_the_newest_messages_that_fit(reader: People) -> None:
    conversation = await reader.begin()
    for text in ("one two three", "four five", "six"):
        await reader.say(conversation.id, text)
    found = await context(reader, conversation.id, 3)
    assert [message.text for message in found.messages] == ["four five", "six"]
    assert (found.tokens, found.truncated) == (3, True)
    every = await context(reader, conversation.id, 6)
    assert (len(every.messages), every.tokens, every.truncated) == (3, 6, False)


async def test_a_newest_message_that_is_too_long_leaves_nothing(reader: People) -> None:
    conversation = await reader.begin()
    await reader.say(conversation.id, "too many words")
    found = await context(reader, conversation.id, 2)
    assert (len(found.messages), found.tokens, found.truncated) == (0, 0, True)


async def test_each_message_is_counted_once_a_model(reader: People, counter: WordCounter) -> None:
    conversation = await reader.begin()
    await reader.say(conversation.id, "first")
    await context(reader, conversation.id, 10)
    await reader.say(conversation.id, "second")
    for _ in range(3):
        await context(reader, conversation.id, 10)
    assert counter.texts == ["first", "second"]
    await context(reader, conversation.id, 10, model="large")
    assert sorted(counter.texts) == ["first", "first", "second", "second"]
    # The default model is asked for by no name, and its answer is remembered by the name it gave.
    assert counter.models == ["", "small", "small", "large"]


async def test_a_long_conversation_is_read_in_pieces(reader: People) -> None:
    conversation = await reader.begin()
    for number in range(70):
        await reader.say(conversation.id, f"message {number}")
    found = await context(reader, conversation.id, 134)
    assert [message.text for message in found.messages] == [f"message {number}" for number in range(3, 70)]
    assert (found.tokens, found.truncated) == (134, True)


async def test_a_tokenizer_that_answers_nonsense_is_unavailable(reader: People) -> None:
    conversation = await reader.begin()
    await reader.say(conversation.id, "hello")
    async with refused() as refusal:
        await context(reader, conversation.id, 10, model="broken")
    assert refusal.error.code is grpc.StatusCode.UNAVAILABLE


async def test_without_a_tokenizer_the_context_is_unavailable(people: People) -> None:
    conversation = await people.begin()
    await people.say(conversation.id, "hello")
    async with refused() as refusal:
        await context(people, conversation.id, 10)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert refusal.error.retry_after_seconds

"""The batching of concurrent calls, and the choice among models."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from unittest.mock import AsyncMock

import pytest
import pytest_asyncio

from deskmesh.inference.v1 import embedding_service_pb2
from serve_apps.assistant.embedding import Batcher, EmbeddingModel, Vector
from serve_apps.assistant.engines.base import EngineLoad
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded
from serve_apps.assistant.servicer import EmbeddingServicer


class Lengths:
    """An encoder whose vector is the length of the text; it waits until it is let go."""

    dimension = 1

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()
        self.go.set()

    def encode(self, texts: Sequence[str]) -> list[Vector]:
        self.go.wait(5)
        self.batches.append(list(texts))
        if "poison" in texts:
            raise ValueError("cannot be encoded")
        return [Vector([float(len(text))], len(text), truncated=False) for text in texts]


@pytest.fixture
def encoder() -> Lengths:
    return Lengths()


@pytest_asyncio.fixture
async def batcher(encoder: Lengths) -> AsyncIterator[Batcher]:
    batcher = Batcher(encoder, max_batch_texts=4, wait_seconds=0.01, max_queued_texts=10)
    batcher.start()
    yield batcher
    encoder.go.set()
    await batcher.stop()


async def test_concurrent_calls_share_a_batch_and_get_their_own_vectors(batcher: Batcher, encoder: Lengths) -> None:
    one, two = await asyncio.gather(batcher.embed(["a", "bb"]), batcher.embed(["ccc"]))
    assert [vector.values for vector in one] == [[1.0], [2.0]]
    assert [vector.values for vector in two] == [[3.0]]
    assert encoder.batches == [["a", "bb", "ccc"]]


async def test_a_batch_is_never_larger_than_allowed(batcher: Batcher, encoder: Lengths) -> None:
    await batcher.embed([str(number) for number in range(10)])
    assert max(map(len, encoder.batches)) <= 4


async def test_a_failure_belongs_to_its_batch_alone(batcher: Batcher) -> None:
    with pytest.raises(ValueError, match="cannot be encoded"):
        await batcher.embed(["poison"])
    assert [vector.values for vector in await batcher.embed(["fine"])] == [[4.0]]
    batcher.check()


async def test_too_many_texts_are_refused_and_those_given_up_are_not_encoded(
    batcher: Batcher, encoder: Lengths
) -> None:
    encoder.go.clear()
    first = asyncio.create_task(batcher.embed(["first"]))
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(batcher.embed(["given", "up"]))
    await asyncio.sleep(0)
    assert batcher.load() == EngineLoad(running=1, waiting=2)
    with pytest.raises(ModelOverloaded):
        await batcher.embed(["x"] * 9)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    encoder.go.set()
    await first
    await batcher.embed(["last"])
    assert encoder.batches == [["first"], ["last"]]


async def test_a_loop_that_ended_is_noticed(batcher: Batcher) -> None:
    await batcher.stop()
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        batcher.check()


async def test_a_model_is_asked_by_its_name_and_told_what_is_a_question() -> None:
    plain, asking = Lengths(), Lengths()
    models = [
        EmbeddingModel("plain", 1, Batcher(plain, max_batch_texts=4, wait_seconds=0, max_queued_texts=10)),
        EmbeddingModel("asking", 1, Batcher(asking, max_batch_texts=4, wait_seconds=0, max_queued_texts=10), "Q: "),
    ]
    servicer, context = EmbeddingServicer(models), AsyncMock()
    for model in models:
        model.batcher.start()
    try:
        for name, questions in (("", True), ("asking", False), ("asking", True)):
            request = embedding_service_pb2.EmbedRequest(texts=["why"], model=name, questions=questions)
            assert (await servicer.Embed(request, context)).model == (name or "plain")
        with pytest.raises(ModelNotFound):
            await servicer.Embed(embedding_service_pb2.EmbedRequest(texts=["why"], model="other"), context)
    finally:
        for model in models:
            await model.batcher.stop()
    assert (plain.batches, asking.batches) == ([["why"]], [["why"], ["Q: why"]])

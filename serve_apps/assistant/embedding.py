"""Embeddings: plain values, the batching of concurrent calls, and the service over both."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from serve_apps.assistant.engines.base import EngineLoad
from serve_apps.assistant.errors import ModelOverloaded

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Vector:
    """A text's vector, of length one; `tokens` of the text went into it, all of them unless `truncated`."""

    values: list[float]
    tokens: int
    truncated: bool


class Encoder(Protocol):
    """A model that turns a batch of texts into vectors; it computes, so it runs in a thread."""

    dimension: int

    def encode(self, texts: Sequence[str]) -> list[Vector]: ...


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model by its name, behind its batcher; `question_prefix` stands before texts that are questions."""

    name: str
    dimension: int
    batcher: "Batcher"
    question_prefix: str = ""


class Batcher:
    """Joins the texts of concurrent calls into batches for one encoder thread.

    A batch starts as soon as the encoder is free and `wait_seconds` have passed since its first text, or it is full.
    """

    def __init__(self, encoder: Encoder, *, max_batch_texts: int, wait_seconds: float, max_queued_texts: int) -> None:
        self._encoder = encoder
        self._max_batch = max_batch_texts
        self._wait = wait_seconds
        self._max_queued = max_queued_texts
        self._queue: asyncio.Queue[tuple[str, asyncio.Future[Vector]]] = asyncio.Queue()
        self._running = 0
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take batches; needs a running loop."""
        self._task = asyncio.create_task(self._run())

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Vectors in the order of the texts. Raises ModelOverloaded when too many texts wait."""
        if self._queue.qsize() + len(texts) > self._max_queued:
            raise ModelOverloaded(retry_after_seconds=RETRY_SECONDS)
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in texts]
        for entry in zip(texts, futures, strict=True):
            self._queue.put_nowait(entry)
        try:
            return list(await asyncio.gather(*futures))
        finally:
            for future in futures:
                future.cancel()

    def load(self) -> EngineLoad:
        """Texts being encoded and waiting."""
        return EngineLoad(self._running, self._queue.qsize())

    def check(self) -> None:
        """Raise RuntimeError if the loop that takes batches has ended."""
        if self._task is None or self._task.done():
            raise RuntimeError("the embedder's batches are no longer taken")

    async def stop(self) -> None:
        """End the loop and the thread."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._take()
            if not batch:
                continue
            self._running = len(batch)
            try:
                vectors = await loop.run_in_executor(self._thread, self._encoder.encode, [text for text, _ in batch])
            except Exception as error:  # noqa: BLE001 - it belongs to the callers of this batch; the next one goes on
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), vector in zip(batch, vectors, strict=True):
                    if not future.done():
                        future.set_result(vector)
            finally:
                self._running = 0

    async def _take(self) -> list[tuple[str, asyncio.Future[Vector]]]:
        """The next batch, without texts whose callers have gone; it may be empty."""
        entries = [await self._queue.get()]
        if self._wait > 0 and self._queue.qsize() < self._max_batch - 1:
            await asyncio.sleep(self._wait)
        while len(entries) < self._max_batch and not self._queue.empty():
            entries.append(self._queue.get_nowait())
        return [entry for entry in entries if not entry[1].done()]

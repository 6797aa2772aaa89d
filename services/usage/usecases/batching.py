"""Answers many calls with one transaction: what comes while one runs waits for the next and shares it.

Everybody who reserves locks the same few accounts. One transaction a call makes them queue for the lock, one commit
each; one transaction for all that wait pays for both once (docs/adr/0008).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from services.common import background
from services.common.errors import DomainError

I = TypeVar("I")  # noqa: E741 - an input
O = TypeVar("O")  # noqa: E741 - an output

LARGEST_BATCH = 256

Handle = Callable[[Sequence[I]], Awaitable[Sequence[O | DomainError]]]


class Batcher(Generic[I, O]):
    """Runs `handle` on everything that waits, one batch at a time; an answer that is a DomainError is raised."""

    def __init__(self, name: str, handle: Handle[I, O]) -> None:
        self._name = name
        self._handle = handle
        self._waiting: deque[tuple[I, asyncio.Future[O]]] = deque()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Batcher[I, O]":
        self._task = asyncio.create_task(self._run(), name=self._name)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)
        for waiting in self._waiting:
            waiting[1].cancel()

    async def submit(self, item: I) -> O:
        """The answer to one call. Raises what the batch failed with, too."""
        future: asyncio.Future[O] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._woken.set()
        return await future

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                await self._run_batch()

    async def _run_batch(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_BATCH))]
        # Whoever gave up meanwhile needs nothing.
        batch = [(item, future) for item, future in batch if not future.done()]
        if not batch:
            return
        try:
            answers = await self._handle([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, DomainError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

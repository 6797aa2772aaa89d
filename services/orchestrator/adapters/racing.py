"""Two streams that say the same: whichever begins first is listened to, the other is ended."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from services.common.errors import DomainError

T = TypeVar("T")
Stream = AsyncGenerator[T, None]


async def whichever_begins_first(
    first: Stream[T], after: float, second: Callable[[], Awaitable[Stream[T] | None]]
) -> AsyncGenerator[T, None]:
    """All of `first`, unless nothing of it has come `after` seconds and that of `second` comes sooner.

    `second` may find none. When one of the two fails before it begins, the other goes on; when both do, the first
    failure is raised. Closing the generator closes both.
    """
    begun: dict[asyncio.Task[T | None], Stream[T]] = {_begin(first): first}
    streams = [first]
    try:
        done, _ = await asyncio.wait(begun, timeout=after)
        if not done and (other := await second()) is not None:
            begun[_begin(other)] = other
            streams.append(other)
        task, chosen = await _winner(begun)
        for stream in streams:
            if stream is not chosen:
                await _end({one: of for one, of in begun.items() if of is stream}, [stream])
        item = task.result()
        while item is not None:
            yield item
            item = await anext(chosen, None)
    finally:
        await _end(begun, streams)


async def _winner(begun: dict[asyncio.Task[T | None], Stream[T]]) -> tuple[asyncio.Task[T | None], Stream[T]]:
    """The first that begins; if none does, the first that failed."""
    waiting, failed = set(begun), []
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=list(begun).index):
            if not isinstance(task.exception(), DomainError):
                return task, begun[task]
            failed.append(task)
    return failed[0], begun[failed[0]]


def _begin(stream: Stream[T]) -> "asyncio.Task[T | None]":
    async def begin() -> T | None:
        return await anext(stream, None)

    return asyncio.create_task(begin())


async def _end(tasks: "dict[asyncio.Task[T | None], Stream[T]]", streams: list[Stream[T]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for stream in streams:
        await stream.aclose()

"""Calls that come together are answered together."""

import asyncio
from collections.abc import Sequence

import pytest

from services.common.errors import DomainError, Unavailable
from services.usage.usecases.batching import LARGEST_BATCH, Batcher


class Doubling:
    """Doubles numbers, a batch at a time, once it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self.let = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int | DomainError]:
        self.batches.append(list(numbers))
        self.begun.set()
        await self.let.wait()
        if self.error:
            raise self.error
        return [2 * number if number >= 0 else Unavailable() for number in numbers]


async def test_what_comes_while_a_batch_runs_shares_the_next() -> None:
    doubling = Doubling()
    async with Batcher("test", doubling) as batcher:
        first = asyncio.create_task(batcher.submit(0))
        await doubling.begun.wait()
        rest = [asyncio.create_task(batcher.submit(number)) for number in range(1, 2 + LARGEST_BATCH)]
        await asyncio.sleep(0)
        doubling.let.set()
        assert await asyncio.gather(first, *rest) == [2 * number for number in range(2 + LARGEST_BATCH)]
    assert [len(batch) for batch in doubling.batches] == [1, LARGEST_BATCH, 1]


async def test_one_refusal_does_not_touch_the_others() -> None:
    doubling = Doubling()
    doubling.let.set()
    async with Batcher("test", doubling) as batcher:
        answers = await asyncio.gather(*map(batcher.submit, (1, -1, 2)), return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 4)
    assert isinstance(answers[1], Unavailable)


async def test_a_failure_reaches_everybody_and_the_next_batch_works() -> None:
    doubling = Doubling()
    doubling.let.set()
    doubling.error = ConnectionError("gone")
    async with Batcher("test", doubling) as batcher:
        answers = await asyncio.gather(*map(batcher.submit, (1, 2)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
        doubling.error = None
        assert await batcher.submit(3) == 6


async def test_who_gave_up_is_left_out_and_the_end_lets_nobody_wait() -> None:
    doubling = Doubling()
    async with Batcher("test", doubling) as batcher:
        running = asyncio.create_task(batcher.submit(1))
        await doubling.begun.wait()
        gone, waiting = asyncio.create_task(batcher.submit(2)), asyncio.create_task(batcher.submit(3))
        await asyncio.sleep(0)
        gone.cancel()
    for task in (running, gone, waiting):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert doubling.batches == [[1]]

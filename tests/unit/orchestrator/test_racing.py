"""Two streams, of which the one that begins first is listened to."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from services.orchestrator.adapters.racing import whichever_begins_first
from services.orchestrator.errors import ModelOverloaded, ModelUnavailable


class Source:
    """A stream of its name, that begins when it is let, and knows whether it was closed."""

    def __init__(self, name: str, *, ready: bool = False, error: Exception | None = None) -> None:
        self.name = name
        self.error = error
        self.may_begin = asyncio.Event()
        self.closed = False
        if ready:
            self.may_begin.set()

    async def stream(self) -> AsyncGenerator[str, None]:
        try:
            await self.may_begin.wait()
            if self.error:
                raise self.error
            yield f"{self.name} 1"
            yield f"{self.name} 2"
        finally:
            self.closed = True


class Second:
    """Gives the second stream when it is asked for."""

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self.asked = asyncio.Event()

    async def __call__(self) -> AsyncGenerator[str, None] | None:
        self.asked.set()
        return self.source.stream() if self.source else None


async def heard(first: Source, second: Second, after: float = 0.01) -> list[str]:
    return [item async for item in whichever_begins_first(first.stream(), after, second)]


async def test_what_begins_in_time_is_not_doubled() -> None:
    second = Second(Source("b", ready=True))
    assert await heard(Source("a", ready=True), second, after=5.0) == ["a 1", "a 2"]
    assert not second.asked.is_set()


async def test_the_second_is_heard_when_it_begins_first_and_the_slow_one_is_closed() -> None:
    slow, fast = Source("a"), Source("b", ready=True)
    assert await heard(slow, Second(fast)) == ["b 1", "b 2"]
    assert slow.closed
    assert fast.closed


async def test_the_first_is_heard_when_it_begins_after_all() -> None:
    slow, slower = Source("a"), Source("b")
    second = Second(slower)
    hearing = asyncio.create_task(heard(slow, second))
    await second.asked.wait()
    slow.may_begin.set()
    assert await hearing == ["a 1", "a 2"]
    assert slower.closed


async def test_without_a_second_the_first_is_waited_for() -> None:
    slow, second = Source("a"), Second(None)
    hearing = asyncio.create_task(heard(slow, second))
    await second.asked.wait()
    slow.may_begin.set()
    assert await hearing == ["a 1", "a 2"]


async def test_one_that_fails_leaves_it_to_the_other_and_the_first_failure_is_told() -> None:
    failing = Source("b", ready=True, error=ModelOverloaded())
    slow, second = Source("a"), Second(failing)
    hearing = asyncio.create_task(heard(slow, second))
    await second.asked.wait()
    slow.may_begin.set()
    assert await hearing == ["a 1", "a 2"]
    with pytest.raises(ModelOverloaded):
        await heard(failing, Second(None))
    broken, waiting = Source("a", error=ModelUnavailable()), Second(failing)
    hearing = asyncio.create_task(heard(broken, waiting))
    await waiting.asked.wait()
    await asyncio.sleep(0)
    broken.may_begin.set()
    with pytest.raises((ModelUnavailable, ModelOverloaded)):
        await hearing


async def test_whoever_stops_listening_closes_both() -> None:
    slow, fast = Source("a"), Source("b", ready=True)
    hearing = whichever_begins_first(slow.stream(), 0.01, Second(fast))
    assert await anext(hearing) == "b 1"
    await hearing.aclose()
    assert slow.closed
    assert fast.closed

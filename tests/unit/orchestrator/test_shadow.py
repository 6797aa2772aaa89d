"""Which turns are repeated in the shadow, for how long, and what is told of it."""

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from opentelemetry import trace

from services.orchestrator.domain import Call, Person, Turn, TurnState
from services.orchestrator.ports import Route
from services.orchestrator.workflow.record import Recorder
from services.orchestrator.workflow.services import Services
from services.orchestrator.workflow.shadow import Shadows
from tests.contract.orchestrator.memory import MemoryWork, Tables

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class FakeModels:
    """A router with a version in the shadow that does not leave it."""

    asked: int = 0

    async def shadow(self, route: Route, seconds: float) -> AsyncGenerator[Route, None]:
        self.asked += 1
        yield route
        await asyncio.Event().wait()


@dataclass
class FakeCall:
    """A call that takes until `done` is set."""

    route: Route
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def again(self, route: Route, services: Services, record: Recorder) -> bool | None:
        async with record.step("score") as notes:
            notes.model, notes.call = route.model, Call("new")
            await self.done.wait()
        return True


class House:
    """Repetitions within a tenth of a second."""

    def __init__(self, at_once: int = 1) -> None:
        self.models, self.tables = FakeModels(), Tables()
        nobody: Any = None
        services = Services(nobody, nobody, nobody, nobody, self.models, nobody, turn_seconds=0.1)  # type: ignore[arg-type]
        work: Any = partial(MemoryWork, self.tables)
        tracer = trace.NoOpTracer()
        self.shadows = Shadows(services, work, lambda: NOW, tracer, random.Random(3), at_once=at_once)

    def take_up(self, turn_id: str, percent: int, *, done: bool) -> None:
        call = FakeCall(Route("m", "a", "", version="old", shadow_percent=percent))
        if done:
            call.done.set()
        person = Person("org_1", "usr_1", ("customer",))
        self.shadows.take_up(Turn(turn_id, "cnv_1", person, "Hello", TurnState.FINISHED, NOW, "t"), [call])

    async def told(self, count: int) -> dict[str, str]:
        """The failures of so many repetitions, by turn, once they are told."""
        async with asyncio.timeout(10):
            while True:
                if len(self.tables.figures) == count:
                    return {turn: calls[0].error_reason for turn, calls in self.tables.figures.items()}
                await asyncio.sleep(0.001)


async def test_one_that_does_not_end_in_time_is_a_failure_that_is_told() -> None:
    house = House()
    async with house.shadows:
        house.take_up("slow", 100, done=False)
        assert await house.told(1) == {"slow:shadow": "CANCELLED"}
        assert house.tables.figures["slow:shadow"][0].call.grounded is None


async def test_a_share_of_the_turns_is_repeated() -> None:
    house = House(at_once=1000)
    async with house.shadows:
        for number in range(400):
            house.take_up(f"none-{number}", 0, done=True)
            house.take_up(f"turn-{number}", 25, done=True)
        await asyncio.sleep(0)
        assert 70 < house.models.asked < 130
        assert set((await house.told(house.models.asked)).values()) == {""}
        assert not [turn for turn in house.tables.figures if turn.startswith("none")]


async def test_what_finds_no_place_or_is_ended_is_not_told_of() -> None:
    house = House(at_once=1)
    async with house.shadows:
        house.take_up("ended", 100, done=False)
        house.take_up("without a place", 100, done=True)
        await asyncio.sleep(0)
        assert house.models.asked == 1
        house.shadows.give_way()
        async with asyncio.timeout(10):
            while "after" not in str(house.tables.figures):
                await asyncio.sleep(0.001)
                house.take_up("after", 100, done=True)
    assert set(house.tables.figures) == {"after:shadow"}

    house = House(at_once=0)
    house.take_up("off", 100, done=True)
    await asyncio.sleep(0)
    assert house.models.asked == 0

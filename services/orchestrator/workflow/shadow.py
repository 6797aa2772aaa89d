"""Repeats what ended turns asked of models, for versions that are in the shadow: nobody is shown what comes of it.

It is told to whoever judges models, and to nobody else: not to the conversation, not to the turn's record, not to the
ledger. It begins when the turn is over, and is dropped first when there is much to do.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from services.common.clock import Clock
from services.common.errors import DomainError
from services.common.spending import Usage
from services.orchestrator.answering.decision import Action, evidence, judge
from services.orchestrator.answering.ranking import Candidate
from services.orchestrator.domain import CallFigures, Turn
from services.orchestrator.ports import Prompt, Route, WorkFor
from services.orchestrator.workflow.figures import figures
from services.orchestrator.workflow.gather import Reading, abandon
from services.orchestrator.workflow.rank import weigh
from services.orchestrator.workflow.record import Recorder
from services.orchestrator.workflow.services import Services
from services.orchestrator.workflow.word import Attempt, told_to_model

logger = logging.getLogger(__name__)


class Repeatable(Protocol):
    """Something that a turn asked of a model, with all that it takes to ask it again."""

    @property
    def route(self) -> Route:
        """Where it went."""

    async def again(self, route: Route, services: Services, record: Recorder) -> bool | None:
        """Ask it there; whether the turn would have answered by it, None when the record says that itself."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Sentences that were put in order for a message."""

    route: Route
    message: str
    reading: Reading
    candidates: list[Candidate]

    async def again(self, route: Route, services: Services, record: Recorder) -> bool | None:
        weighed = await weigh(self.reading.question, self.candidates, route, services, record)
        return judge(self.message, self.reading.near, evidence(weighed)) is Action.ANSWER


@dataclass(frozen=True, slots=True)
class Worded:
    """An answer that was worded freely."""

    route: Route
    prompt: Prompt
    candidates: Sequence[Candidate]

    async def again(self, route: Route, services: Services, record: Recorder) -> bool | None:
        attempt = Attempt(route, self.prompt, told_to_model(self.candidates))
        async with aclosing(attempt.parts(services, record, _Unmetered())) as parts:
            async for _ in parts:
                continue
        return None


class _Unmetered:
    """No customer pays for it."""

    async def used(self, usage: Usage) -> None:
        """Nothing to count."""


class Shadows:
    """Repeats at most `at_once` turns at a time; leaving it ends what is being repeated."""

    def __init__(
        self,
        services: Services,
        work_for: WorkFor,
        clock: Clock,
        tracer: trace.Tracer,
        draw: random.Random,
        *,
        at_once: int,
    ) -> None:
        self._services = services
        self._work_for = work_for
        self._clock = clock
        self._tracer = tracer
        self._draw = draw
        self._at_once = at_once
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Shadows":
        return self

    async def __aexit__(self, *_: object) -> None:
        await abandon(*self._running)

    def take_up(self, turn: Turn, calls: Sequence[Repeatable]) -> None:
        """Repeat what a turn that ended asked of models, if it is drawn and there is room; never waits or raises."""
        drawn = self._draw.random() * 100
        asked = [call for call in calls if drawn < call.route.shadow_percent]
        if not asked or len(self._running) >= self._at_once:
            return
        task = asyncio.create_task(self._see_through(turn, asked), name=f"shadow of {turn.id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def give_way(self) -> None:
        """End what is being repeated: customers need the room. Nothing is told of it."""
        for task in self._running:
            task.cancel()

    async def _see_through(self, turn: Turn, calls: Sequence[Repeatable]) -> None:
        try:
            # A trace of its own, as the turn's is over.
            with self._tracer.start_as_current_span("turn.shadow", context=Context()):
                found = [figure for call in calls for figure in await self._repeat(call)]
            if found:
                async with self._work_for(turn.customer.organization_id) as work:
                    await work.figures.add(turn.id, found, shadow=True)
                    await work.commit()
                logger.info("turn repeated in the shadow", extra={"turn_id": turn.id})
        except Exception:
            logger.exception("a turn could not be repeated", extra={"turn_id": turn.id})

    async def _repeat(self, call: Repeatable) -> Sequence[CallFigures]:
        """What it shows; nothing when it may not be repeated, or no longer."""
        record = Recorder(self._clock(), self._clock, self._tracer)
        seconds = self._services.turn_seconds
        async with aclosing(self._services.models.shadow(call.route, seconds)) as places:
            try:
                route = await anext(places, None)
            except DomainError:
                route = None
            if route is None:
                return ()
            asking = asyncio.ensure_future(self._ask(call, route, record))
            over = asyncio.ensure_future(anext(places, None))
            try:
                await asyncio.wait({asking, over}, return_when=asyncio.FIRST_COMPLETED)
                return figures(record.steps, answered=asking.result()) if asking.done() else ()
            finally:
                await abandon(asking, over)

    async def _ask(self, call: Repeatable, route: Route, record: Recorder) -> bool | None:
        """Whether it would have answered; how it failed is in the record, and is what it showed."""
        try:
            async with asyncio.timeout(self._services.turn_seconds):
                return await call.again(route, self._services, record)
        except Exception:
            logger.warning("a call failed in the shadow", extra={"model": route.model}, exc_info=True)
            return None

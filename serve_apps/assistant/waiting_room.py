"""Requests that wait in the router until a replica has room, rather than in a replica's queue.

There they could neither be put in order nor go elsewhere.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace

from serve_apps.assistant.errors import ModelOverloaded
from serve_apps.assistant.queueing import Entry, FairQueue, deadline_of
from serve_apps.assistant.routing import RETRY_SECONDS, Choice, Query
from serve_apps.assistant.routing_config import QueueConfig
from services.common.errors import DomainError

# How often a waiting request is told its place, if that has changed.
TELL_SECONDS = 0.5
# The pace at which requests leave is taken over the last so many seconds.
PACE_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request stands: `place` from 1 of `waiting`; `expected_seconds` until it goes, 0 when not known."""

    place: int
    waiting: int
    expected_seconds: float


@dataclass(slots=True, eq=False)
class _Waiter(Entry):
    query: Query = field(default_factory=Query)
    outcome: "asyncio.Future[Choice]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


Decide = Callable[[Query, str], Choice]


class WaitingRoom:
    """`decide` chooses for a query of a tenant, and takes note; it raises ModelOverloaded while there is no room."""

    def __init__(
        self,
        config: QueueConfig,
        decide: Decide,
        taken: Callable[[str], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._decide = decide
        self._clock = clock
        self._queue = FairQueue(config.max_waiting, taken)
        self._left: deque[float] = deque(maxlen=1000)
        self._serving: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def configure(self, config: QueueConfig) -> None:
        """Take other limits from now on; who waits already is not refused by them."""
        self._config = config
        self._queue.most = config.max_waiting
        self.wake()

    async def enter(self, query: Query, tenant: str) -> AsyncGenerator[Place | Choice, None]:
        """Places while it waits, then the choice. Closing the generator gives the place up.

        Raises ModelOverloaded when it is refused, or late, because others are more urgent; what `decide` raises else.
        """
        query = replace(query, room_share=self._config.load_share)
        joined = self._clock()
        # Nobody goes before those that wait.
        if not len(self._queue) and (choice := self._choice(query, tenant)):
            yield choice
            return
        waiter = self._join(query, tenant, joined)
        self.wake()
        try:
            told, first = 0, waiter.place
            while not waiter.outcome.done():
                if waiter.place != told:
                    told = waiter.place
                    yield Place(told, len(self._queue), self._expected_seconds(told))
                await asyncio.wait({waiter.outcome}, timeout=TELL_SECONDS)
            yield replace(waiter.outcome.result(), waited_seconds=self._clock() - joined, place=first)
        finally:
            self._queue.remove(waiter)
            if not waiter.outcome.cancel() and not waiter.outcome.cancelled():
                # Somebody who goes at the moment of being refused: an error that nobody asks for would be logged.
                waiter.outcome.exception()

    def wake(self) -> None:
        """There may be room now: let go whoever is next, a few at a time, so that no other call waits for it."""
        if len(self._queue) and (self._serving is None or self._serving.done()):
            self._serving = asyncio.create_task(self._serve())

    def _join(self, query: Query, tenant: str, now: float) -> _Waiter:
        waiter = _Waiter(
            tenant,
            query.priority,
            deadline_of(now, query.within_seconds),
            query.prompt_tokens + query.completion_tokens,
            query=query,
        )
        shed = self._queue.add(waiter)
        if shed is waiter:
            raise self._refusal()
        if isinstance(shed, _Waiter):
            self._refuse(shed, self._refusal())
        return waiter

    async def _serve(self) -> None:
        for late in self._queue.overdue(self._clock()):
            if isinstance(late, _Waiter):
                self._refuse(late, self._refusal())
        # Who asks for the same as one that found no room is not tried: there may be thousands of replicas to look at.
        full: set[tuple[object, ...]] = set()
        for entry in self._queue.order():
            if not isinstance(entry, _Waiter) or entry.outcome.done():
                continue
            alike = _alike(entry.query)
            if alike in full:
                continue
            try:
                choice = self._choice(entry.query, entry.tenant)
            except DomainError as error:
                self._refuse(entry, error)
            else:
                if choice is None:
                    full.add(alike)
                else:
                    self._queue.remove(entry)
                    self._left.append(self._clock())
                    entry.outcome.set_result(choice)
            await asyncio.sleep(0)
        self._queue.order()

    def _choice(self, query: Query, tenant: str) -> Choice | None:
        """None while there is no room."""
        try:
            return self._decide(query, tenant)
        except ModelOverloaded:
            return None

    def _refuse(self, waiter: _Waiter, error: DomainError) -> None:
        self._queue.remove(waiter)
        if not waiter.outcome.done():
            waiter.outcome.set_exception(error)

    def _refusal(self) -> ModelOverloaded:
        expected = self._expected_seconds(len(self._queue))
        return ModelOverloaded(retry_after_seconds=min(max(expected, RETRY_SECONDS), LONGEST_RETRY_SECONDS))

    def _expected_seconds(self, place: int) -> float:
        now = self._clock()
        while self._left and self._left[0] < now - PACE_SECONDS:
            self._left.popleft()
        if not self._left:
            return 0.0
        return place * (now - self._left[0] or PACE_SECONDS) / len(self._left)


def _alike(query: Query) -> tuple[object, ...]:
    """What of a query has a say in whether there is room for it."""
    size = query.prompt_tokens + query.completion_tokens
    wanted = (query.model, query.capabilities, query.min_quality, query.language, query.max_cost)
    return (*wanted, size, query.priority > 0, query.avoid, query.escalate_from)

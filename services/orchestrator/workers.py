"""Takes queued turns up and sees each of them to an end: leases, heartbeats, deadlines, cancellation."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from opentelemetry import context as otel_context
from opentelemetry import trace

from services.common import background
from services.common.clients import acting_as
from services.common.clock import Clock
from services.common.context import Caller
from services.common.errors import DomainError, Unavailable
from services.common.permissions import permissions_of
from services.orchestrator.domain import Person, Turn, TurnState
from services.orchestrator.errors import TurnCancelled, TurnTimedOut
from services.orchestrator.ports import Ending, Sessions, TurnQueue, WorkFor
from services.orchestrator.workflow.figures import figures, has_answered
from services.orchestrator.workflow.record import Recorder, context_of
from services.orchestrator.workflow.shadow import Shadows
from services.orchestrator.workflow.spending import Spending, TurnSpending
from services.orchestrator.workflow.tell import Teller
from services.orchestrator.workflow.turn import Workflow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Bounds of the work on turns; times in seconds."""

    concurrent_turns: int = 4
    lease_seconds: float = 6.0
    poll_seconds: float = 0.5
    turn_seconds: float = 60.0
    # A failure is told for at most this long after the turn's own time.
    telling_seconds: float = 15.0
    # At the end of the process, turns that run get so long to end here.
    finishing_seconds: float = 10.0


class Internal(DomainError):
    """A defect; the log has it under the turn's trace."""


class Workers:
    """Runs turns in this process. Enter it to start, leave it to hand what still runs to other processes."""

    def __init__(
        self,
        name: str,
        queue: TurnQueue,
        workflow: Workflow,
        sessions: Sessions,
        spending: Spending,
        work_for: WorkFor,
        clock: Clock,
        tracer: trace.Tracer,
        limits: Limits,
        draining: asyncio.Event,
        shadows: Shadows,
    ) -> None:
        self._name = name
        self._queue = queue
        self._workflow = workflow
        self._sessions = sessions
        self._spending = spending
        self._work_for = work_for
        self._clock = clock
        self._tracer = tracer
        self._limits = limits
        self._draining = draining
        self._shadows = shadows
        self._awake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Workers":
        self._loop = asyncio.create_task(self._take_up_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running:
            await asyncio.wait(self._running.values(), timeout=self._limits.finishing_seconds)
        tasks = [*self._running.values(), *([self._loop] if self._loop else [])]
        await asyncio.gather(*(background.end(task) for task in tasks))

    def wake(self) -> None:
        """Look for queued turns now."""
        self._awake.set()

    def stop(self, turn_id: str) -> None:
        """Break off the work on a turn that was cancelled, if it is done here; the engine's slot is free at once."""
        if task := self._running.get(turn_id):
            task.cancel()

    async def _take_up_forever(self) -> None:
        while not self._draining.is_set():
            self._awake.clear()
            try:
                while len(self._running) < self._limits.concurrent_turns and (turn := await self._claim()):
                    self._begin(turn)
            except Unavailable:
                logger.warning("turns cannot be claimed: the database does not answer")
            except Exception:
                logger.exception("turns cannot be claimed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll_seconds):
                    await self._awake.wait()

    async def _claim(self) -> Turn | None:
        now = self._clock()
        return await self._queue.claim(self._name, now, now + timedelta(seconds=self._limits.lease_seconds))

    def _begin(self, turn: Turn) -> None:
        task = asyncio.create_task(self._see_through(turn), name=f"turn {turn.id}")
        self._running[turn.id] = task
        if not self._is_quiet(len(self._running)):
            self._shadows.give_way()

        def ended(_: asyncio.Task[None]) -> None:
            self._running.pop(turn.id, None)
            self.wake()

        task.add_done_callback(ended)

    async def _see_through(self, turn: Turn) -> None:
        """Run a claimed turn to its end, as the customer it acts for and in the trace of the call that began it."""
        token = otel_context.attach(context_of(turn.traceparent) or otel_context.get_current())
        heartbeat: asyncio.Task[None] | None = None
        try:
            with acting_as(caller_of(turn.customer)), self._tracer.start_as_current_span("turn") as span:
                span.set_attributes({"turn.id": turn.id, "turn.attempt": turn.attempt})
                this = asyncio.current_task()
                assert this is not None  # noqa: S101 - coroutines of tasks run in tasks
                heartbeat = asyncio.create_task(self._hold(turn.id, this.cancel))
                await self._run(turn)
        except asyncio.CancelledError:
            logger.info("turn let go", extra={"turn_id": turn.id})
        except Exception:
            # Its lease runs out, and then another worker ends it.
            logger.exception("turn could not be ended", extra={"turn_id": turn.id})
        finally:
            if heartbeat is not None:
                heartbeat.cancel()
            otel_context.detach(token)

    async def _run(self, turn: Turn) -> None:
        record = Recorder(turn.created_at, self._clock, self._tracer)
        spending = self._spending.of(turn)
        try:
            await self._work_out(turn, record, spending)
        finally:
            await spending.finish(record)

    async def _work_out(self, turn: Turn, record: Recorder, spending: TurnSpending) -> None:
        teller = Teller(turn, self._sessions, record)
        limits = self._limits
        try:
            try:
                async with asyncio.timeout(max(0.0, limits.turn_seconds - record.seconds)):
                    ended = await self._workflow.run(turn, self._name, record, teller, spending)
            except TimeoutError:
                raise TurnTimedOut from None
            except DomainError:
                raise
            except Exception as error:
                logger.exception("turn failed", extra={"turn_id": turn.id})
                raise Internal from error
        except DomainError as error:
            await self._fail(turn, error, record, teller, spending)
            return
        finally:
            await teller.close()
        if ended.outcome is None:
            logger.info("turn lost to another worker or cancelled", extra={"turn_id": turn.id})
            return
        ending = Ending(TurnState.FINISHED, self._clock(), record.seconds, record.steps, outcome=ended.outcome)
        if await self._end(turn, ending, spending):
            logger.info("turn finished", extra={"turn_id": turn.id, "seconds": round(record.seconds, 3)})
            if self._is_quiet(len(self._running) - 1):
                self._shadows.take_up(turn, ended.calls)

    def _is_quiet(self, running: int) -> bool:
        """Whether there is room for what nobody waits for beside so many turns."""
        return 2 * running <= self._limits.concurrent_turns

    async def _fail(
        self, turn: Turn, error: DomainError, record: Recorder, teller: Teller, spending: TurnSpending
    ) -> None:
        ending = Ending(TurnState.FAILED, self._clock(), record.seconds, record.steps, error.reason)
        # First the store, so that nobody else tells another end.
        if not await self._end(turn, ending, spending):
            return
        logger.warning("turn failed", extra={"turn_id": turn.id, "reason": error.reason})
        async with asyncio.timeout(self._limits.telling_seconds):
            await teller.fail(error)

    async def _end(self, turn: Turn, ending: Ending, spending: TurnSpending) -> bool:
        report = spending.report(ending.steps)
        async with self._work_for(turn.customer.organization_id) as work:
            if not await work.turns.end(turn.id, self._name, ending):
                return False
            if report is not None:
                await work.reports.add(report, spending.confirm_by())
            if calls := figures(ending.steps, answered=has_answered(ending.outcome)):
                await work.figures.add(turn.id, calls)
            await work.commit()
        spending.stored()
        return True

    async def _hold(self, turn_id: str, give_up: Callable[[], bool]) -> None:
        """Renew the lease until the turn is not ours any more."""
        while True:
            await asyncio.sleep(self._limits.lease_seconds / 3)
            until = self._clock() + timedelta(seconds=self._limits.lease_seconds)
            try:
                if not await self._queue.renew(turn_id, self._name, until):
                    give_up()
                    return
            except Unavailable:
                logger.warning("a lease cannot be renewed: the database does not answer")


async def tell_cancelled(turn: Turn, sessions: Sessions, clock: Clock, tracer: trace.Tracer) -> None:
    """Tell the conversation that its turn was cancelled."""
    await Teller(turn, sessions, Recorder(turn.created_at, clock, tracer)).fail(TurnCancelled())


def caller_of(person: Person) -> Caller:
    """The caller that downstream calls act for."""
    return Caller("orchestrator", person.organization_id, person.user_id, person.roles, permissions_of(person.roles))

"""Keeps a turn within the budgets: reserves before the model is called, tops up while it writes, settles in the end."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial

from services.common.clock import Clock
from services.common.errors import DomainError, Unavailable
from services.common.spending import BudgetExceeded, Granted, Meter, Usage
from services.orchestrator.domain import Step, Turn, UsageLine, UsageReport
from services.orchestrator.errors import DependencyUnavailable
from services.orchestrator.ports import Budgets, UnsentReports, WorkFor
from services.orchestrator.workflow.gather import abandon
from services.orchestrator.workflow.record import Recorder

logger = logging.getLogger(__name__)

# While others hold what is left of a budget, a turn asks again after these.
HELD_WAITS_SECONDS = (0.25, 0.5, 1.0)
# A usage service that did not answer is not asked again for so long.
AWAY_SECONDS = 2.0
# At the end of the process, what is being told gets so long.
FINISHING_SECONDS = 3.0


class Spending:
    """What this process knows of budgets, for all its turns; leaving it waits for what is being told.

    While the usage service does not answer, an organization may begin `offline_turns` turns here without it; they
    are recorded and reach the ledger later. After those, turns go without a model until it answers again.
    """

    def __init__(
        self,
        budgets: Budgets,
        unsent: UnsentReports,
        work_for: WorkFor,
        clock: Clock,
        *,
        offline_turns: int,
        lease_seconds: float,
        confirm_seconds: float,
    ) -> None:
        self._budgets = budgets
        self._unsent = unsent
        self._work_for = work_for
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._confirm = timedelta(seconds=confirm_seconds)
        self._offline_turns = offline_turns
        self._offline: dict[str, int] = defaultdict(int)
        self._away_until = 0.0
        self._telling: set[asyncio.Task[None]] = set()
        # The model that turns were routed to last: the reservation can begin before this turn's route is known.
        self.likely_model = ""

    async def __aenter__(self) -> "Spending":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._telling:
            await asyncio.wait(self._telling, timeout=FINISHING_SECONDS)
        await abandon(*self._telling)

    def of(self, turn: Turn) -> "TurnSpending":
        """The spending of one try of a turn."""
        return TurnSpending(self, turn)

    async def reserve(self, reservation_id: str, turn: Turn, model: str) -> Granted:
        """Hold what a turn may use. Raises BudgetExceeded, DependencyUnavailable."""
        if time.monotonic() < self._away_until:
            raise DependencyUnavailable
        try:
            granted = await self._budgets.reserve(reservation_id, turn, model, self._lease_seconds)
        except Unavailable:
            self._away_until = time.monotonic() + AWAY_SECONDS
            raise
        except BudgetExceeded:
            self._offline.pop(turn.customer.organization_id, None)
            raise
        self._offline.pop(turn.customer.organization_id, None)
        return granted

    async def extend(self, reservation_id: str, wanted: int) -> int:
        """Hold more. Raises BudgetExceeded, DependencyUnavailable."""
        return await self._budgets.extend(reservation_id, wanted, self._lease_seconds)

    def allow_offline(self, organization_id: str) -> bool:
        """Take one turn of the allowance; False when none is left."""
        if self._offline[organization_id] >= self._offline_turns:
            return False
        self._offline[organization_id] += 1
        return True

    async def store(self, report: UsageReport) -> None:
        """Keep a report whose turn ended otherwise than by its worker."""
        async with self._work_for(report.organization_id) as work:
            await work.reports.add(report, self.confirm_by())
            await work.commit()

    def confirm_by(self) -> datetime:
        """When a report that the ledger has not confirmed is sent again."""
        return self._clock() + self._confirm

    async def settle(self, reservation_ids: Sequence[str], report: UsageReport | None) -> None:
        """End reservations; the last one takes the report, which is then confirmed."""
        *needless, last = reservation_ids
        for reservation_id in needless:
            await self._budgets.settle(reservation_id, None)
        await self._budgets.settle(last, report)
        if report is not None:
            await self._unsent.remove([report])

    def tell(self, telling: Coroutine[None, None, None]) -> None:
        """Go on telling in the background: nobody waits for it any more."""
        task = asyncio.create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


class TurnSpending:
    """One try of one turn."""

    def __init__(self, process: Spending, turn: Turn) -> None:
        self._process = process
        self._turn = turn
        self._model = ""
        self._asked: list[tuple[str, asyncio.Task[Granted]]] = []
        self._meter: Meter | None = None
        # The reservation that covers the work; empty while there is none.
        self._reservation_id = ""
        self._stored = False

    @property
    def cut_off(self) -> bool:
        """True when the model was cut off because the budget had nothing left."""
        return self._meter is not None and self._meter.cut_off

    def begin(self) -> None:
        """Reserve for the model that turns are usually routed to, beside the first steps."""
        if self._process.likely_model:
            self._ask(self._process.likely_model)

    async def allow(self, model: str) -> str:
        """Wait until the model may be called; says on what grounds: "reserved", "unlimited" or "offline".

        Raises BudgetExceeded, and DependencyUnavailable when the usage service is away and the allowance used up.
        """
        self._process.likely_model = model
        if self._model != model:
            self._ask(model)
        for wait in (*HELD_WAITS_SECONDS, None):
            reservation_id, asked = self._asked[-1]
            try:
                granted = await asyncio.shield(asked)
            except BudgetExceeded as error:
                if wait is None or error.metadata.get("held") != "true":
                    raise
                await asyncio.sleep(wait)
                self._ask(model)
            except Unavailable:
                if not self._process.allow_offline(self._turn.customer.organization_id):
                    raise
                logger.warning("a turn goes on without the usage service", extra={"turn_id": self._turn.id})
                return "offline"
            else:
                if self._meter is not None:
                    await self._meter.stop()
                self._meter = Meter(granted, partial(self._process.extend, reservation_id))
                self._reservation_id = reservation_id
                return "reserved" if granted.limited else "unlimited"
        raise AssertionError  # the last wait is None

    async def used(self, usage: Usage) -> None:
        """What the turn used up to now, while the model writes. Raises BudgetExceeded when no more can be had."""
        if self._meter is not None:
            await self._meter.used(usage)

    def report(self, steps: Sequence[Step]) -> UsageReport | None:
        """What the try used; None when it used no model."""
        turn, customer = self._turn, self._turn.customer
        lines = tuple(
            UsageLine(
                id=f"{turn.id}:{turn.attempt}:{number}",
                occurred_at=turn.created_at + timedelta(seconds=step.started_after + step.elapsed),
                user_id=customer.user_id,
                key_id=customer.key_id,
                conversation_id=turn.conversation_id,
                ticket_id=turn.ticket_id,
                turn_id=turn.id,
                step=step.name,
                model=step.model,
                usage=step.usage or Usage(),
                elapsed=step.elapsed,
                reservation_id=self._reservation_id,
            )
            for number, step in enumerate(step for step in steps if step.model and step.usage not in (None, Usage()))
        )
        report_id = f"{turn.id}:{turn.attempt}"
        return UsageReport(report_id, customer.organization_id, customer.user_id, lines) if lines else None

    def confirm_by(self) -> datetime:
        """When a report that the ledger has not confirmed is sent again."""
        return self._process.confirm_by()

    def stored(self) -> None:
        """The report is in the store, with the turn's end."""
        self._stored = True

    async def finish(self, record: Recorder) -> None:
        """See to it that what was used is known, however the turn ended, and settle beside whatever comes next."""
        report = self.report(record.steps)
        try:
            if report is not None and not self._stored:
                await self._process.store(report)
        finally:
            if self._asked:
                self._process.tell(self._settle(report))

    async def _settle(self, report: UsageReport | None) -> None:
        """What cannot be told now is told by delivery, or ended by its lease."""
        if self._meter is not None:
            await self._meter.stop()
        made: list[str] = []
        for reservation_id, asked in self._asked:
            try:
                await asked
            except BudgetExceeded:
                continue
            except DomainError:
                # It may have been made all the same; nothing comes of settling one that was not.
                pass
            made.append(reservation_id)
        if not made:
            return
        if self._reservation_id:
            made.remove(self._reservation_id)
            made.append(self._reservation_id)
        try:
            await self._process.settle(made, report)
        except DomainError as error:
            logger.warning("usage not settled yet", extra={"turn_id": self._turn.id, "reason": error.reason})
        except Exception:
            logger.exception("usage cannot be settled", extra={"turn_id": self._turn.id})

    def _ask(self, model: str) -> None:
        self._model = model
        reservation_id = f"{self._turn.id}:{self._turn.attempt}:{len(self._asked)}"
        asked = asyncio.create_task(self._process.reserve(reservation_id, self._turn, model))
        self._asked.append((reservation_id, asked))

"""Nothing is spent that was not granted: a reservation before a model is called, a settlement however the call ends."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from services.common.context import Caller
from services.common.errors import DomainError, Unavailable
from services.common.ids import new_id
from services.common.spending import BudgetExceeded, Meter
from services.gateway.openai.domain import Line
from services.gateway.openai.ports import Budgets

logger = logging.getLogger(__name__)

# An answer takes at most so long; a reservation that nobody settled ends a little later, charged in full.
ANSWER_SECONDS = 600.0
LEASE_SECONDS = ANSWER_SECONDS + 60.0
# While others hold what is left of a budget, a call asks again after these.
HELD_WAITS_SECONDS = (0.25, 0.5, 1.0)
# A settlement that does not get through is repeated after these; then the reservation's lease ends it.
SETTLE_WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
FINISHING_SECONDS = 3.0


class Spending:
    """The reservations of this process; leaving it waits for what is being settled."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._settling: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Spending":
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._settling:
            return
        _done, late = await asyncio.wait(self._settling, timeout=FINISHING_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def hold(self, caller: Caller, model: str, operation: str) -> "Held":
        """Begin to reserve for one call of the API."""
        return Held(self, self._budgets, caller, model, operation)

    def settle(self, settling: Coroutine[None, None, None]) -> None:
        """Settle beside whatever comes next."""
        task = asyncio.create_task(settling)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)


class Held:
    """What one call of the API may spend."""

    def __init__(self, process: Spending, budgets: Budgets, caller: Caller, model: str, operation: str) -> None:
        self._process = process
        self._budgets = budgets
        self._user_id = caller.user_id
        self._key_id = caller.session_id if caller.by_key else ""
        self._model = model
        self._operation = operation
        self._reservation_ids = [new_id("oai")]
        self._granting = asyncio.create_task(self._reserve())
        self._meter: Meter | None = None

    async def granted(self) -> Meter:
        """Wait until the model may be called. Raises BudgetExceeded, Unavailable."""
        self._meter = await asyncio.shield(self._granting)
        return self._meter

    def end(self, lines: Sequence[Line]) -> None:
        """The call is over, and this is what it used."""
        self._process.settle(self._settle(tuple(lines)))

    async def _reserve(self) -> Meter:
        for wait in (*HELD_WAITS_SECONDS, None):
            try:
                granted = await self._budgets.reserve(
                    self._reservation_ids[-1],
                    model=self._model,
                    operation=self._operation,
                    key_id=self._key_id,
                    lease_seconds=LEASE_SECONDS,
                )
            except BudgetExceeded as error:
                if wait is None or error.metadata.get("held") != "true":
                    raise
                await asyncio.sleep(wait)
                self._reservation_ids[-1] = new_id("oai")
            else:
                return Meter(granted, self._extend)
        raise AssertionError  # the last wait is None

    async def _extend(self, wanted: int) -> int:
        return await self._budgets.extend(self._reservation_ids[-1], wanted, LEASE_SECONDS)

    async def _settle(self, lines: Sequence[Line]) -> None:
        try:
            meter = await self._granting
        except BudgetExceeded:
            return
        except DomainError:
            # It may have been made all the same.
            meter = None
        if meter is not None:
            await meter.stop()
        for wait in (*SETTLE_WAITS_SECONDS, None):
            try:
                await self._budgets.settle(
                    self._reservation_ids[-1], user_id=self._user_id, key_id=self._key_id, lines=lines
                )
            except Unavailable:
                if wait is not None and meter is not None:
                    await asyncio.sleep(wait)
                    continue
                logger.warning("not settled; the lease will", extra={"reservation_id": self._reservation_ids[-1]})
            except Exception:
                logger.exception("cannot be settled", extra={"reservation_id": self._reservation_ids[-1]})
            return

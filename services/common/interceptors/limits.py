"""How often people may call, by rate class: exact over all processes, and without asking anybody for the usual call.

A process pays for some calls of a person in advance, in the buckets of the person and of the organization that all
processes share, and lets them through by itself: a lease. It holds for LEASE_SECONDS, what is left then is lost, and so
it is sized by what the person did just now. That time is taken off the burst, so that calls which come through later
than they were paid for never add up to more than the limit: in any w seconds at most burst + w * per_second.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from mesh.policy.limits import LIMITS, ORGANIZATION, PERSON, Limit
from mesh.policy.table import RateClass, Rule
from services.common import background
from services.common.buckets import REMEMBERED, Bucket, Fallback, Lease, LeasedBuckets, Rate, Wanted
from services.common.context import Caller
from services.common.errors import Exhausted
from services.common.interceptors.identity import EDGE

# What begins the names of their buckets in Valkey, which every process has to call alike.
PEOPLE = "people"
LEASE_SECONDS = 1.0
# A lease is at most this part of a burst, so that many processes serve one person at full speed.
LEASE_SHARE = 16
# Whoever must wait is refused without asking anybody for so long at least: a flood costs no more than that.
REFUSED_SECONDS = 0.05
# Leases in one question, so that Valkey is never busy with one for long.
MOST_AT_ONCE = 256


class CalledTooOften(Exhausted):
    """A person, or all people of their organization together, called more often than they may."""

    reason = "RATE_LIMITED"
    message = "You, or your organization, call too often; slow down."


class _Lease:
    """The calls of one person that are paid for."""

    __slots__ = ("buckets", "ends", "granted", "left", "most", "waiting", "waits_until")

    def __init__(self, buckets: tuple[Bucket, ...], most: int) -> None:
        self.buckets = buckets
        self.most = most
        self.left = self.granted = 0
        self.ends = self.waits_until = 0.0
        # Calls that wait for what is being asked; None while nothing is.
        self.waiting: deque[asyncio.Future[None]] | None = None

    def wanted(self, now: float) -> Wanted:
        """As many calls as wait, or twice those of before if they were used up, but no more than `most`."""
        if self.left:
            # What was not used in a while would not be again.
            before = self.granted - self.left if now < self.ends + LEASE_SECONDS else 0
        else:
            before = 2 * self.granted if now < self.ends else self.granted
        return Wanted(self.buckets, max(1, min(self.most, max(before, len(self.waiting or ())))))

    def got(self, lease: Lease, wanted: int, asked_at: float, now: float) -> bool:
        """Let those who wait through, or refuse them; False if some wait for more than was asked for.

        The time of the lease began before it was paid for.
        """
        self.left = lease.calls
        self.ends = asked_at + LEASE_SECONDS
        self.waits_until = 0.0
        wait = max(lease.wait_seconds, REFUSED_SECONDS)
        if lease.calls:
            self.granted = lease.calls
        if lease.calls < wanted:
            # A bucket is empty now, and what drips into it is not worth a question a call.
            self.waits_until = now + wait
        while self.waiting:
            if self.left < 1 and not self.waits_until:
                return False
            call = self.waiting.popleft()
            if call.done():
                # Its caller gave up.
                continue
            if self.left:
                self.left -= 1
                call.set_result(None)
            else:
                call.set_exception(CalledTooOften(retry_after_seconds=wait))
        self.waiting = None
        return True

    def failed(self, error: Exception) -> None:
        """Tell those who wait."""
        for call in self.waiting or ():
            if not call.done():
                call.set_exception(error)
        self.waiting = None

    def is_over(self, now: float) -> bool:
        return self.waiting is None and now >= max(self.ends + LEASE_SECONDS, self.waits_until)


class PeopleLimits(Collector):
    """The limits of a process, one gate for each rate class; what is counted for metrics is of all of them."""

    def __init__(
        self,
        shared: LeasedBuckets,
        limits: Sequence[Limit] = LIMITS,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._monotonic = monotonic
        self._fallback = Fallback(monotonic=monotonic)
        self._asking: list[_Lease] = []
        self._task: asyncio.Task[None] | None = None
        self.questions = 0
        self._gates = {
            limit.rate_class: Gate(limit.rate_class, _rates(limit.rate_class, limits), self._ask, monotonic)
            for limit in limits
            if limit.who == PERSON
        }

    def gate(self, rule: Rule) -> "Gate | None":
        """What counts the calls of an RPC; None for one that no person makes by the edge."""
        return None if rule.anonymous or EDGE not in rule.callers else self._gates.get(rule.rate_class)

    async def close(self) -> None:
        """Ask nothing more."""
        if self._task:
            await background.end(self._task)

    def collect(self) -> Iterator[Metric]:
        """What a scrape reads."""
        refused = CounterMetricFamily(
            "deskmesh_people_limited_calls", "Calls of people refused by a limit.", labels=["rate_class"]
        )
        for rate_class, gate in self._gates.items():
            refused.add_metric([rate_class], gate.refused)
        yield refused
        yield CounterMetricFamily(
            "deskmesh_people_limit_questions",
            "Times that calls of people were paid for in advance.",
            value=self.questions,
        )
        yield CounterMetricFamily(
            "deskmesh_people_counted_locally",
            "Of these times, those that this process counted alone, because Valkey did not answer.",
            value=self._fallback.counted_locally,
        )

    def _ask(self, lease: _Lease) -> None:
        """Pay for calls, together with whatever else is asked for while Valkey answers."""
        self._asking.append(lease)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._answer(), name="people-limits")

    async def _answer(self) -> None:
        while self._asking:
            leases, self._asking = self._asking[:MOST_AT_ONCE], self._asking[MOST_AT_ONCE:]
            now = self._monotonic()
            wanted = [lease.wanted(now) for lease in leases]
            self.questions += 1
            try:
                answers = await self._fallback.ask(
                    lambda wanted=wanted: self._shared.lease(wanted),  # type: ignore[misc]
                    lambda wanted=wanted: self._fallback.local.lease(wanted),  # type: ignore[misc]
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
                for lease in leases:
                    lease.failed(error)
                continue
            for lease, one, answer in zip(leases, wanted, answers, strict=True):
                if not lease.got(answer, one.calls, now, self._monotonic()):
                    self._asking.append(lease)


class Gate:
    """The limits of one rate class."""

    def __init__(
        self,
        rate_class: RateClass,
        rates: Mapping[str, Rate],
        ask: Callable[[_Lease], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._rate_class = rate_class
        self._rates = rates
        self._most = max(1, rates[PERSON].burst // LEASE_SHARE)
        self._ask = ask
        self._monotonic = monotonic
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._forget_at = 0.0
        self.refused = 0

    def spare(self, caller: Caller) -> bool:
        """Let a call through if it is paid for, or not counted here: keys were counted at the edge."""
        if caller.workload != EDGE or not caller.user_id or caller.by_key:
            return True
        lease = self._leases.get((caller.organization_id, caller.user_id))
        if lease is None or lease.left < 1 or self._monotonic() >= lease.ends:
            return False
        lease.left -= 1
        return True

    async def take(self, caller: Caller) -> None:
        """Let a call through that is not paid for yet. Raises CalledTooOften."""
        lease = self._lease(caller)
        wait = lease.waits_until - self._monotonic()
        if wait > 0:
            self.refused += 1
            raise CalledTooOften(retry_after_seconds=wait)
        if lease.waiting is None:
            lease.waiting = deque()
            self._ask(lease)
        call = asyncio.get_running_loop().create_future()
        lease.waiting.append(call)
        try:
            await call
        except CalledTooOften:
            self.refused += 1
            raise

    def _lease(self, caller: Caller) -> _Lease:
        key = caller.organization_id, caller.user_id
        lease = self._leases.get(key)
        if lease is None:
            self._forget()
            # In braces what a Valkey cluster keeps in one place.
            organization = f"{{{caller.organization_id}}}:{self._rate_class}"
            names = {PERSON: f"{organization}:{caller.user_id}", ORGANIZATION: organization}
            buckets = tuple(Bucket(names[who], rate) for who, rate in self._rates.items())
            lease = self._leases[key] = _Lease(buckets, self._most)
        return lease

    def _forget(self) -> None:
        now = self._monotonic()
        if len(self._leases) >= REMEMBERED and now >= self._forget_at:
            self._forget_at = now + LEASE_SECONDS
            self._leases = {key: lease for key, lease in self._leases.items() if not lease.is_over(now)}


def _rates(rate_class: RateClass, limits: Sequence[Limit]) -> dict[str, Rate]:
    """Of a person and of an organization, less what the time of leases may add."""
    found = {}
    for limit in limits:
        if limit.rate_class is rate_class and limit.who in (PERSON, ORGANIZATION):
            burst = limit.burst - int(limit.per_second * LEASE_SECONDS)
            if burst < 1:
                raise ValueError(f"the burst of {rate_class} is no longer than a lease")
            found[limit.who] = Rate(limit.per_second * 60, burst)
    return found

"""How often the keys of an organization may call, by rate class: counted once for all gateways."""

import time
from collections.abc import Callable, Mapping

from mesh.policy.table import RateClass, Rule
from services.common.buckets import REMEMBERED, Bucket, Buckets, Decision, Fallback, Rate
from services.gateway.errors import TooManyCalls
from services.gateway.ports import Access

KEY_RATES: Mapping[RateClass, Rate] = {
    RateClass.READ: Rate(3_000, 600),
    RateClass.WRITE: Rate(1_200, 240),
    RateClass.CREDENTIAL: Rate(60, 20),
    RateClass.STREAM: Rate(600, 120),
    RateClass.INFERENCE: Rate(300, 60),
}
# All keys of an organization together.
ORGANIZATION_FACTOR = 5


class KeyLimits:
    """The limits of API keys; `table` holds the rule of every RPC by its path."""

    def __init__(
        self,
        shared: Buckets,
        table: Mapping[str, Rule],
        *,
        rates: Mapping[RateClass, Rate] = KEY_RATES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._table = table
        self._rates = rates
        self._monotonic = monotonic
        self._fallback = Fallback(monotonic=monotonic)
        # Who is told to wait is refused without asking anybody until then.
        self._waiting: dict[str, float] = {}

    @property
    def counted_locally(self) -> int:
        """Calls that this gateway counted alone, because Valkey did not answer."""
        return self._fallback.counted_locally

    async def take(self, access: Access, path: str) -> tuple[Rate, Decision]:
        """Count a call of the key. Raises TooManyCalls."""
        rule = self._table.get(path)
        rate_class = rule.rate_class if rule else RateClass.READ
        rate = self._rates[rate_class]
        # In braces what a Valkey cluster keeps in one place.
        tenant = f"{{{access.organization_id}}}"
        key = Bucket(f"{tenant}:{rate_class}:{access.key_id}", rate)
        together = Rate(rate.per_minute * ORGANIZATION_FACTOR, rate.burst * ORGANIZATION_FACTOR)
        organization = Bucket(f"{tenant}:{rate_class}", together)
        now = self._monotonic()
        waits_until = self._waiting.get(key.name, 0.0)
        if now < waits_until:
            raise TooManyCalls(retry_after_seconds=waits_until - now)
        both, local = (key, organization), self._fallback.local
        decision = await self._fallback.ask(lambda: self._shared.take(both), lambda: local.take(both))
        if not decision.allowed:
            self._wait(key.name, now, decision.wait_seconds)
            raise TooManyCalls(retry_after_seconds=decision.wait_seconds)
        return rate, decision

    def _wait(self, name: str, now: float, seconds: float) -> None:
        if len(self._waiting) > REMEMBERED:
            self._waiting = {other: until for other, until in self._waiting.items() if until > now}
        self._waiting[name] = now + seconds

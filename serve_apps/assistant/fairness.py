"""Which tenants take more than their share of a busy application."""

import math
import time
from collections.abc import Callable

HALF_LIFE_SECONDS = 10.0
# So many times an equal share of the tokens makes a tenant a heavy one.
HEAVY = 1.5
# Below this many tokens a tenant counts as gone.
FORGOTTEN_TOKENS = 1.0


class TenantShares:
    """Tokens asked for by each tenant, half of them forgotten every ten seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: dict[str, float] = {}
        self._as_of = clock()

    def note(self, tenant: str, tokens: int) -> None:
        """A request of so many tokens was let through; without a tenant it is nobody's."""
        self._fade()
        if tenant:
            self._tokens[tenant] = self._tokens.get(tenant, 0.0) + tokens

    def taken(self, tenant: str) -> float:
        """Tokens of a tenant that are not forgotten yet."""
        self._fade()
        return self._tokens.get(tenant, 0.0)

    def is_heavy(self, tenant: str) -> bool:
        """True for one that has lately taken much more than an equal share of what all took; never for the only one."""
        self._fade()
        if tenant not in self._tokens or len(self._tokens) == 1:
            return False
        return self._tokens[tenant] > HEAVY * sum(self._tokens.values()) / len(self._tokens)

    def _fade(self) -> None:
        now = self._clock()
        # Not for every request: the difference of a tenth of a second is none.
        if now - self._as_of < HALF_LIFE_SECONDS / 100:
            return
        kept = math.exp2((self._as_of - now) / HALF_LIFE_SECONDS)
        self._as_of = now
        self._tokens = {
            tenant: tokens * kept for tenant, tokens in self._tokens.items() if tokens * kept >= FORGOTTEN_TOKENS
        }

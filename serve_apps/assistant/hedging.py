"""When a request that is slow to begin may be sent to a second replica: rarely, and late enough that few need it."""

import statistics
from collections.abc import Iterable, Sequence

from serve_apps.assistant.board import Report
from serve_apps.assistant.engines.patience import RetryBudget
from serve_apps.assistant.errors import ModelOverloaded
from serve_apps.assistant.routing_config import HedgingConfig


class Hedging:
    """By model, after which time a second replica may be asked for; and how many requests may be sent twice."""

    def __init__(self, config: HedgingConfig | None) -> None:
        self._config = config
        self._budget = RetryBudget(config.share if config else 0.0)
        self._after: dict[str, float] = {}

    def learn(self, reports: Iterable[Report]) -> None:
        """Take note of how slow the replicas are. The middle one counts: a slow one is not the measure of itself."""
        if self._config is None:
            return
        slow: dict[str, list[float]] = {}
        for report in reports:
            if not report.degraded:
                slow.setdefault(report.model, []).append(report.slow_first_token_seconds)
        least = self._config.least_seconds
        self._after = {model: max(least, when) for model, times in slow.items() if (when := _middle(times))}

    def after(self, model: str) -> float:
        """Seconds without a first token after which a second replica may be asked for; 0 when none should be."""
        return self._after.get(model, 0.0)

    def note(self, *, second: bool) -> None:
        """A request asks for a replica, perhaps for its second. Raises ModelOverloaded when that is one too many."""
        if self._config is None:
            if second:
                raise ModelOverloaded
            return
        if not second:
            self._budget.request()
        elif not self._budget.spend():
            raise ModelOverloaded


def _middle(times: Sequence[float]) -> float:
    """Of those that are known; 0 when fewer than two replicas are there, as then there is no other to ask."""
    known = [one for one in times if one]
    return statistics.median_low(known) if len(times) > 1 and known else 0.0

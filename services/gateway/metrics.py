"""What the gateway counts."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from services.gateway.keys import KeyTokens
from services.gateway.limits import KeyLimits
from services.gateway.openai.servicer import OpenAiApi
from services.gateway.servicer import Checks


class GatewayMetrics(Collector):
    """Checks by their answer, how many of them auth was asked for, and calls of the API."""

    def __init__(self, checks: Checks, tokens: KeyTokens, limits: KeyLimits, api: OpenAiApi) -> None:
        self._api = api
        self._checks = checks
        self._limits = limits
        self._tokens = tokens

    def collect(self) -> Iterator[Metric]:
        """What a scrape reads."""
        answers = CounterMetricFamily(
            "deskmesh_gateway_key_checks", "Checks of API keys, by the reason of the answer.", labels=["reason"]
        )
        for reason, count in self._checks.answers.items():
            answers.add_metric([reason], count)
        yield answers
        yield CounterMetricFamily(
            "deskmesh_gateway_key_exchanges", "Keys that auth was asked about.", value=self._tokens.exchanges
        )
        yield CounterMetricFamily(
            "deskmesh_gateway_keys_remembered",
            "Checks answered from what was remembered.",
            value=self._tokens.remembered_uses,
        )
        yield CounterMetricFamily(
            "deskmesh_gateway_counted_locally",
            "Calls counted by this gateway alone, because Valkey did not answer.",
            value=self._limits.counted_locally + self._api.tokens.counted_locally,
        )
        yield CounterMetricFamily(
            "deskmesh_openai_token_limited_calls",
            "Calls of the OpenAI-compatible API refused by a limit in tokens.",
            value=self._api.tokens.refused,
        )
        calls = CounterMetricFamily(
            "deskmesh_openai_calls",
            "Calls of the OpenAI-compatible API, by path and status.",
            labels=["path", "status"],
        )
        for (path, status), count in self._api.calls.items():
            calls.add_metric([path, str(status)], count)
        yield calls
        yield CounterMetricFamily(
            "deskmesh_openai_queued_calls",
            "Calls of the OpenAI-compatible API that waited for a model to have room.",
            value=self._api.completions.queued,
        )
        yield CounterMetricFamily(
            "deskmesh_openai_queued_seconds",
            "Seconds that these calls waited.",
            value=self._api.completions.queued_seconds,
        )

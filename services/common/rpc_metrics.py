"""Counts of served RPCs in the shape Prometheus expects.

Every call passes here, so a count is an addition to a list; the client library's own instruments, with their locks and
checks, would take several times as long. All additions happen on the event loop's thread, as does the reading.
"""

from bisect import bisect_left
from collections.abc import Iterator

import grpc
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class MethodMetrics:
    """The numbers of one RPC."""

    __slots__ = ("buckets", "codes", "method", "ok", "open_streams", "seconds", "service")

    def __init__(self, service: str, method: str) -> None:
        self.service = service
        self.method = method
        # Apart from the others, because looking a status code up takes longer than all the rest.
        self.ok = 0
        self.codes: dict[grpc.StatusCode, int] = {}
        self.buckets = [0] * (len(SECONDS_BUCKETS) + 1)
        self.seconds = 0.0
        self.open_streams = 0

    def observe_ok(self, seconds: float) -> None:
        """Count a call that succeeded."""
        self.ok += 1
        self.buckets[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.seconds += seconds

    def observe(self, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that failed."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.buckets[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.seconds += seconds


class RpcMetrics(Collector):
    """The numbers of every RPC of a server."""

    def __init__(self) -> None:
        self._methods: list[MethodMetrics] = []

    def method(self, service: str, method: str) -> MethodMetrics:
        """New numbers for an RPC; ask once for each."""
        metrics = MethodMetrics(service, method)
        self._methods.append(metrics)
        return metrics

    def collect(self) -> Iterator[Metric]:
        """What a scrape reads."""
        labels = ("grpc_service", "grpc_method")
        handled = CounterMetricFamily(
            "grpc_server_handled", "RPCs ended, by status code.", labels=(*labels, "grpc_code")
        )
        seconds = HistogramMetricFamily(
            "grpc_server_handling_seconds", "Time from the start of an RPC to its end.", labels=labels
        )
        streams = GaugeMetricFamily("grpc_server_open_streams", "Streaming RPCs being served.", labels=labels)
        for method in self._methods:
            names = (method.service, method.method)
            if method.ok:
                handled.add_metric((*names, grpc.StatusCode.OK.name), method.ok)
            for code, count in method.codes.items():
                handled.add_metric((*names, code.name), count)
            seconds.add_metric(names, _cumulative(method.buckets), sum_value=method.seconds)
            streams.add_metric(names, method.open_streams)
        yield handled
        yield seconds
        yield streams


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    bounds = [*map(str, SECONDS_BUCKETS), "+Inf"]
    return [(bound, sum(buckets[: index + 1])) for index, bound in enumerate(bounds)]

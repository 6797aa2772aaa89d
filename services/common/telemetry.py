"""Traces and metrics of a process: made once in its main, handed to what measures."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from services.common.settings import ServiceSettings

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ServerMetrics:
    """What is counted of every RPC served; `registry` also holds the process's own metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.handled = Counter(
            "grpc_server_handled_total",
            "RPCs ended, by method and status code.",
            ("grpc_service", "grpc_method", "grpc_code"),
            registry=self.registry,
        )
        self.handling_seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time from the start of an RPC to its end.",
            ("grpc_service", "grpc_method"),
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.open_streams = Gauge(
            "grpc_server_open_streams",
            "Streaming RPCs being served.",
            ("grpc_service", "grpc_method"),
            registry=self.registry,
        )


@contextmanager
def tracing(service: str, settings: ServiceSettings) -> Iterator[trace.Tracer]:
    """A tracer that exports while the block runs, made the process's own; it only passes IDs on without an endpoint.

    Who decides whether a call is sampled is the telemetry interceptor, so the SDK itself records all it is asked to.
    """
    if not settings.otlp_endpoint:
        yield trace.NoOpTracer()
        return
    # An exporter that finds no collector says so for every batch, which would drown the service's own log.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    resource = Resource.create({"service.name": service, "deployment.environment.name": settings.environment})
    provider = TracerProvider(resource=resource, sampler=ParentBased(ALWAYS_ON))
    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=True, timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)
    try:
        yield provider.get_tracer("deskmesh")
    finally:
        provider.shutdown()

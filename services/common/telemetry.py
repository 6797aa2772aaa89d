"""Traces and metrics of a process: made once in its main, handed to what measures."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from services.common.rpc_metrics import RpcMetrics
from services.common.settings import ServiceSettings
from services.common.tracing import CallSampler


class ServerMetrics:
    """What is counted of every RPC served; `registry` also holds the process's own metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.rpcs = RpcMetrics()
        self.registry.register(self.rpcs)


@contextmanager
def tracing(service: str, settings: ServiceSettings) -> Iterator[trace.Tracer]:
    """A tracer that exports while the block runs, made the process's own; it only passes IDs on without an endpoint.

    Who decides whether a call is sampled is the telemetry interceptor; see `CallSampler`.
    """
    if not settings.otlp_endpoint:
        yield trace.NoOpTracer()
        return
    # An exporter that finds no collector says so for every batch, which would drown the service's own log.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    resource = Resource.create({"service.name": service, "deployment.environment.name": settings.environment})
    provider = TracerProvider(resource=resource, sampler=CallSampler())
    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=True, timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)
    try:
        yield provider.get_tracer("deskmesh")
    finally:
        provider.shutdown()

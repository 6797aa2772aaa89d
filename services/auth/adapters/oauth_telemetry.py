"""A span, a trace ID and numbers for every request to the OAuth endpoints, as every RPC has."""

import logging
import random
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanKind, Status, StatusCode
from prometheus_client import CollectorRegistry, Counter, Histogram

from services.common.rpc_metrics import SECONDS_BUCKETS
from services.common.tracing import TRACEPARENT, Unsampled, enter_unsampled, is_sampled, remote_parent, well_formed

logger = logging.getLogger(__name__)

# What nobody knows is one of a kind, or anybody could make up as many names as they like.
UNKNOWN = "unknown"
FAULT = 500


class OAuthTelemetry:
    """Whoever starts a trace decides whether it is sampled; without a decision `sample_ratio` does."""

    def __init__(self, registry: CollectorRegistry, sample_ratio: float, tracer: trace.Tracer | None = None) -> None:
        self._tracer = tracer or trace.get_tracer("deskmesh")
        self._sample_ratio = sample_ratio
        self._requests = Counter(
            "deskmesh_oauth_requests", "Requests by endpoint and status.", ("endpoint", "status"), registry=registry
        )
        self._seconds = Histogram(
            "deskmesh_oauth_seconds",
            "Time from the start of a request to its end.",
            ("endpoint",),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def middleware(self) -> Middleware:
        """The outermost middleware."""

        @web.middleware
        async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
            began = perf_counter()
            endpoint = _endpoint(request)
            span = self._start(request, endpoint)
            attached = otel_context.attach(trace.set_span_in_context(span)) if span is not None else None
            status = FAULT
            try:
                response = await handler(request)
                status = response.status
                return response
            finally:
                seconds = perf_counter() - began
                self._requests.labels(endpoint, str(status)).inc()
                self._seconds.labels(endpoint).observe(seconds)
                if status >= web.HTTPBadRequest.status_code:
                    _log(endpoint, status, seconds)
                if span is not None and attached is not None:
                    otel_context.detach(attached)
                    _finish(span, status)

        return measured

    def _start(self, request: web.Request, endpoint: str) -> trace.Span | None:
        """Make the request's trace the current one; the span, if it is sampled and somebody collects spans."""
        header = request.headers.get(TRACEPARENT, "")
        header = header if well_formed(header) else ""
        # Requests on one connection share their context.
        enter_unsampled(None)
        sampled = is_sampled(header) if header else random.random() < self._sample_ratio  # noqa: S311 - no secret
        if sampled:
            nobody = otel_context.Context()
            parent = trace.set_span_in_context(NonRecordingSpan(remote_parent(header)), nobody) if header else nobody
            attributes = {"http.request.method": request.method, "http.route": endpoint}
            name = f"{request.method} {endpoint}"
            span = self._tracer.start_span(name, parent, kind=SpanKind.SERVER, attributes=attributes)
            if span.is_recording():
                return span
        enter_unsampled(Unsampled(header))
        return None


def _endpoint(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else UNKNOWN


def _finish(span: trace.Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= FAULT:
        span.set_status(Status(StatusCode.ERROR, str(status)))
    span.end()


def _log(endpoint: str, status: int, seconds: float) -> None:
    level = logging.ERROR if status >= FAULT else logging.INFO
    fields = {"endpoint": endpoint, "status": status, "duration_ms": round(seconds * 1000, 2)}
    logger.log(level, "request failed", extra=fields)

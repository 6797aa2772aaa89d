"""A span, a trace ID and the metrics of every RPC.

Whoever starts a trace decides whether it is sampled and says so in `traceparent`; without that header the share in the
settings decides. A call that is not sampled still has a trace ID for logs and errors, but costs no recorded span.
"""

import logging
import random
from time import perf_counter

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from prometheus_client import Counter

from mesh.policy.table import Rule
from services.common.interceptors.call import Call
from services.common.telemetry import ServerMetrics

logger = logging.getLogger(__name__)

TRACEPARENT = "traceparent"
TRACEPARENT_LENGTH = 55
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
UNSAMPLED = TraceFlags(TraceFlags.DEFAULT)
# Codes that mean a fault of ours; the others are answers.
FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})


def parse_traceparent(value: str) -> SpanContext | None:
    """The caller's place in a trace by W3C Trace Context, or None if the header is absent or malformed."""
    if len(value) != TRACEPARENT_LENGTH or value[:3] != "00-" or value[35] != "-" or value[52] != "-":
        return None
    try:
        trace_id, span_id, flags = int(value[3:35], 16), int(value[36:52], 16), int(value[53:], 16)
    except ValueError:
        return None
    if not trace_id or not span_id:
        return None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=SAMPLED if flags & 1 else UNSAMPLED)


class MethodTelemetry:
    """The instruments of one RPC, looked up once."""

    def __init__(self, rule: Rule, tracer: trace.Tracer, metrics: ServerMetrics, sample_ratio: float) -> None:
        self._rule = rule
        self._tracer = tracer
        self._sample_ratio = sample_ratio
        self._handled = metrics.handled
        self._by_code: dict[grpc.StatusCode, Counter] = {}
        self._seconds = metrics.handling_seconds.labels(rule.service, rule.name)
        self._open_streams = metrics.open_streams.labels(rule.service, rule.name)
        self._is_stream = rule.client_streaming or rule.server_streaming
        self._attributes = {"rpc.system": "grpc", "rpc.service": rule.service, "rpc.method": rule.name}

    def start(self, call: Call) -> "Observation":
        """Begin to observe a call and make its trace the current one."""
        span = self._span(parse_traceparent(call.header(TRACEPARENT)))
        otel_context.attach(trace.set_span_in_context(span))
        if self._is_stream:
            self._open_streams.inc()
        return Observation(span)

    def finish(self, observation: "Observation", call: Call, code: grpc.StatusCode, reason: str = "") -> None:
        """End the observation; a call that failed leaves a line in the log."""
        seconds = perf_counter() - observation.started
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._handled.labels(self._rule.service, self._rule.name, code.name)
        counter.inc()
        self._seconds.observe(seconds)
        if self._is_stream:
            self._open_streams.dec()
        if code is not grpc.StatusCode.OK:
            self._log_failure(call, code, reason, seconds)
        span = observation.span
        if span.is_recording():
            self._finish_span(span, call, code, reason)

    def _span(self, parent: SpanContext | None) -> trace.Span:
        if parent is None:
            if random.random() < self._sample_ratio:  # noqa: S311 - a sample, not a secret
                return self._record(None)
            return NonRecordingSpan(_random_context(random.getrandbits(128) or 1, UNSAMPLED))
        if parent.trace_flags.sampled:
            return self._record(parent)
        return NonRecordingSpan(parent)

    def _record(self, parent: SpanContext | None) -> trace.Span:
        context = otel_context.Context()
        if parent is not None:
            context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        name = self._rule.method[1:]
        span = self._tracer.start_span(name, context, kind=SpanKind.SERVER, attributes=self._attributes)
        if span.get_span_context().is_valid:
            return span
        # No collector: logs and errors still need an ID.
        return NonRecordingSpan(_random_context(random.getrandbits(128) or 1, UNSAMPLED))

    def _finish_span(self, span: trace.Span, call: Call, code: grpc.StatusCode, reason: str) -> None:
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if call.caller is not None:
            span.set_attribute("deskmesh.workload", call.caller.workload)
            span.set_attribute("deskmesh.organization_id", call.caller.organization_id)
        if reason:
            span.set_attribute("deskmesh.reason", reason)
        if code in FAULTS:
            span.set_status(Status(StatusCode.ERROR, code.name))
        span.end()

    def _log_failure(self, call: Call, code: grpc.StatusCode, reason: str, seconds: float) -> None:
        level = logging.ERROR if code in FAULTS else logging.INFO
        workload = call.caller.workload if call.caller is not None else ""
        fields = {
            "method": self._rule.method,
            "code": code.name,
            "reason": reason,
            "workload": workload,
            "duration_ms": round(seconds * 1000, 2),
        }
        logger.log(level, "call failed", extra=fields)


class Observation:
    """A call being observed: its span and when it began."""

    __slots__ = ("span", "started")

    def __init__(self, span: trace.Span) -> None:
        self.span = span
        self.started = perf_counter()


def _random_context(trace_id: int, flags: TraceFlags) -> SpanContext:
    return SpanContext(trace_id, random.getrandbits(64) or 1, is_remote=False, trace_flags=flags)

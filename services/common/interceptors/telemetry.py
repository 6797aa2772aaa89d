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
from opentelemetry.trace import NonRecordingSpan, SpanKind, Status, StatusCode

from mesh.policy.table import Rule
from services.common.interceptors.call import Call
from services.common.telemetry import ServerMetrics
from services.common.tracing import TRACEPARENT, Unsampled, enter_unsampled, is_sampled, remote_parent, well_formed

logger = logging.getLogger(__name__)

# Codes that mean a fault of ours; the others are answers.
FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})
_NO_CONTEXT = otel_context.Context()


class MethodTelemetry:
    """The instruments of one RPC, looked up once."""

    def __init__(self, rule: Rule, tracer: trace.Tracer, metrics: ServerMetrics, sample_ratio: float) -> None:
        self._rule = rule
        self._tracer = tracer
        self._sample_ratio = sample_ratio
        self._metrics = metrics.rpcs.method(rule.service, rule.name)
        self._is_stream = rule.client_streaming or rule.server_streaming
        self._attributes = {"rpc.system": "grpc", "rpc.service": rule.service, "rpc.method": rule.name}

    def start(self, call: Call) -> None:
        """Make the call's trace the current one, with a span if it is sampled."""
        if self._is_stream:
            self._metrics.open_streams += 1
        header = call.headers.get(TRACEPARENT)
        if header is None or not isinstance(header, str) or not well_formed(header):
            header = ""
            sampled = random.random() < self._sample_ratio  # noqa: S311 - a sample, not a secret
        else:
            sampled = is_sampled(header)
        if not sampled or not self._record(call, header):
            enter_unsampled(Unsampled(header))

    def succeed(self, call: Call) -> None:
        """Count a call that ended well."""
        self._metrics.observe_ok(perf_counter() - call.started)
        if self._is_stream:
            self._metrics.open_streams -= 1
        if call.span is not None:
            self._finish_span(call.span, call, grpc.StatusCode.OK, "")

    def fail(self, call: Call, code: grpc.StatusCode, reason: str = "") -> None:
        """Count a call that failed; it leaves a line in the log."""
        seconds = call.elapsed_seconds()
        self._metrics.observe(code, seconds)
        if self._is_stream:
            self._metrics.open_streams -= 1
        self._log_failure(call, code, reason, seconds)
        if call.span is not None:
            self._finish_span(call.span, call, code, reason)

    def _record(self, call: Call, header: str) -> bool:
        """Start a span and make it current; False when nobody collects spans."""
        context = (
            trace.set_span_in_context(NonRecordingSpan(remote_parent(header)), _NO_CONTEXT) if header else _NO_CONTEXT
        )
        name = self._rule.method[1:]
        span = self._tracer.start_span(name, context, kind=SpanKind.SERVER, attributes=self._attributes)
        if not span.is_recording():
            return False
        call.span = span
        otel_context.attach(trace.set_span_in_context(span, _NO_CONTEXT))
        return True

    def _finish_span(self, span: trace.Span, call: Call, code: grpc.StatusCode, reason: str) -> None:
        # All at once: each time takes the span's lock and checks every value anew.
        attributes: dict[str, str | int] = {"rpc.grpc.status_code": code.value[0]}
        if call.caller is not None:
            attributes["deskmesh.workload"] = call.caller.workload
            attributes["deskmesh.organization_id"] = call.caller.organization_id
        if reason:
            attributes["deskmesh.reason"] = reason
        span.set_attributes(attributes)
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

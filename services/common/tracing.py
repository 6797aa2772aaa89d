"""The trace of the call being served. A call that is not sampled carries IDs only, made when somebody asks for them."""

import random
from collections.abc import Sequence
from contextvars import ContextVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

TRACEPARENT = "traceparent"
TRACEPARENT_LENGTH = 55
HEX = frozenset("0123456789abcdef")


class Unsampled:
    """A trace that nobody records: the caller's, or a new one, as W3C Trace Context writes it."""

    __slots__ = ("_traceparent",)

    def __init__(self, traceparent: str = "") -> None:
        self._traceparent = traceparent

    @property
    def traceparent(self) -> str:
        """The header to send on."""
        if not self._traceparent:
            self._traceparent = f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-00"
        return self._traceparent


_unsampled: ContextVar[Unsampled | None] = ContextVar("deskmesh_unsampled", default=None)

enter_unsampled = _unsampled.set


def well_formed(header: str) -> bool:
    """True for a `traceparent` of version 00 with IDs that are not zero."""
    if len(header) != TRACEPARENT_LENGTH or not header.startswith("00-") or header[35] != "-" or header[52] != "-":
        return False
    trace_id, span_id, flags = header[3:35], header[36:52], header[53:]
    return HEX.issuperset(trace_id + span_id + flags) and trace_id.strip("0") != "" and span_id.strip("0") != ""


def is_sampled(header: str) -> bool:
    """What a well-formed `traceparent` says about sampling."""
    return int(header[53:], 16) & TraceFlags.SAMPLED != 0


def remote_parent(header: str) -> SpanContext:
    """The span a well-formed `traceparent` names."""
    return SpanContext(int(header[3:35], 16), int(header[36:52], 16), is_remote=True, trace_flags=TraceFlags(1))


def current_traceparent() -> str:
    """The header that puts a call or an event into the present trace; empty outside of any."""
    span = trace.get_current_span().get_span_context()
    if span.trace_id:
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
    unsampled = _unsampled.get()
    return unsampled.traceparent if unsampled is not None else ""


def current_ids() -> tuple[str, str]:
    """Trace ID of 32 and span ID of 16 hexadecimal digits; empty outside of any trace."""
    header = current_traceparent()
    return header[3:35], header[36:52]


class CallSampler(Sampler):
    """Records what is started outside of calls and in sampled ones, and nothing within a call that is not sampled."""

    def should_sample(
        self,
        parent_context: otel_context.Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See `Sampler`."""
        parent = trace.get_current_span(parent_context).get_span_context()
        dropped = not parent.trace_flags.sampled if parent.is_valid else _unsampled.get() is not None
        if dropped:
            return SamplingResult(Decision.DROP)
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """See `Sampler`."""
        return "CallSampler"

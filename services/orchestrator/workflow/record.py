"""What a turn did, step by step: times, tokens, models and versions, and a span for each."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from services.common.clock import Clock
from services.common.errors import DomainError
from services.common.spending import Usage
from services.orchestrator.domain import Call, Step


@dataclass
class Notes:
    """What a step says of itself while it runs."""

    model: str = ""
    usage: Usage | None = None
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    error_reason: str = ""
    call: Call | None = None


class Recorder:
    """Collects the steps of one turn; times count from when its message came."""

    def __init__(self, created_at: datetime, clock: Clock, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        # The message's age once, from the wall clock; from here on a clock that never jumps.
        self._origin = time.monotonic() - max(0.0, (clock() - created_at).total_seconds())
        self._steps: list[tuple[float, float, str, Notes]] = []

    @property
    def seconds(self) -> float:
        """Seconds since the message came."""
        return time.monotonic() - self._origin

    @property
    def usage(self) -> Usage:
        """Tokens of all calls together."""
        return sum((notes.usage for *_, notes in self._steps if notes.usage), Usage())

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step that ended, in the order they began."""
        return tuple(
            Step(
                name,
                started,
                elapsed,
                notes.model,
                notes.usage,
                _versions(notes),
                dict(notes.details),
                notes.error_reason,
                notes.call,
            )
            for started, elapsed, name, notes in sorted(self._steps, key=lambda step: step[0])
        )

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Notes]:
        """Time the block; a failure is noted with its reason and goes on."""
        notes, started = Notes(), self.seconds
        with self._tracer.start_as_current_span(f"turn.{name}") as span:
            try:
                yield notes
            except DomainError as error:
                notes.error_reason = error.reason
                span.set_status(Status(StatusCode.ERROR, error.reason))
                raise
            except asyncio.CancelledError:
                notes.error_reason = "CANCELLED"
                raise
            except Exception:
                notes.error_reason = "INTERNAL"
                raise
            finally:
                self._steps.append((started, self.seconds - started, name, notes))
                span.set_attributes({f"turn.{key}": value for key, value in notes.details.items()})


def _versions(notes: Notes) -> dict[str, str]:
    """What the step went by, the model's own version among it."""
    model = notes.call.version if notes.call is not None else ""
    return {**notes.versions, "model": model} if model else dict(notes.versions)


def traceparent() -> str:
    """The span that runs, as a W3C header; empty outside of any."""
    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}" if span.trace_id else ""


def context_of(header: str) -> Context | None:
    """The context that a kept header stands for, so that a turn's spans join the call that began it."""
    parts = header.split("-")
    if len(parts) != 4:
        return None
    span = SpanContext(int(parts[1], 16), int(parts[2], 16), is_remote=True, trace_flags=TraceFlags(int(parts[3], 16)))
    return trace.set_span_in_context(NonRecordingSpan(span))

"""One RPC while it is being served, as the concerns see it."""

from collections.abc import Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any

import grpc.aio
from opentelemetry import trace

from mesh.policy.table import Rule
from services.common.context import Caller

Metadata = Sequence[tuple[str, str | bytes]]

# The metadata that gRPC handed over when it looked for the method: asking the context makes all of it once more, which
# is among the dearest things a small call does.
_arrived: ContextVar[Metadata | None] = ContextVar("deskmesh_arrived", default=None)

arrived_with = _arrived.set

RpcContext = grpc.aio.ServicerContext[Any, Any]


class Call:
    """Headers and gRPC context of one RPC, its span if it is sampled, and the caller once identity has found it."""

    __slots__ = ("caller", "context", "headers", "rule", "span", "started")

    def __init__(self, rule: Rule, context: RpcContext) -> None:
        self.started = perf_counter()
        self.rule = rule
        self.context = context
        # Of a header sent twice the last one counts; none of those read here may come twice.
        self.headers: dict[str, str | bytes] = dict(_arrived.get() or context.invocation_metadata() or ())
        self.caller: Caller | None = None
        self.span: trace.Span | None = None

    def elapsed_seconds(self) -> float:
        """Time since the call arrived."""
        return perf_counter() - self.started

    def header(self, name: str) -> str:
        """A text header, or "" without it."""
        value = self.headers.get(name, "")
        return value if isinstance(value, str) else ""

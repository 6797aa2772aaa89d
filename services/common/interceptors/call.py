"""One RPC while it is being served, as the concerns see it."""

from time import perf_counter
from typing import Any

import grpc.aio
from opentelemetry import trace

from mesh.policy.table import Rule
from services.common.context import Caller

RpcContext = grpc.aio.ServicerContext[Any, Any]


class Call:
    """Headers and gRPC context of one RPC, its span if it is sampled, and the caller once identity has found it."""

    __slots__ = ("_started", "caller", "context", "headers", "rule", "span")

    def __init__(self, rule: Rule, context: RpcContext) -> None:
        self.rule = rule
        self.context = context
        # Of a header sent twice the last one counts; none of those read here may come twice.
        self.headers: dict[str, str | bytes] = dict(context.invocation_metadata() or ())
        self.caller: Caller | None = None
        self.span: trace.Span | None = None
        self._started = perf_counter()

    def elapsed_seconds(self) -> float:
        """Time since the call arrived."""
        return perf_counter() - self._started

    def header(self, name: str) -> str:
        """A text header, or "" without it."""
        value = self.headers.get(name, "")
        return value if isinstance(value, str) else ""

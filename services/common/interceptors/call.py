"""One RPC while it is being served, as the concerns see it."""

from typing import Any

import grpc.aio

from mesh.policy.table import Rule
from services.common.context import Caller

RpcContext = grpc.aio.ServicerContext[Any, Any]


class Call:
    """Rule, headers and gRPC context of one RPC, and the caller once identity has found it."""

    __slots__ = ("caller", "context", "headers", "rule")

    def __init__(self, rule: Rule, context: RpcContext) -> None:
        self.rule = rule
        self.context = context
        # Of a header sent twice the last one counts; none of those read here may come twice.
        self.headers: dict[str, str | bytes] = dict(context.invocation_metadata() or ())
        self.caller: Caller | None = None

    def header(self, name: str) -> str:
        """A text header, or "" without it."""
        value = self.headers.get(name, "")
        return value if isinstance(value, str) else ""

"""Keeps where a call comes from while it is served, so that the audit log can tell."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from services.auth.audit import set_source
from services.common.context import caller

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Context], Awaitable[Any]]

FORWARDED_FOR = "x-forwarded-for"


class WithOrigin:
    """Stands in for a servicer of unary methods: notes the source of each call and hands it on."""

    def __init__(self, servicer: object) -> None:
        self._servicer = servicer

    def __getattr__(self, name: str) -> Method:
        method: Method = getattr(self._servicer, name)

        async def serve(request: Any, context: Context) -> Any:
            set_source(forwarded_address(context))
            return await method(request, context)

        return serve


def forwarded_address(context: Context) -> str:
    """The address the edge saw: the last one in the list, which the edge itself wrote; empty for other callers."""
    headers = dict(context.invocation_metadata() or ())
    forwarded = headers.get(FORWARDED_FOR, "")
    if isinstance(forwarded, str) and forwarded and caller().workload == "edge":
        return forwarded.rpartition(",")[2].strip()
    return ""

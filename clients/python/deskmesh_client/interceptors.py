"""What every call gets: a token, a deadline, a trace, retries where the contract allows them, and typed errors."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc.aio import ClientCallDetails, Metadata

from deskmesh_client import policy
from deskmesh_client.errors import DeskmeshError, from_rpc_error

DEFAULT_TIMEOUT_SECONDS = 30.0
ATTEMPTS = 4
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0
TRACEPARENT = "traceparent"
TRANSIENT = (grpc.StatusCode.UNAVAILABLE,)
# Another token may hold: it is renewed and the call made once more.
RENEWABLE = frozenset({"TOKEN_EXPIRED", "TOKEN_INVALID", "TOKEN_REVOKED"})

type_of_token_source = Callable[[bool], Awaitable[str | None]]


def new_traceparent() -> str:
    """A sampled W3C trace context with new identifiers."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_id_of(details: ClientCallDetails) -> str:
    """The trace that a prepared call belongs to."""
    traceparent = (details.metadata or Metadata()).get(TRACEPARENT, "")
    return str(traceparent).split("-")[1]


def backoff_seconds(attempt: int, error: DeskmeshError) -> float:
    """Wait before attempt `attempt` + 1: what the service asked for, or full jitter over a span doubling up to 5 s."""
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds
    span = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**attempt)
    return random.uniform(0, span)  # noqa: S311 (spreads load, guards nothing)


class Caller:
    """Prepares calls and decides what follows a failure."""

    def __init__(self, token: type_of_token_source) -> None:
        self._token = token

    async def prepare(self, details: ClientCallDetails, *, renew: bool, timeout: float | None) -> ClientCallDetails:
        method = _method(details)
        metadata = Metadata(*(details.metadata or ()))
        if metadata.get(TRACEPARENT) is None:
            metadata.add(TRACEPARENT, new_traceparent())
        if policy.needs_token(method) and (token := await self._token(renew)) is not None:
            metadata["authorization"] = f"Bearer {token}"
        return ClientCallDetails(
            details.method, details.timeout or timeout, metadata, details.credentials, details.wait_for_ready
        )

    def again(self, details: ClientCallDetails, error: DeskmeshError, attempt: int) -> bool:
        """Whether to send the call once more after this failure of attempt `attempt` (from 0)."""
        if attempt + 1 >= ATTEMPTS:
            return False
        if error.reason in RENEWABLE:
            return attempt == 0
        return error.code in TRANSIENT and policy.repeatable(_method(details))


class UnaryInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Unary calls."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def intercept_unary_unary(
        self, continuation: Callable[..., Awaitable[Any]], details: ClientCallDetails, request: Any
    ) -> Any:
        renew = False
        for attempt in range(ATTEMPTS):
            prepared = await self._caller.prepare(details, renew=renew, timeout=DEFAULT_TIMEOUT_SECONDS)
            call = await continuation(prepared, request)
            try:
                await call
            except grpc.aio.AioRpcError as failure:
                error = from_rpc_error(failure, trace_id_of(prepared))
                if not self._caller.again(details, error, attempt):
                    raise error from None
                renew = error.code is grpc.StatusCode.UNAUTHENTICATED
                if not renew:
                    await asyncio.sleep(backoff_seconds(attempt, error))
            else:
                return call
        raise AssertionError("the last attempt returns or raises")


class StreamInterceptor(grpc.aio.UnaryStreamClientInterceptor):
    """Calls that answer with a stream. One that has begun is never sent again here: only its user can resume it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def intercept_unary_stream(
        self, continuation: Callable[..., Awaitable[Any]], details: ClientCallDetails, request: Any
    ) -> AsyncIterator[Any]:
        # The first call is made here: grpc holds on to it in order to cancel it when the caller goes away.
        prepared = await self._caller.prepare(details, renew=False, timeout=None)
        return self._frames(await continuation(prepared, request), prepared, continuation, request)

    async def _frames(
        self, call: Any, prepared: ClientCallDetails, continuation: Callable[..., Awaitable[Any]], request: Any
    ) -> AsyncIterator[Any]:
        attempt, begun = 0, False
        try:
            while True:
                try:
                    async for frame in call:
                        begun = True
                        yield frame
                except grpc.aio.AioRpcError as failure:
                    error = from_rpc_error(failure, trace_id_of(prepared))
                    if begun or not self._caller.again(prepared, error, attempt):
                        raise error from None
                else:
                    return
                renew = error.code is grpc.StatusCode.UNAUTHENTICATED
                if not renew:
                    await asyncio.sleep(backoff_seconds(attempt, error))
                attempt += 1
                prepared = await self._caller.prepare(prepared, renew=renew, timeout=None)
                call = await continuation(prepared, request)
        finally:
            call.cancel()


def _method(details: ClientCallDetails) -> str:
    return details.method.decode() if isinstance(details.method, bytes) else str(details.method)

"""No unary call runs without an end. gRPC itself ends a call at the caller's deadline; this one sees to the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.common.errors import DeadlineExceeded
from services.common.interceptors.call import RpcContext


class Deadline:
    """Gives calls without a deadline the default, and calls with one that is too far away the maximum, in seconds."""

    def __init__(self, default_seconds: float, maximum_seconds: float) -> None:
        self._default = default_seconds
        self._maximum = maximum_seconds

    def imposed(self, context: RpcContext) -> float | None:
        """Seconds this call gets; None when the caller's own deadline does. Raises DeadlineExceeded if it passed."""
        remaining = context.time_remaining()
        if remaining is None:
            return self._default
        if remaining <= 0:
            raise DeadlineExceeded
        return self._maximum if remaining > self._maximum else None


@asynccontextmanager
async def limit(seconds: float) -> AsyncIterator[None]:
    """Ends the block after `seconds` with DeadlineExceeded; a TimeoutError from inside passes as it is."""
    timeout = asyncio.timeout(seconds)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if timeout.expired():
            raise DeadlineExceeded from None
        raise

"""Failures of other services in the orchestrator's own words."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import grpc.aio

from services.common.errors import from_rpc_error
from services.orchestrator.errors import DependencyUnavailable, by_reason, knows

# Codes that say that a service is not there for now, rather than that the call was wrong.
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


@contextmanager
def translated() -> Iterator[None]:
    """Raises the domain's error for a failed call where there is one; other failures pass as they are."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        remote = from_rpc_error(error)
        if knows(remote.reason) and remote.reason != "DEADLINE_EXCEEDED":
            raise by_reason(remote.reason, remote.retry_after_seconds) from error
        if remote.code in _PASSING:
            raise DependencyUnavailable(retry_after_seconds=remote.retry_after_seconds or 1.0) from error
        raise

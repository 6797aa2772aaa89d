"""Failures a caller is told about. Domain errors know nothing of gRPC; `interceptors/errors.py` maps them by class.

A service subclasses the class that says what kind of failure it is and names the reason:

    class ConversationClosed(PreconditionFailed):
        reason = "CONVERSATION_CLOSED"
        message = "The conversation is closed; start a new one."
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

ERROR_DOMAIN = "deskmesh"
STATUS_DETAILS_KEY = "grpc-status-details-bin"

Violation = tuple[str, str]


class DomainError(Exception):
    """A failure with a reason of `deskmesh.common.v1.ErrorReason`, written without its prefix.

    `message` is shown to people; `metadata` goes to the caller as it is, so nothing secret belongs there.
    """

    reason: ClassVar[str] = "INTERNAL"
    message: str = "Something went wrong."

    def __init__(self, message: str | None = None, *, metadata: Mapping[str, str] | None = None) -> None:
        if message is not None:
            self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        super().__init__(self.message)


class InvalidInput(DomainError):
    """The input breaks a rule; `violations` are pairs of a field path and what is wrong with it."""

    reason = "INVALID_FIELD"
    message = "The request is not valid."

    def __init__(
        self,
        message: str | None = None,
        *,
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.violations = list(violations)


class RequestTooLarge(InvalidInput):
    """The request as a whole is larger than any that is taken."""

    reason = "REQUEST_TOO_LARGE"
    message = "The request is too large."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(metadata={"limit_bytes": str(limit_bytes)})


class OutOfRange(DomainError):
    """The input is well-formed but lies beyond what there is."""


class NotFound(DomainError):
    """There is no such thing, or none that this caller may know of."""

    resource_type: ClassVar[str] = ""

    def __init__(
        self,
        message: str | None = None,
        *,
        resource_name: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.resource_name = resource_name


class MethodUnknown(DomainError):
    """Nothing is served under the name that was called."""

    reason = "METHOD_UNKNOWN"
    message = "There is no such method."


class AlreadyExists(DomainError):
    """What should be made is there already."""


class PreconditionFailed(DomainError):
    """The thing is in a state that does not allow this."""


class Conflict(DomainError):
    """Somebody else changed the thing in between; reading it again and repeating helps."""

    reason = "STALE_ETAG"
    message = "The record changed since it was read; read it again."


class PermissionDenied(DomainError):
    """The caller is known and may not do this."""

    reason = "PERMISSION_MISSING"
    message = "Your role does not allow this."


class Unauthenticated(DomainError):
    """Who the caller is was not proven."""


class _Retryable(DomainError):
    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.retry_after_seconds = retry_after_seconds


class Exhausted(_Retryable):
    """A limit is reached; repeating after the time given helps. `quota` has pairs of a limit and what it says."""

    reason = "RATE_LIMITED"
    message = "Too many calls; try again later."

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_seconds: float | None = None,
        quota: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds, metadata=metadata)
        self.quota = list(quota)


class Unavailable(_Retryable):
    """Something this call needs does not answer; repeating after the time given helps."""

    reason = "DEPENDENCY_UNAVAILABLE"
    message = "A part this call needs does not answer; try again."


class DeadlineExceeded(DomainError):
    """The time the caller gave has passed."""

    reason = "DEADLINE_EXCEEDED"
    message = "The deadline passed."


class Cancelled(DomainError):
    """The caller, or somebody on the caller's behalf, gave up."""

    reason = "CANCELLED"
    message = "The call was cancelled."


class RequestIdReused(AlreadyExists):
    """The request_id came before, with other content."""

    reason = "REQUEST_ID_REUSED"
    message = "This request_id was used with other content; choose a new one."


class RemoteError(Exception):
    """A failure another service answered with; left alone, it is passed on where that makes sense."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds
        self.violations = list(violations)

    def __str__(self) -> str:
        """For logs: what kind of failure, and which fields break a rule; never what stood in them."""
        fields = "".join(f"; {field}: {description}" for field, description in self.violations)
        return f"{self.code.name} {self.reason}: {self.message}{fields}"


def from_rpc_error(error: grpc.aio.AioRpcError) -> RemoteError:
    """Read the details of a failed call. A failure without details (as from a proxy) gets a reason from its code."""
    remote = RemoteError(error.code(), _reason_of(error.code()), error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            _read_details(remote, value)
    return remote


def _read_details(remote: RemoteError, value: bytes) -> None:
    try:
        status = status_pb2.Status.FromString(value)
    except DecodeError:
        return
    for detail in status.details:
        # What is damaged says nothing; the rest still counts.
        with suppress(DecodeError):
            _read_detail(remote, detail)


def _read_detail(remote: RemoteError, detail: any_pb2.Any) -> None:
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
        remote.reason = info.reason
        remote.metadata = dict(info.metadata)
    elif detail.Unpack(bad):
        remote.violations = [(v.field, v.description) for v in bad.field_violations]
    elif detail.Unpack(retry):
        remote.retry_after_seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9


def _reason_of(code: grpc.StatusCode) -> str:
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return "DEPENDENCY_UNAVAILABLE"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return "DEADLINE_EXCEEDED"
        case grpc.StatusCode.CANCELLED:
            return "CANCELLED"
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return "RATE_LIMITED"
        case grpc.StatusCode.UNIMPLEMENTED:
            return MethodUnknown.reason
        case _:
            return "INTERNAL"

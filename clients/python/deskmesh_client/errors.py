"""Failures of calls as exceptions, one class for each thing a program may want to catch."""

import contextlib
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

TRACE_ID_KEY = "trace_id"
STATUS_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field that breaks a rule of the contract: its path, as `passages[2].text`, and what is wrong."""

    field: str
    description: str


@dataclass(eq=False)
class DeskmeshError(Exception):
    """A call failed.

    `reason` is a value of `deskmesh.common.v1.ErrorReason` without its prefix, also when no service was reached (no
    connection, for example). `retry_after_seconds` is None without a hint.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    retry_after_seconds: float | None = None
    violations: list[FieldViolation] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def trace_id(self) -> str:
        """Trace that the failure belongs to, 32 hexadecimal digits."""
        return self.metadata.get(TRACE_ID_KEY, "")

    def __str__(self) -> str:
        hint = f" (retry after {self.retry_after_seconds:g} s)" if self.retry_after_seconds else ""
        fields = "".join(f"; {v.field}: {v.description}" for v in self.violations)
        return f"{self.reason}: {self.message}{fields}{hint}"


class InvalidRequest(DeskmeshError):
    """The request breaks a rule of the contract; `violations` says which."""


class SignInRequired(DeskmeshError):
    """No token, or one that no longer holds and could not be refreshed."""


class CredentialsInvalid(DeskmeshError):
    """E-mail or password is wrong."""


class SecondFactorRequired(Exception):
    """The password was right; a code of the second factor signs in, with `Client.complete_sign_in`."""

    def __init__(self, challenge_token: str) -> None:
        super().__init__("a code of the second factor is needed")
        self.challenge_token = challenge_token


class StepUpRequired(DeskmeshError):
    """This call wants a fresh proof of who is there: `Client.step_up`."""


class NotAllowed(DeskmeshError):
    """The caller's roles do not hold the permission."""


class NotFound(DeskmeshError):
    """No such record for this caller."""


class StaleEtag(DeskmeshError):
    """The record changed since it was read; read it again."""


class RequestIdReused(DeskmeshError):
    """The request_id was used with other content."""


class AlreadyExists(DeskmeshError):
    """The record exists already."""


class NotNow(DeskmeshError):
    """The record's state does not allow this."""


class Busy(DeskmeshError):
    """A limit is reached; `retry_after_seconds` says when to try again."""


class Unavailable(DeskmeshError):
    """A part does not answer; try again."""


class TimedOut(DeskmeshError):
    """The deadline passed."""


class Cancelled(DeskmeshError):
    """The call or the turn was cancelled."""


BY_REASON: dict[str, type[DeskmeshError]] = {
    "CREDENTIALS_INVALID": CredentialsInvalid,
    "STALE_ETAG": StaleEtag,
    "STEP_UP_REQUIRED": StepUpRequired,
    "REQUEST_ID_REUSED": RequestIdReused,
    "REQUEST_TOO_LARGE": InvalidRequest,
}
BY_CODE: dict[grpc.StatusCode, type[DeskmeshError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: SignInRequired,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: NotNow,
    grpc.StatusCode.ABORTED: NotNow,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Busy,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.CANCELLED: Cancelled,
}


# What gRPC itself says of a call, on this side or the other, where no service had a word.
WITHOUT_DETAILS: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "DEPENDENCY_UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.CANCELLED: "CANCELLED",
    grpc.StatusCode.UNIMPLEMENTED: "METHOD_UNKNOWN",
    grpc.StatusCode.UNAUTHENTICATED: "TOKEN_INVALID",
    grpc.StatusCode.PERMISSION_DENIED: "WORKLOAD_NOT_ALLOWED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "RATE_LIMITED",
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_FIELD",
}
TOO_LARGE = "larger than max"


def _reason_without_details(code: grpc.StatusCode, text: str) -> str:
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_LARGE in text:
        return "REQUEST_TOO_LARGE"
    return WITHOUT_DETAILS.get(code, "INTERNAL")


def from_rpc_error(error: grpc.aio.AioRpcError, trace_id: str = "") -> DeskmeshError:
    """Decode the details that every Deskmesh service attaches; a failure without them gets a reason from its code.

    `trace_id` is the trace the call was sent with: what refuses a call before a service sees it cannot name the trace.
    """
    code = error.code()
    status = _status_of(error)
    if status is None and code is grpc.StatusCode.INTERNAL:
        # Every service gives details; without them the stream was reset on the way, as when a process is killed.
        code = grpc.StatusCode.UNAVAILABLE
    reason, message = _reason_without_details(code, error.details() or ""), error.details() or ""
    retry_after: float | None = None
    violations: list[FieldViolation] = []
    metadata: dict[str, str] = {}
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = _unpacked(detail, error_details_pb2.ErrorInfo())
            reason, metadata = info.reason or reason, dict(info.metadata)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = _unpacked(detail, error_details_pb2.RetryInfo())
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = _unpacked(detail, error_details_pb2.BadRequest())
            violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
    if trace_id:
        metadata.setdefault(TRACE_ID_KEY, trace_id)
    kind = BY_REASON.get(reason) or BY_CODE.get(code, DeskmeshError)
    return kind(code, reason, message, retry_after, violations, metadata)


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The details of a failed call; None without any, or when they were damaged on the way."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


DetailT = TypeVar("DetailT", bound=Message)


def _unpacked(detail: any_pb2.Any, empty: DetailT) -> DetailT:
    """The detail, or an empty one when it was damaged."""
    with contextlib.suppress(DecodeError):
        detail.Unpack(empty)
    return empty

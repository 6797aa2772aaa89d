"""Every failure becomes a gRPC status with `google.rpc` details; nothing internal leaves the process."""

import logging
from dataclasses import dataclass

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.common import errors
from services.common.context import trace_id
from services.common.dependencies import as_unavailable

logger = logging.getLogger(__name__)

CODES: dict[type[errors.DomainError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.MethodUnknown: grpc.StatusCode.UNIMPLEMENTED,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.PreconditionFailed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
}

# Answers of another service that are also this service's answer. The rest would blame the caller for our own calls.
PASSED_ON = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)

INTERNAL_MESSAGE = "Something went wrong on our side; the trace ID finds the cause."


class Draining(errors.Unavailable):
    """The process is shutting down."""

    reason = "DRAINING"
    message = "The service is restarting; try again."

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=0.0)


@dataclass(frozen=True, slots=True)
class Failure:
    """What the caller is told."""

    code: grpc.StatusCode
    reason: str
    message: str
    trailers: tuple[tuple[str, bytes], ...]
    retry_after_seconds: float | None = None


def code_of(error: errors.DomainError) -> grpc.StatusCode:
    """The code of the nearest class the table knows; INTERNAL for a domain error of no kind."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return grpc.StatusCode.INTERNAL


def describe(error: BaseException) -> Failure:
    """Turn whatever was raised into what the caller is told; what is unexpected goes to the log in full."""
    match error:
        case errors.DomainError():
            return _domain(error)
        case errors.RemoteError():
            return _remote(error)
        case grpc.aio.AioRpcError():
            return _remote(errors.from_rpc_error(error))
    if unavailable := as_unavailable(error):
        logger.warning("dependency unavailable", exc_info=error)
        return _domain(unavailable)
    logger.error("unexpected failure", exc_info=error)
    return _failure(grpc.StatusCode.INTERNAL, "INTERNAL", INTERNAL_MESSAGE, {}, [])


def _domain(error: errors.DomainError) -> Failure:
    details: list[Message] = []
    match error:
        case errors.InvalidInput(violations=violations) if violations:
            details.append(_bad_request(violations))
        case errors.NotFound(resource_type=kind) if kind:
            details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=error.resource_name))
        case errors.Exhausted(retry_after_seconds=seconds) | errors.Unavailable(retry_after_seconds=seconds):
            if seconds is not None:
                details.append(_retry_info(seconds))
            if isinstance(error, errors.Exhausted) and error.quota:
                details.append(_quota_failure(error.quota))
    retry_after = error.retry_after_seconds if isinstance(error, errors.Exhausted | errors.Unavailable) else None
    return _failure(code_of(error), error.reason, error.message, error.metadata, details, retry_after)


def _remote(error: errors.RemoteError) -> Failure:
    lacks_permission = error.code is grpc.StatusCode.PERMISSION_DENIED and error.reason == "PERMISSION_MISSING"
    if error.code not in PASSED_ON and not lacks_permission:
        logger.error("another service refused our call", exc_info=error)
        return _failure(grpc.StatusCode.INTERNAL, "INTERNAL", INTERNAL_MESSAGE, {}, [])
    details: list[Message] = [_retry_info(error.retry_after_seconds)] if error.retry_after_seconds is not None else []
    metadata = {key: value for key, value in error.metadata.items() if key != "trace_id"}
    # Only our own services put a trace ID there; their messages are written for people.
    message = error.message if "trace_id" in error.metadata else _plain_message(error.code)
    return _failure(error.code, error.reason, message, metadata, details, error.retry_after_seconds)


def _plain_message(code: grpc.StatusCode) -> str:
    # The text of a transport's failure may name addresses.
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlineExceeded.message
        case grpc.StatusCode.CANCELLED:
            return errors.Cancelled.message
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return errors.Exhausted.message
        case _:
            return errors.Unavailable.message


def _failure(
    code: grpc.StatusCode,
    reason: str,
    message: str,
    metadata: dict[str, str],
    details: list[Message],
    retry_after: float | None = None,
) -> Failure:
    info = error_details_pb2.ErrorInfo(
        reason=reason, domain=errors.ERROR_DOMAIN, metadata={**metadata, "trace_id": trace_id()}
    )
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in (info, *details):
        status.details.add().Pack(detail)
    return Failure(code, reason, message, ((errors.STATUS_DETAILS_KEY, status.SerializeToString()),), retry_after)


def _bad_request(violations: list[errors.Violation]) -> error_details_pb2.BadRequest:
    fields = [
        error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
        for field, description in violations
    ]
    return error_details_pb2.BadRequest(field_violations=fields)


def _quota_failure(quota: list[errors.Violation]) -> error_details_pb2.QuotaFailure:
    violations = [
        error_details_pb2.QuotaFailure.Violation(subject=subject, description=description)
        for subject, description in quota
    ]
    return error_details_pb2.QuotaFailure(violations=violations)


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromNanoseconds(int(max(seconds, 0.0) * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)

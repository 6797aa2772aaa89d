"""Domain errors become gRPC failures by class, with details a client can decode; nothing internal gets out."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import redis.exceptions
import sqlalchemy.exc
from google.rpc import error_details_pb2, status_pb2

import services
from deskmesh.common.v1 import error_reason_pb2
from services.common import errors
from services.common.dependencies import as_unavailable
from services.common.interceptors.errors import CODES, INTERNAL_MESSAGE, Failure, describe


def _raised(failure: Failure) -> errors.RemoteError:
    """What a client reads of a failure."""
    trailers = grpc.aio.Metadata(*failure.trailers)
    return errors.from_rpc_error(
        grpc.aio.AioRpcError(failure.code, grpc.aio.Metadata(), trailers, details=failure.message)
    )


def _domain_errors(kind: type[errors.DomainError] = errors.DomainError) -> Iterator[type[errors.DomainError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _domain_errors(subclass)


def _import_every_module() -> None:
    for root in map(Path, services.__path__):
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if not {"migrations", "alembic", "__main__"} & set(parts):
                importlib.import_module(".".join(("services", *(part for part in parts if part != "__init__"))))


def test_every_reason_is_one_of_the_contract() -> None:
    _import_every_module()
    reasons = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    own = [kind for kind in _domain_errors() if kind not in CODES and kind.__module__ != errors.__name__]
    assert len(own) > 15
    assert {kind.reason for kind in own} <= reasons - {"UNSPECIFIED"}
    without_code = [kind for kind in own if not any(base in CODES for base in kind.__mro__)]
    assert {kind.reason for kind in without_code} <= {"INTERNAL"}


@pytest.mark.parametrize(("kind", "code"), CODES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_the_class_decides_the_code(kind: type[errors.DomainError], code: grpc.StatusCode) -> None:
    assert describe(kind()).code is code


def test_details_survive_the_way_to_the_client() -> None:
    missing = errors.NotFound("No such ticket.", resource_name="tkt_1", metadata={"hint": "look elsewhere"})
    invalid = errors.InvalidInput(violations=[("title", "is too long"), ("body[2]", "is empty")])
    exhausted = errors.Exhausted(retry_after_seconds=2.5)
    read = _raised(describe(missing))
    assert (read.code, read.message) == (grpc.StatusCode.NOT_FOUND, "No such ticket.")
    assert read.metadata["hint"] == "look elsewhere"
    assert _raised(describe(invalid)).violations == invalid.violations
    assert _raised(describe(exhausted)).retry_after_seconds == 2.5


def test_nothing_internal_leaves_the_process() -> None:
    failure = describe(RuntimeError("password=hunter2 at /srv/secret.py"))
    assert (failure.code, failure.reason, failure.message) == (grpc.StatusCode.INTERNAL, "INTERNAL", INTERNAL_MESSAGE)
    assert b"hunter2" not in failure.trailers[0][1]
    assert b"secret" not in failure.trailers[0][1]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        redis.exceptions.ConnectionError("Error 2 connecting to unix:///secret.sock"),
        sqlalchemy.exc.TimeoutError("QueuePool limit"),
        sqlalchemy.exc.InterfaceError("select secret", {}, Exception("gone")),
        sqlalchemy.exc.DBAPIError("select secret", {}, Exception("gone"), connection_invalidated=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_dependency_that_does_not_answer_is_unavailable(error: Exception) -> None:
    failure = describe(error)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert _raised(failure).retry_after_seconds == 1.0
    assert b"secret" not in failure.trailers[0][1]


def test_a_defect_is_no_lost_dependency() -> None:
    assert as_unavailable(ValueError()) is None
    assert as_unavailable(sqlalchemy.exc.ProgrammingError("select", {}, Exception())) is None


@pytest.mark.parametrize(
    ("code", "passed_on"),
    [
        (grpc.StatusCode.NOT_FOUND, True),
        (grpc.StatusCode.UNAVAILABLE, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, True),
        (grpc.StatusCode.CANCELLED, True),
        (grpc.StatusCode.UNAUTHENTICATED, False),
        (grpc.StatusCode.INVALID_ARGUMENT, False),
        (grpc.StatusCode.INTERNAL, False),
    ],
)
def test_what_another_service_answers_is_passed_on_where_it_makes_sense(code: grpc.StatusCode, passed_on: bool) -> None:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="connect to 10.0.0.1 failed")
    failure = describe(error)
    assert failure.code is (code if passed_on else grpc.StatusCode.INTERNAL)
    assert "10.0.0.1" not in failure.message


def test_a_reason_of_another_service_is_kept() -> None:
    class TicketNotFound(errors.NotFound):
        reason = "TICKET_NOT_FOUND"
        message = "There is no such ticket."

    passed = describe(_raised(describe(TicketNotFound())))
    assert (passed.code, passed.reason, passed.message) == (
        grpc.StatusCode.NOT_FOUND,
        "TICKET_NOT_FOUND",
        "There is no such ticket.",
    )


def test_a_person_who_lacks_a_permission_elsewhere_lacks_it_here() -> None:
    denied = errors.RemoteError(
        grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING", "no", metadata={"trace_id": ""}
    )
    unknown = errors.RemoteError(grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ALLOWED", "no")
    assert describe(denied).code is grpc.StatusCode.PERMISSION_DENIED
    assert describe(unknown).code is grpc.StatusCode.INTERNAL


def test_damaged_details_are_no_details() -> None:
    trailers = grpc.aio.Metadata((errors.STATUS_DETAILS_KEY, b"\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailers)
    assert errors.from_rpc_error(error).reason == "DEPENDENCY_UNAVAILABLE"


def test_a_limit_that_is_reached_is_named() -> None:
    failure = describe(errors.Exhausted(retry_after_seconds=2.0, quota=[("budgets/bdg_1", "has nothing left")]))
    status = status_pb2.Status.FromString(failure.trailers[0][1])
    quota = error_details_pb2.QuotaFailure()
    assert any(detail.Unpack(quota) for detail in status.details)
    assert [(one.subject, one.description) for one in quota.violations] == [("budgets/bdg_1", "has nothing left")]

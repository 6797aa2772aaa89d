"""What the edge refuses by itself, in the typed form that the services use."""

import base64
from dataclasses import dataclass

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from deskmesh.common.v1.error_reason_pb2 import ErrorReason

ERROR_DOMAIN = "deskmesh"
INVALID_ARGUMENT, PERMISSION_DENIED, UNAVAILABLE, UNAUTHENTICATED = 3, 7, 14, 16


@dataclass(frozen=True)
class Refusal:
    """A refusal; `when` is a CEL expression over Envoy's attributes, tried in order."""

    when: str
    grpc_status: int
    reason: str
    message: str

    @property
    def details(self) -> str:
        """`grpc-status-details-bin`: a google.rpc.Status with ErrorInfo, in base64."""
        ErrorReason.Value(f"ERROR_REASON_{self.reason}")
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=ERROR_DOMAIN))
        status = status_pb2.Status(code=self.grpc_status, message=self.message, details=[info])
        return base64.b64encode(status.SerializeToString()).decode().rstrip("=")


def _denied(cause: str) -> str:
    return f"response.code == 401 && response.code_details.contains('{cause}')"


REFUSALS = (
    Refusal(_denied("Jwt_is_missing"), UNAUTHENTICATED, "TOKEN_MISSING", "Sign in first: the call has no access token."),
    Refusal(_denied("Jwt_is_expired"), UNAUTHENTICATED, "TOKEN_EXPIRED", "The access token has expired; refresh it."),
    Refusal(
        "response.code == 401 && response.code_details.contains('Jwks')",
        UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        "Access tokens cannot be checked right now; try again.",
    ),
    Refusal("response.code == 401", UNAUTHENTICATED, "TOKEN_INVALID", "The access token is not valid here."),
    Refusal("response.code == 403", PERMISSION_DENIED, "WORKLOAD_NOT_ALLOWED", "This call is not open to the outside."),
    Refusal("response.code == 413", INVALID_ARGUMENT, "INVALID_FIELD", "The request is larger than the edge accepts."),
    Refusal(
        "response.code == 503 || response.code == 504",
        UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        "A part this call needs does not answer; try again.",
    ),
)

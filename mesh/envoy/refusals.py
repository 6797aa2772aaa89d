"""What an Envoy refuses by itself, in the typed form that the services use."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import quote

from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from deskmesh.common.v1.error_reason_pb2 import ErrorReason

ERROR_DOMAIN = "deskmesh"


class Header(NamedTuple):
    """A response header."""

    name: str
    value: str


@dataclass(frozen=True)
class Refusal:
    """A refusal; `when` is a CEL expression over Envoy's attributes, and the first that holds counts.

    `reason` is a value of ErrorReason without its prefix; empty where the gRPC code says it all. A code of 0 leaves the
    headers as they are.
    """

    when: str
    code: int
    reason: str
    message: str
    retry_after_seconds: int = 0
    # The HTTP status for who asked by REST, where Envoy's own would not do.
    rest_status: int = 0

    @property
    def headers(self) -> tuple[Header, ...]:
        """The headers of a gRPC response that consists of its trailers only; none where the response has them."""
        if not self.code:
            return ()
        status = status_pb2.Status(code=self.code, message=self.message)
        if self.reason:
            ErrorReason.Value(f"ERROR_REASON_{self.reason}")
            info = any_pb2.Any()
            info.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=ERROR_DOMAIN))
            status.details.append(info)
        if self.retry_after_seconds:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromSeconds(self.retry_after_seconds)
            status.details.add().Pack(retry)
        details = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
        headers = (
            Header("grpc-status", str(self.code)),
            # `%%` because Envoy takes a single `%` for the start of one of its own variables.
            Header("grpc-message", quote(self.message, safe=" ;,:").replace("%", "%%")),
            Header("grpc-status-details-bin", details),
        )
        return (*headers, Header("retry-after", str(self.retry_after_seconds))) if self.retry_after_seconds else headers

    @property
    def rest_headers(self) -> tuple[Header, ...]:
        """The headers beside that body; some of these refusals come before there is a route, which would add them."""
        headers = (Header("x-content-type-options", "nosniff"), Header("cache-control", "no-store"))
        return (*headers, Header("retry-after", str(self.retry_after_seconds))) if self.retry_after_seconds else headers

    @property
    def body(self) -> Mapping[str, object]:
        """The same as JSON, for who asked by REST, as the transcoder writes it."""
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": self.reason, "domain": ERROR_DOMAIN}
        return {"code": self.code, "message": self.message, "details": [info]}


def _token(cause: str) -> str:
    return f"(response.code == 401 || response.code == 403) && response.code_details.contains('{cause}')"


METHOD_UNKNOWN = Refusal("response.code == 404", code_pb2.UNIMPLEMENTED, "METHOD_UNKNOWN", "There is no such method.")
DEADLINE_PASSED = Refusal(
    "response.code == 408 || response.code == 504",
    code_pb2.DEADLINE_EXCEEDED,
    "DEADLINE_EXCEEDED",
    "The deadline passed.",
)
AWAY = Refusal(
    "response.code >= 500",
    code_pb2.UNAVAILABLE,
    "DEPENDENCY_UNAVAILABLE",
    "A part this call needs does not answer; try again.",
)

REFUSALS = (
    # The gateway says itself what is wrong with a key.
    Refusal("response.code_details.contains('ext_authz_denied')", 0, "", ""),
    Refusal(
        "response.code_details == 'lua_response'",
        code_pb2.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "A call has one message; this one's is missing, cut off or followed by something.",
    ),
    Refusal(
        "response.code_details.contains('policy[compressed]')",
        code_pb2.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "The edge takes nothing compressed; send it as it is.",
        rest_status=415,
    ),
    Refusal(
        "response.code_details == 'reached_concurrency_limit'",
        code_pb2.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        "Too many calls at once for how fast they are answered; try again in a moment.",
        retry_after_seconds=1,
    ),
    Refusal(_token("Jwt_is_missing"), code_pb2.UNAUTHENTICATED, "TOKEN_MISSING", "Sign in first."),
    Refusal(
        _token("Jwt_is_expired"), code_pb2.UNAUTHENTICATED, "TOKEN_EXPIRED", "The access token has expired; refresh it."
    ),
    Refusal(
        _token("Jwks_remote_fetch"),
        code_pb2.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        "Access tokens cannot be checked right now; try again.",
    ),
    Refusal(_token("jwt_authn"), code_pb2.UNAUTHENTICATED, "TOKEN_INVALID", "The access token is not valid here."),
    Refusal(
        "response.code == 403",
        code_pb2.PERMISSION_DENIED,
        "WORKLOAD_NOT_ALLOWED",
        "This call is not open to the outside.",
    ),
    METHOD_UNKNOWN,
    Refusal(
        "response.code == 429",
        code_pb2.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        "Too many calls; try again in a moment.",
        retry_after_seconds=1,
    ),
    Refusal(
        "response.code == 413 || response.code == 431",
        code_pb2.INVALID_ARGUMENT,
        "REQUEST_TOO_LARGE",
        "The request is larger than the edge takes.",
    ),
    DEADLINE_PASSED,
    AWAY,
    # What is left is no request that a client of ours makes.
    Refusal("response.code >= 400", code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", "The edge does not take this request."),
)

# Requests by REST that the transcoder does not take, in its words; and those it never saw.
REST_REFUSALS = (
    Refusal(
        "response.code_details.contains('grpc_json_transcode_failure')",
        code_pb2.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "%LOCAL_REPLY_BODY%",
    ),
    *(
        replace(refusal, when=f"request.path.startsWith('/api/') && ({refusal.when})")
        for refusal in REFUSALS
        if refusal.code
    ),
)

SIDECAR_REFUSALS = (
    Refusal(
        "response.code == 403",
        code_pb2.PERMISSION_DENIED,
        "WORKLOAD_NOT_ALLOWED",
        "The calling workload may not call this method.",
    ),
    METHOD_UNKNOWN,
    DEADLINE_PASSED,
    AWAY,
)

"""How the OpenAI-compatible API tells the reason of a failure, whoever refuses: status, type, code, parameter."""

from collections.abc import Mapping
from dataclasses import dataclass

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class Kind:
    """What OpenAI's error object says besides the message, and the HTTP status it comes with."""

    status: int
    type: str
    code: str | None
    param: str | None = None


_UNPROVEN = ("TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_REVOKED", "API_KEY_INVALID")
_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(_UNPROVEN, Kind(401, INVALID_REQUEST, "invalid_api_key")),
    "PERMISSION_MISSING": Kind(403, INVALID_REQUEST, "insufficient_permissions"),
    "WORKLOAD_NOT_ALLOWED": Kind(403, INVALID_REQUEST, "insufficient_permissions"),
    "METHOD_UNKNOWN": Kind(404, INVALID_REQUEST, "unknown_url"),
    "MODEL_NOT_FOUND": Kind(404, INVALID_REQUEST, "model_not_found", "model"),
    "PROMPT_TOO_LONG": Kind(400, INVALID_REQUEST, "context_length_exceeded", "messages"),
    "PROMPT_QUARANTINED": Kind(400, INVALID_REQUEST, "prompt_quarantined", "messages"),
    "INVALID_FIELD": Kind(400, INVALID_REQUEST, None),
    "REQUEST_TOO_LARGE": Kind(413, INVALID_REQUEST, "request_too_large"),
    "TOOL_CALL_INVALID": Kind(500, SERVER_ERROR, "tool_call_invalid"),
    "RATE_LIMITED": Kind(429, "requests", "rate_limit_exceeded"),
    "BUDGET_EXCEEDED": Kind(429, "insufficient_quota", "insufficient_quota"),
    "MODEL_OVERLOADED": Kind(503, SERVER_ERROR, "model_overloaded"),
    "MODEL_UNAVAILABLE": Kind(503, SERVER_ERROR, "model_unavailable"),
    "DEPENDENCY_UNAVAILABLE": Kind(503, SERVER_ERROR, "service_unavailable"),
    "DEADLINE_EXCEEDED": Kind(504, SERVER_ERROR, "timeout"),
}
_INTERNAL = Kind(500, SERVER_ERROR, "internal_error")


def kind_of(reason: str) -> Kind:
    """How a failure with this reason of `ErrorReason` is told."""
    return _KINDS.get(reason, _INTERNAL)


def document(message: str, kind: Kind) -> dict[str, dict[str, str | None]]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind.type, "param": kind.param, "code": kind.code}}

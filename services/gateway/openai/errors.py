"""What goes wrong, and how OpenAI's clients are told: a status and `{"error": {message, type, param, code}}`."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from services.common.errors import (
    DomainError,
    Exhausted,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from services.common.openai_errors import Kind, document, kind_of
from services.gateway.errors import TooManyTokens, TooManyTokensAtOnce
from services.gateway.openai.requests import INVALID_VALUE, UNSUPPORTED_PARAMETER


class ModelNotFound(NotFound):
    """No model of that name, or it cannot do what is asked."""

    reason = "MODEL_NOT_FOUND"
    message = "There is no such model, or it cannot do what is asked."
    resource_type = "model"


class ModelOverloaded(Exhausted):
    """The queue is full."""

    reason = "MODEL_OVERLOADED"
    message = "The model is busy; try again shortly."


class ModelUnavailable(Unavailable):
    """No replica can answer now."""

    reason = "MODEL_UNAVAILABLE"
    message = "The model is not ready; try again shortly."


class PromptTooLong(InvalidInput):
    """Prompt and answer do not fit the model's context."""

    reason = "PROMPT_TOO_LONG"
    message = "The messages and the longest answer do not fit the model's context."


class ToolCallInvalid(PreconditionFailed):
    """The model called a tool with arguments that do not fit, twice."""

    reason = "TOOL_CALL_INVALID"
    message = "The model's call of a tool does not fit its schema; ask again, with more tokens for the answer."


class DependencyUnavailable(Unavailable):
    """A service that is needed does not answer."""


class BadParameter(InvalidInput):
    """A parameter is wrong; `param` says which, `code` how, in OpenAI's words."""

    def __init__(self, message: str, *, param: str | None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class UnknownUrl(NotFound):
    """There is no such path, or not with this method."""

    reason = "METHOD_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Told:
    """What the client is told, and by which headers besides."""

    kind: Kind
    message: str
    headers: Mapping[str, str]

    @property
    def document(self) -> dict[str, dict[str, str | None]]:
        """The body."""
        return document(self.message, self.kind)


# OpenAI's clients repeat what is refused with 408, 409, 429 or 5xx, unless a header says that it does not help.
SHOULD_RETRY = "x-should-retry"


def tell(error: DomainError) -> Told:
    """How a failure is told."""
    kind, message = kind_of(error.reason), error.message
    match error:
        case TooManyTokens():
            kind = replace(kind, type="tokens")
        case BadParameter():
            kind = replace(kind, param=error.param, code=error.code)
        case InvalidInput(violations=violations) if violations:
            parameter = parameter_of(violations[0][0])
            kind, message = replace(kind, param=parameter), f"{parameter}: {violations[0][1]}"
    headers = {}
    if isinstance(error, Exhausted | Unavailable) and error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    if error.reason == "BUDGET_EXCEEDED" or isinstance(error, TooManyTokensAtOnce):
        headers[SHOULD_RETRY] = "false"
    return Told(kind, message, headers)


# Where the contract's fields are in OpenAI's requests.
_PARAMETERS = (
    (re.compile(r"^sampling\."), ""),
    (re.compile(r"^constraint(\..*)?$"), "response_format"),
    (re.compile(r"^tools\[(\d+)\]\.parameters_schema$"), r"tools[\1].function.parameters"),
    (re.compile(r"^tools\[(\d+)\]\.(name|description)$"), r"tools[\1].function.\2"),
    (re.compile(r"^texts"), "input"),
    (re.compile(r"^log_probabilities"), "top_logprobs"),
)


def parameter_of(field_path: str) -> str:
    """The parameter that became a field of the contract."""
    for pattern, replacement in _PARAMETERS:
        field_path = pattern.sub(replacement, field_path)
    return field_path


def refusal_of(error: ValidationError) -> BadParameter:
    """The first thing that is wrong with a body."""
    first = error.errors(include_url=False, include_input=False)[0]
    param, kind = _path(first["loc"]), first["type"]
    match kind:
        case "json_invalid" | "model_type":
            return BadParameter("The body is not the JSON of a request.", param=None, code="invalid_json")
        case "extra_forbidden":
            return BadParameter(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
        case "none_required":
            message = f"Unsupported parameter: '{param}' is not supported by these models."
            return BadParameter(message, param=param, code=UNSUPPORTED_PARAMETER)
        case "missing":
            message = f"Missing required parameter: '{param}'."
            return BadParameter(message, param=param, code="missing_required_parameter")
        case "invalid_value" | "unsupported_value":
            return BadParameter(first["msg"], param=first.get("ctx", {}).get("param") or param, code=kind)
        case _:
            code = "invalid_type" if kind.endswith("_type") else INVALID_VALUE
            return BadParameter(f"Invalid '{param}': {first['msg']}.", param=param, code=code)


def _path(loc: Sequence[int | str]) -> str | None:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        # Names of types are no part of the path: they say which member of a union was tried.
        elif part[:1].islower() and "[" not in part and part not in ("str", "none"):
            text += f".{part}" if text else part
    return text or None

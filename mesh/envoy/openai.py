"""The OpenAI-compatible API at the door: what Envoy refuses by itself, in that API's words."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from mesh.envoy.refusals import Header, Refusal
from mesh.policy.http import OPENAI_PREFIX
from services.common import openai_errors

REQUEST_ID = Header("x-request-id", "%REQ(X-REQUEST-ID)%")
# What the gateway refused is in its words already.
AS_IT_IS = "%LOCAL_REPLY_BODY%"


@dataclass(frozen=True)
class OpenAiRefusal:
    """`body` is a format of Envoy's, for requests of the API where the expression `when` holds."""

    when: str
    body: str
    headers: tuple[Header, ...]


def openai_refusals(refusals: Iterable[Refusal]) -> tuple[OpenAiRefusal, ...]:
    """The same refusals for requests of the API; statuses stay as they are."""
    return tuple(
        OpenAiRefusal(
            f"request.path.startsWith('{OPENAI_PREFIX}') && ({refusal.when})", _body(refusal), _headers(refusal)
        )
        for refusal in refusals
    )


def _body(refusal: Refusal) -> str:
    if not refusal.reason:
        return AS_IT_IS
    document = openai_errors.document(refusal.message, openai_errors.kind_of(refusal.reason))
    # Envoy takes a single `%` for the start of one of its own variables.
    return json.dumps(document).replace("%", "%%")


def _headers(refusal: Refusal) -> tuple[Header, ...]:
    if not refusal.retry_after_seconds:
        return (REQUEST_ID,)
    return REQUEST_ID, Header("retry-after", str(refusal.retry_after_seconds))

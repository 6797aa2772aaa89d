"""Answers Envoy's external authorization over HTTP: 200 lets a request on, with changed headers; all else is sent back.

Envoy repeats the request's method and path behind `/keys` and sends the few headers that its configuration names.
"""

import base64
import logging
import math
from collections.abc import Mapping
from urllib.parse import quote

import grpc
from aiohttp import web

from mesh.policy.http import OPENAI_PREFIX
from services.common import openai_errors
from services.common.api_keys import PREFIX
from services.common.interceptors.errors import Failure, describe
from services.common.tracing import Unsampled, enter_unsampled, well_formed
from services.gateway.errors import ApiKeyInvalid, TwoProofs
from services.gateway.keys import KeyTokens
from services.gateway.limits import KeyLimits

logger = logging.getLogger(__name__)

AUTHORIZATION = "authorization"
API_KEY = "x-api-key"
FORWARDED_FOR = "x-forwarded-for"
BEARER = "bearer "
# Envoy's own word for request headers that must not go on.
REMOVE = "x-envoy-auth-headers-to-remove"

HTTP_STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
}


class Checks:
    """The checks as HTTP handlers."""

    def __init__(self, tokens: KeyTokens, limits: KeyLimits) -> None:
        self._tokens = tokens
        self._limits = limits
        self.answers: dict[str, int] = {}

    def add_to(self, app: web.Application) -> None:
        """Answer every method and path behind `/keys`."""
        app.router.add_route("*", "/keys{path:.*}", self.keys)

    async def keys(self, request: web.Request) -> web.Response:
        """Exchange the key of a request for a token, and count the request."""
        header = request.headers.get("traceparent", "")
        enter_unsampled(Unsampled(header if well_formed(header) else ""))
        try:
            key = key_of(request.headers.get(AUTHORIZATION, ""), request.headers.get(API_KEY, ""))
            access = await self._tokens.access(key, source_of(request.headers.get(FORWARDED_FOR, "")))
            rate, decision = await self._limits.take(access, request.match_info["path"])
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the request does not go on
            return self._refused(error, request)
        self._count("OK")
        reset = math.ceil((rate.burst - decision.remaining) * rate.interval_micros / 1e6)
        headers = {
            AUTHORIZATION: f"Bearer {access.token}",
            REMOVE: API_KEY,
            "ratelimit-limit": f"{rate.burst}, {rate.per_minute};w=60",
            "ratelimit-remaining": str(decision.remaining),
            "ratelimit-reset": str(reset),
        }
        if _is_openai(request):
            headers |= {
                "x-ratelimit-limit-requests": str(rate.burst),
                "x-ratelimit-remaining-requests": str(decision.remaining),
                "x-ratelimit-reset-requests": f"{reset}s",
            }
        return web.Response(headers=headers)

    def _refused(self, error: Exception, request: web.Request) -> web.Response:
        failure = describe(error)
        self._count(failure.reason)
        if _is_openai(request):
            return _refused_in_json(failure, error)
        headers = {
            "grpc-status": str(failure.code.value[0]),
            "grpc-message": quote(failure.message, safe=" ;,:"),
        }
        for name, value in failure.trailers:
            headers[name] = base64.b64encode(value).decode().rstrip("=")
        headers |= _retry_after(error)
        return web.Response(status=HTTP_STATUS.get(failure.code, 500), headers=headers)

    def _count(self, answer: str) -> None:
        self.answers[answer] = self.answers.get(answer, 0) + 1


def _is_openai(request: web.Request) -> bool:
    return request.match_info["path"].startswith(OPENAI_PREFIX)


def _refused_in_json(failure: Failure, error: Exception) -> web.Response:
    kind = openai_errors.kind_of(failure.reason)
    document = openai_errors.document(failure.message, kind)
    return web.json_response(document, status=kind.status, headers=_retry_after(error))


def _retry_after(error: Exception) -> dict[str, str]:
    seconds = getattr(error, "retry_after_seconds", None)
    return {} if seconds is None else {"retry-after": str(max(1, math.ceil(seconds)))}


def key_of(authorization: str, api_key: str) -> str:
    """The key of a request, in either header. Raises ApiKeyInvalid without one, TwoProofs for more than one."""
    bearer = authorization[len(BEARER) :] if authorization[: len(BEARER)].lower() == BEARER else authorization
    if api_key and bearer and bearer != api_key:
        raise TwoProofs
    key = api_key or bearer
    if not key.startswith(PREFIX):
        raise ApiKeyInvalid
    return key


def source_of(forwarded_for: str) -> str:
    """The address that Envoy saw itself: the last of the list, whatever the client wrote before it."""
    return forwarded_for.rpartition(",")[2].strip()

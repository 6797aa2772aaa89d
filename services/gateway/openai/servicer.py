"""The API's paths as HTTP handlers. Envoy has checked the token and counted the call; both are checked here again."""

import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import TypeVar

from aiohttp import web
from pydantic import ValidationError

from mesh.policy.http import CHAT_COMPLETIONS, EMBEDDINGS, MODELS, OPENAI_PREFIX
from services.common.context import set_caller
from services.common.errors import DomainError, RequestTooLarge
from services.common.interceptors.errors import INTERNAL_MESSAGE
from services.common.spending import Usage
from services.common.tracing import TRACEPARENT, Unsampled, current_ids, enter_unsampled, well_formed
from services.gateway.openai import answers
from services.gateway.openai.completions import Completions, tokens_of
from services.gateway.openai.domain import Embedded, Line, Place
from services.gateway.openai.errors import BadParameter, ModelNotFound, Told, UnknownUrl, refusal_of, tell
from services.gateway.openai.identity import Doorkeeper, Visitor
from services.gateway.openai.ports import Models
from services.gateway.openai.requests import UNSUPPORTED_VALUE, ChatCompletionRequest, EmbeddingRequest
from services.gateway.openai.spending import Spending
from services.gateway.token_limits import Taken, TokenLimits

logger = logging.getLogger(__name__)

# As large as the contract behind takes.
MOST_BODY_BYTES = 2 * 1024 * 1024
REQUEST_ID = "x-request-id"
PROCESSING = "openai-processing-ms"
AUTHORIZATION = "authorization"
# How long OpenAI's own clients wait for an answer, in seconds, as they say themselves.
CLIENT_TIMEOUT = "x-stainless-read-timeout"
# What a call waited for room, in milliseconds, and the place in the queue at which it began to.
QUEUED = "x-deskmesh-queued-ms"
QUEUED_AT = "x-deskmesh-queued-at"
EMBEDDING = "embedding"
RATE_LIMIT = "x-ratelimit"

BodyT = TypeVar("BodyT", ChatCompletionRequest, EmbeddingRequest)
Handle = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]


class OpenAiApi:
    """`/v1/…`. `calls` counts by path and status."""

    def __init__(self, doorkeeper: Doorkeeper, models: Models, spending: Spending, tokens: TokenLimits) -> None:
        self._doorkeeper = doorkeeper
        self._models = models
        self._spending = spending
        self.tokens = tokens
        self.completions = Completions(models, spending, tokens)
        # Models have no birthday of their own.
        self._since = int(time.time())
        self.calls: Counter[tuple[str, int]] = Counter()

    def application(self) -> web.Application:
        """What serves the paths."""
        app = web.Application(client_max_size=MOST_BODY_BYTES)
        app.router.add_get(MODELS, self._served(MODELS, self._list_models))
        # Names of models may have slashes.
        app.router.add_get(f"{MODELS}/{{name:.+}}", self._served(MODELS, self._get_model))
        app.router.add_post(CHAT_COMPLETIONS, self._served(CHAT_COMPLETIONS, self._complete))
        app.router.add_post(EMBEDDINGS, self._served(EMBEDDINGS, self._embed))
        app.router.add_route("*", "/{path:.*}", self._unknown)
        return app

    def _served(self, path: str, handle: Handle) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            began = time.perf_counter()
            _enter_trace(request)
            try:
                visitor = await self._doorkeeper.let_in(request.headers.get(AUTHORIZATION, ""), path)
                set_caller(visitor.caller)
                response = await handle(request, visitor)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is told in OpenAI's words
                response = _refusal(_told(error))
            self.calls[path, response.status] += 1
            if not response.prepared:
                response.headers[PROCESSING] = f"{(time.perf_counter() - began) * 1000:.0f}"
                response.headers[REQUEST_ID] = _request_id(request)
            return response

        return serve

    async def _list_models(self, _request: web.Request, _visitor: Visitor) -> web.StreamResponse:
        return _json(answers.model_list(await self._names(), self._since))

    async def _get_model(self, request: web.Request, _visitor: Visitor) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in await self._names():
            raise ModelNotFound(f"There is no model named {name[:128]}.")
        return _json(answers.model_document(name, self._since))

    async def _names(self) -> list[str]:
        names = list(await self._models.names())
        # While the embedder does not answer, the others are there all the same.
        with suppress(DomainError):
            names.append((await self._models.embedder())[0])
        return names

    async def _complete(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        wanted = _checked(ChatCompletionRequest, await _body(request))
        if wanted.stream:
            return await self._stream(request, visitor, wanted)
        whole = answers.WholeAnswer(wanted, int(time.time()))
        told: dict[str, str] = {}
        answer = self.completions.answer(visitor.caller, wanted, _patience(request), _teller(told))
        async with aclosing(answer) as parts:
            async for part in parts:
                visitor.check()
                whole.add(part)
        return _json(whole.document(), told)

    async def _stream(
        self, request: web.Request, visitor: Visitor, wanted: ChatCompletionRequest
    ) -> web.StreamResponse:
        began = time.perf_counter()
        chunks = answers.Chunks(wanted, int(time.time()))
        response = web.StreamResponse(
            headers={
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                REQUEST_ID: _request_id(request),
            }
        )
        told: dict[str, str] = {}
        answer = self.completions.answer(visitor.caller, wanted, _patience(request), _teller(told))
        async with aclosing(answer) as parts:
            try:
                async for part in parts:
                    visitor.check()
                    if not response.prepared:
                        # From here on the status is said, and failures are events.
                        response.headers.update(told)
                        response.headers[PROCESSING] = f"{(time.perf_counter() - began) * 1000:.0f}"
                        await response.prepare(request)
                    if events := chunks.of(part):
                        await response.write(events)
                await response.write(chunks.last())
                await response.write_eof()
            except ConnectionError:
                logger.info("a client went away")
            except Exception as error:
                if not response.prepared:
                    raise
                await response.write(answers.event(_told(error).document))
                await response.write_eof()
        return response

    async def _embed(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        wanted = _checked(EmbeddingRequest, await _body(request))
        name, dimension = await self._models.embedder()
        if wanted.model != name:
            raise ModelNotFound(f"There is no embedding model named {wanted.model}.")
        if wanted.dimensions not in (None, dimension):
            raise BadParameter(
                f"The vectors of this model have {dimension} dimensions.", param="dimensions", code=UNSUPPORTED_VALUE
            )
        told: dict[str, str] = {}
        embedded = await self._embedded(visitor, wanted, _teller(told))
        return _json(answers.embedding_list(embedded, as_base64=wanted.encoding_format == "base64"), told)

    async def _embedded(
        self, visitor: Visitor, wanted: EmbeddingRequest, told: Callable[[Taken | Place], None]
    ) -> Embedded:
        taken = await self.tokens.take(visitor.caller, wanted.most_tokens)
        told(taken)
        held = self._spending.hold(visitor.caller, wanted.model, EMBEDDING)
        began = time.monotonic()
        lines: list[Line] = []
        try:
            await held.granted()
            embedded = await self._models.embed(wanted.input)
            lines.append(Line(EMBEDDING, embedded.model, Usage(embedded.tokens), time.monotonic() - began))
        finally:
            held.end(lines)
            self._spending.settle(taken.settle(tokens_of(lines)))
        return embedded

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        _enter_trace(request)
        self.calls[f"{OPENAI_PREFIX}*", 404] += 1
        error = UnknownUrl(f"Unknown request URL: {request.method} {request.path[:256]}.")
        response = _refusal(tell(error))
        response.headers[REQUEST_ID] = _request_id(request)
        return response


def _enter_trace(request: web.Request) -> None:
    header = request.headers.get(TRACEPARENT, "")
    enter_unsampled(Unsampled(header if well_formed(header) else ""))


def _request_id(request: web.Request) -> str:
    """Envoy's, which its log has too; the trace's where there is no Envoy."""
    return request.headers.get(REQUEST_ID) or current_ids()[0]


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RequestTooLarge(MOST_BODY_BYTES) from None


def _checked(kind: type[BodyT], body: bytes) -> BodyT:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise refusal_of(error) from None


def _json(document: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=answers.encode(document), content_type="application/json", headers=headers)


def _patience(request: web.Request) -> float:
    """How long the caller waits, in seconds, as far as it says so."""
    try:
        seconds = float(request.headers[CLIENT_TIMEOUT])
    except (KeyError, ValueError):
        return math.inf
    return seconds if seconds > 0 else math.inf


def _teller(headers: dict[str, str]) -> Callable[[Taken | Place], None]:
    """Notes in headers what is left of the token limits, and how long a call waited, if it did."""

    def note(what: Taken | Place) -> None:
        match what:
            case Taken(rate=rate, remaining=remaining):
                headers[f"{RATE_LIMIT}-limit-tokens"] = str(rate.per_minute)
                headers[f"{RATE_LIMIT}-remaining-tokens"] = str(remaining)
                reset = math.ceil((rate.burst - remaining) * rate.interval_micros / 1e6)
                headers[f"{RATE_LIMIT}-reset-tokens"] = f"{reset}s"
            case Place(waited_seconds=waited, queued_at=place) if place:
                headers[QUEUED] = f"{waited * 1000:.0f}"
                headers[QUEUED_AT] = str(place)

    return note


def _refusal(told: Told) -> web.Response:
    response = _json(told.document)
    response.set_status(told.kind.status)
    response.headers.update(told.headers)
    return response


def _told(error: Exception) -> Told:
    if isinstance(error, DomainError):
        return tell(error)
    logger.error("unexpected failure", exc_info=error)
    return tell(DomainError(INTERNAL_MESSAGE))

"""The models of the inference application, for the API."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager

import grpc
import grpc.aio

from deskmesh.inference.v1 import embedding_service_pb2, embedding_service_pb2_grpc, router_service_pb2
from services.common.errors import (
    DeadlineExceeded,
    DomainError,
    Exhausted,
    InvalidInput,
    RemoteError,
    Unavailable,
    from_rpc_error,
)
from services.common.inference import RoutedModels
from services.gateway.openai import mapping
from services.gateway.openai.domain import Embedded, End, Piece, Place
from services.gateway.openai.errors import (
    DependencyUnavailable,
    ModelNotFound,
    ModelOverloaded,
    ModelUnavailable,
    PromptTooLong,
    ToolCallInvalid,
)
from services.gateway.openai.requests import ChatCompletionRequest
from services.gateway.openai.spending import ANSWER_SECONDS

EMBED_SECONDS = 60.0
# How long the list of models, and what the embedder says of itself, is good for.
NAMES_SECONDS = 10.0
EMBEDDER_SECONDS = 300.0
RETRY_AFTER_SECONDS = 1.0
_SAID: Mapping[str, Callable[[str | None], DomainError]] = {
    kind.reason: kind for kind in (ModelNotFound, PromptTooLong, ToolCallInvalid, DeadlineExceeded)
}
_PASSING: Mapping[str, type[Exhausted | Unavailable]] = {
    kind.reason: kind for kind in (ModelOverloaded, ModelUnavailable)
}


class ModelsClient:
    """See `ports.Models`."""

    def __init__(self, channel: grpc.aio.Channel, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._models = RoutedModels(channel)
        self._embeddings = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        self._monotonic = monotonic
        self._names: tuple[float, Sequence[str]] = (float("-inf"), ())
        self._embedder: tuple[float, tuple[str, int]] = (float("-inf"), ("", 0))

    async def place(self, request: ChatCompletionRequest, organization_id: str, within_seconds: float) -> Place:
        wanted = mapping.route_request(request, organization_id, within_seconds)
        lease = mapping.lease(wanted)
        if leased := self._models.leased(lease):
            return Place(leased.model.name, leased.replica)
        try:
            route = await self._queued(wanted)
        except ModelNotFound:
            # Perhaps it seemed too long. The model counts what it gets itself, and says so if it is.
            wanted.prompt_tokens, wanted.completion_tokens = 0, 1
            route = await self._queued(wanted)
        self._models.keep(lease, route)
        return mapping.place(route)

    async def another(self, place: Place, request: ChatCompletionRequest, organization_id: str) -> Place | None:
        if not place.replica:
            return None
        wanted = mapping.route_request(request, organization_id, within_seconds=0)
        wanted.model = place.model
        wanted.avoid_replicas.append(place.replica)
        try:
            with _translated():
                return mapping.place(await self._models.route(wanted))
        except DomainError:
            return None

    async def _queued(self, wanted: router_service_pb2.RouteRequest) -> router_service_pb2.RouteResponse:
        with _translated():
            try:
                return await self._models.queue(wanted)
            except TimeoutError:
                raise DependencyUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from None

    async def write(
        self, place: Place, request: ChatCompletionRequest, choice: int
    ) -> AsyncGenerator[Piece | End, None]:
        asked = mapping.chat_request(request, place.model, choice)
        with _translated():
            async with aclosing(self._models.chat(asked, place.replica, timeout_seconds=ANSWER_SECONDS)) as frames:
                async for response in frames:
                    yield mapping.frame(response)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        with _translated():
            response = await self._embeddings.Embed(
                embedding_service_pb2.EmbedRequest(texts=texts), timeout=EMBED_SECONDS
            )
        self._embedder = (self._monotonic(), (response.model, response.dimension))
        return mapping.embedded(response)

    async def names(self) -> Sequence[str]:
        at, names = self._names
        if self._monotonic() - at > NAMES_SECONDS:
            with _translated():
                listed = await self._models.list_models()
            names = [model.profile.name for model in listed.models if _writes(model)]
            self._names = (self._monotonic(), names)
        return names

    async def embedder(self) -> tuple[str, int]:
        at, embedder = self._embedder
        if self._monotonic() - at > EMBEDDER_SECONDS:
            # It names itself in every answer.
            await self.embed(["."])
            embedder = self._embedder[1]
        return embedder


def _writes(model: router_service_pb2.ModelStatus) -> bool:
    return router_service_pb2.CAPABILITY_CHAT in model.profile.capabilities and not model.disabled


@contextmanager
def _translated() -> Iterator[None]:
    """Raises what a failed call means to a client of the API; what is our own fault passes as it is."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        remote = from_rpc_error(error)
        raise (_meaning(remote) or remote) from error


def _meaning(remote: RemoteError) -> DomainError | None:
    retry_after = remote.retry_after_seconds or RETRY_AFTER_SECONDS
    # Only our own services put a trace ID there; their messages are written for people.
    message = remote.message if "trace_id" in remote.metadata else None
    if remote.reason in _SAID:
        return _SAID[remote.reason](message)
    if remote.reason in _PASSING:
        return _PASSING[remote.reason](retry_after_seconds=retry_after)
    if remote.reason == InvalidInput.reason and remote.violations:
        return InvalidInput(message, violations=remote.violations)
    if remote.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED):
        return DependencyUnavailable(retry_after_seconds=retry_after)
    return None

"""Models for the gateway: the servicer as replicas run it, over an engine that writes what a test tells it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from deskmesh.inference.v1 import (
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from serve_apps.assistant.engines.base import Delta, Finished, FinishReason, Prompt, TokenLogProbability, Usage
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded
from serve_apps.assistant.servicer import InferenceServicer
from services.common.server import Platform, ServicerRegistration

MODEL = "simulated-scripted"
EMBEDDER = "double-embedder"
REPLICA = "first:1"
ANOTHER_REPLICA = "second:2"
VECTOR = (0.6, -0.8)


class ScriptedEngine(SimulatedEngine):
    """No model: it writes the words that a test gives it, and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__(context_length=2048, max_running=8, first_token_seconds=0, token_seconds=0)
        self.say: Callable[[Prompt], list[str]] = lambda _prompt: ["Hello", " there"]
        self.prompts: list[Prompt] = []
        # Cleared, the engine stops after the first word.
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.stopped = asyncio.Event()

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        self.prompts.append(prompt)
        words = self.say(prompt)
        try:
            for number, word in enumerate(words):
                if number:
                    await self.goes_on.wait()
                likely = TokenLogProbability(word, -0.5, ((word, -0.5), ("other", -2.0)))
                yield Delta(word, 1, () if prompt.log_probabilities is None else (likely,))
        finally:
            self.stopped.set()
        ended = FinishReason.LENGTH if len(words) >= prompt.max_tokens else FinishReason.STOP
        yield Finished(ended, Usage(prompt_tokens=10, cached_prompt_tokens=4, completion_tokens=len(words)))


class RouterDouble(router_service_pb2_grpc.RouterServiceServicer, embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Knows one model, everywhere, and embeds every text alike."""

    def __init__(self) -> None:
        self.routed: list[router_service_pb2.RouteRequest] = []
        # Cleared, whoever asks waits at place 3.
        self.room = asyncio.Event()
        self.room.set()
        self.waiting, self.left = asyncio.Event(), asyncio.Event()
        # Set, whoever waits is refused so.
        self.refusal: ModelOverloaded | None = None

    @property
    def _profile(self) -> router_service_pb2.ModelProfile:
        return router_service_pb2.ModelProfile(name=MODEL, capabilities=[router_service_pb2.CAPABILITY_CHAT])

    async def Route(self, request: router_service_pb2.RouteRequest, context: Any) -> router_service_pb2.RouteResponse:
        self.routed.append(request)
        if request.model != MODEL:
            raise ModelNotFound(f"No model named {request.model}.", resource_name=request.model)
        if request.prompt_tokens + max(request.completion_tokens, 1) > 2048:
            raise ModelNotFound("No model can do what is asked; in the way: context.", resource_name=request.model)
        replica = ANOTHER_REPLICA if REPLICA in request.avoid_replicas else REPLICA
        return router_service_pb2.RouteResponse(model=self._profile, replica=replica)

    async def RouteQueued(
        self, request: router_service_pb2.RouteQueuedRequest, context: Any
    ) -> AsyncIterator[router_service_pb2.RouteQueuedResponse]:
        if self.refusal is not None:
            raise self.refusal
        place = 0 if self.room.is_set() else 3
        if place:
            yield router_service_pb2.RouteQueuedResponse(waiting=router_service_pb2.Waiting(place=place, waiting=5))
            self.waiting.set()
            try:
                await self.room.wait()
            finally:
                self.left.set()
        routed = await self.Route(request.route, context)
        if place:
            routed.routing.place = place
            routed.routing.waited.FromMilliseconds(250)
        yield router_service_pb2.RouteQueuedResponse(routed=routed)

    async def ListModels(self, request: Any, context: Any) -> router_service_pb2.ListModelsResponse:
        return router_service_pb2.ListModelsResponse(models=[router_service_pb2.ModelStatus(profile=self._profile)])

    async def Embed(
        self, request: embedding_service_pb2.EmbedRequest, context: Any
    ) -> embedding_service_pb2.EmbedResponse:
        embeddings = [
            embedding_service_pb2.Embedding(values=VECTOR, tokens=len(text.split())) for text in request.texts
        ]
        return embedding_service_pb2.EmbedResponse(embeddings=embeddings, model=EMBEDDER, dimension=len(VECTOR))


class Inference:
    """Everything that the sidecar in front of the models leads to."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine()
        self.router = RouterDouble()  # type: ignore[abstract] # the gateway calls two of its methods

    async def wire(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        models = InferenceServicer(self.engine, model=MODEL, context_length=2048, capacity=8)
        return [
            ServicerRegistration(inference_service_pb2_grpc.add_InferenceServiceServicer_to_server, models),
            ServicerRegistration(router_service_pb2_grpc.add_RouterServiceServicer_to_server, self.router),
            ServicerRegistration(embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server, self.router),
        ]

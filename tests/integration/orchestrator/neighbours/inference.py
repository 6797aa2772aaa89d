"""Models, embedder and router, in place of the inference application."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from deskmesh.inference.v1 import (
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from services.orchestrator.errors import ModelNotFound, ModelUnavailable
from tests.integration.orchestrator.neighbours.faults import Faults
from tests.integration.orchestrator.neighbours.words import embedding, search_embedding, words_of

MODEL = "double"
LARGE = "larger"
REPLICA, SECOND_REPLICA, SHADOW_REPLICA = "127.0.0.1:40502", "127.0.0.1:40503", "127.0.0.1:40504"


class InferenceDouble(
    embedding_service_pb2_grpc.EmbeddingServiceServicer,
    inference_service_pb2_grpc.InferenceServiceServicer,
    router_service_pb2_grpc.RouterServiceServicer,
):
    """Embeds by words, scores by shared words, writes what it is told to."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.capabilities = [router_service_pb2.CAPABILITY_CHAT]
        self.writes: list[str] = []
        self.routed: list[router_service_pb2.RouteRequest] = []
        # By model, its version.
        self.versions: dict[str, str] = {}
        # At which requests wait before they are routed.
        self.place = 0
        # What the router's answers to requests for words say besides.
        self.routing = router_service_pb2.RouteResponse()
        # Of 100 turns so many are repeated for the version in the shadow, until it leaves that.
        self.shadow_percent = 0
        self.shadow_version = "v-shadow"
        self.shadow_left = asyncio.Event()
        self.shadows = 0
        # By replica, what calls meet there besides.
        self.at_replica: dict[str, Faults] = defaultdict(Faults)
        # By model, what it writes and how likely its tokens are, where that differs.
        self.writes_of: dict[str, tuple[list[str], float]] = {}
        self.headers: list[dict[str, str]] = []
        # Of every call of a model.
        self.priorities: list[int] = []
        self.prompts: list[str] = []

    async def Embed(self, request: Any, context: Any) -> Any:
        await self.faults.meet("Embed")
        of = search_embedding if request.model else embedding
        vectors = [embedding_service_pb2.Embedding(values=of(text).tolist()) for text in request.texts]
        return embedding_service_pb2.EmbedResponse(
            embeddings=vectors, model=request.model or "words", dimension=len(vectors[0].values)
        )

    async def Route(self, request: Any, context: Any) -> Any:
        self.routed.append(request)
        await self.faults.meet("Route")
        abilities = [*self.capabilities, router_service_pb2.CAPABILITY_SCORE]
        if not set(request.capabilities) <= set(abilities):
            raise ModelNotFound
        name = LARGE if request.escalate_from or request.model == LARGE else MODEL
        profile = router_service_pb2.ModelProfile(name=name, capabilities=abilities, context_length=2048)
        second = request.hedge_of or request.avoid_replicas
        answer = router_service_pb2.RouteResponse(
            model=profile,
            replica=SECOND_REPLICA if second else REPLICA,
            reason="only one",
            version=self.versions.get(name, ""),
            shadow_percent=self.shadow_percent,
        )
        if router_service_pb2.CAPABILITY_FREE_WORDING in request.capabilities and not request.escalate_from:
            answer.MergeFrom(self.routing)
        return answer

    async def RouteQueued(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if place := self.place:
            waiting = router_service_pb2.Waiting(place=place, waiting=place)
            yield router_service_pb2.RouteQueuedResponse(waiting=waiting)
        routed = await self.Route(request.route, context)
        if place:
            routed.routing.place = place
            routed.routing.waited.FromMilliseconds(250)
        yield router_service_pb2.RouteQueuedResponse(routed=routed)

    async def RouteShadow(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.shadows += 1
        await self.faults.meet("RouteShadow")
        if self.shadow_left.is_set():
            raise ModelUnavailable
        yield router_service_pb2.RouteShadowResponse(replica=SHADOW_REPLICA, version=self.shadow_version)
        await self.shadow_left.wait()

    async def Score(self, request: Any, context: Any) -> Any:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        self.headers.append(headers)
        self.priorities.append(request.priority)
        await self.faults.meet("Score")
        await self.at_replica[headers.get("x-deskmesh-replica", "")].meet("Score")
        scores = []
        for item in request.items:
            shared = words_of(item.context) & words_of(item.target)
            score = -4.0 + len(shared) / (1 + len(words_of(item.target)))
            scores.append(inference_service_pb2.ItemScore(mean_log_probability=score, target_tokens=5))
        response = inference_service_pb2.ScoreResponse(scores=scores)
        response.usage.prompt_tokens = 10 * len(scores)
        return response

    async def CountTokens(self, request: Any, context: Any) -> Any:
        await self.faults.meet("CountTokens")
        counts = [len(text.split()) for text in request.texts]
        return inference_service_pb2.CountTokensResponse(counts=counts, model=MODEL, context_length=2048)

    async def Chat(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.faults.meet("Chat")
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        await self.at_replica[headers.get("x-deskmesh-replica", "")].meet("Chat")
        self.prompts.append(request.messages[-1].content)
        self.priorities.append(request.priority)
        yield inference_service_pb2.ChatResponse(started=inference_service_pb2.ChatStarted(model=request.model))
        writes, likelihood = self.writes_of.get(request.model, (self.writes, -0.1))
        for text in writes:
            await self.faults.meet("ChatDelta")
            delta = inference_service_pb2.ChatDelta(text=text, tokens=1)
            if request.HasField("log_probabilities"):
                delta.log_probabilities.add(token=text, log_probability=likelihood)
            yield inference_service_pb2.ChatResponse(delta=delta)
        finished = inference_service_pb2.ChatFinished(reason=inference_service_pb2.FINISH_REASON_STOP)
        finished.usage.prompt_tokens, finished.usage.completion_tokens = 100, len(writes)
        yield inference_service_pb2.ChatResponse(finished=finished)

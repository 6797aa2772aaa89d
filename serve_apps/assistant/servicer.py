"""The three gRPC services, over an engine, a batcher and the reports of replicas."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager

from deskmesh.inference.v1 import (
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from serve_apps.assistant import mapping
from serve_apps.assistant.board import Report
from serve_apps.assistant.config import ModelConfig
from serve_apps.assistant.embedding import Batcher
from serve_apps.assistant.engines.base import Delta, Engine, EngineDead, Finished
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded, ModelUnavailable
from serve_apps.assistant.routing import ReplicaState, choose
from services.common.interceptors.call import RpcContext
from services.common.server import ServicerRegistration

RETRY_SECONDS = 1.0


def registration(servicer: "InferenceServicer | EmbeddingServicer | RouterServicer") -> ServicerRegistration:
    """The servicer with the generated function that adds it to a server."""
    match servicer:
        case InferenceServicer():
            return ServicerRegistration(inference_service_pb2_grpc.add_InferenceServiceServicer_to_server, servicer)
        case EmbeddingServicer():
            return ServicerRegistration(embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server, servicer)
        case RouterServicer():
            return ServicerRegistration(router_service_pb2_grpc.add_RouterServiceServicer_to_server, servicer)


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    """One model. It takes `capacity` requests at once, those in the engine's queue included, and refuses more."""

    def __init__(self, engine: Engine, *, model: str, context_length: int, capacity: int) -> None:
        self._engine = engine
        self._model = model
        self._context_length = context_length
        self.capacity = capacity
        self.replica = ""
        self._admitted = 0

    async def Chat(
        self, request: inference_service_pb2.ChatRequest, context: RpcContext
    ) -> AsyncIterator[inference_service_pb2.ChatResponse]:
        """Stream an answer, each token as it comes."""
        self._check_model(request.model)
        prompt = mapping.to_prompt(request)
        started, pending_tokens = False, 0
        with self._admission():
            async with aclosing(self._engine.generate(prompt)) as frames:
                async for frame in frames:
                    if not started:
                        started = True
                        yield mapping.started(self._model, self.replica)
                    match frame:
                        case Delta(text="", tokens=tokens):
                            # Half a character, or what may become a stop string: it comes with the text after it.
                            pending_tokens += tokens
                        case Delta(text=text, tokens=tokens):
                            yield mapping.delta(text, tokens + pending_tokens)
                            pending_tokens = 0
                        case Finished():
                            yield mapping.finished(frame)

    async def Score(
        self, request: inference_service_pb2.ScoreRequest, context: RpcContext
    ) -> inference_service_pb2.ScoreResponse:
        """Score targets after their contexts."""
        self._check_model(request.model)
        with self._admission():
            scores = await self._engine.score(mapping.to_pairs(request), priority=request.priority)
        return mapping.score_response(scores)

    async def CountTokens(
        self, request: inference_service_pb2.CountTokensRequest, context: RpcContext
    ) -> inference_service_pb2.CountTokensResponse:
        """Count tokens."""
        if request.model:
            self._check_model(request.model)
        return inference_service_pb2.CountTokensResponse(
            counts=self._engine.count_tokens(request.texts), model=self._model, context_length=self._context_length
        )

    def _check_model(self, name: str) -> None:
        if name != self._model:
            raise ModelNotFound(f"No model named {name} here.", resource_name=name)

    @contextmanager
    def _admission(self) -> Iterator[None]:
        if self._admitted >= self.capacity:
            raise ModelOverloaded(retry_after_seconds=RETRY_SECONDS)
        self._admitted += 1
        try:
            yield
        except EngineDead as error:
            raise ModelUnavailable(retry_after_seconds=RETRY_SECONDS) from error
        finally:
            self._admitted -= 1


class EmbeddingServicer(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """`EmbeddingService` over a batcher."""

    def __init__(self, batcher: Batcher, *, model: str, dimension: int) -> None:
        self._batcher = batcher
        self._model = model
        self._dimension = dimension

    async def Embed(
        self, request: embedding_service_pb2.EmbedRequest, context: RpcContext
    ) -> embedding_service_pb2.EmbedResponse:
        """Embed texts."""
        vectors = await self._batcher.embed(request.texts)
        return mapping.embed_response(vectors, self._model, self._dimension)


class RouterServicer(router_service_pb2_grpc.RouterServiceServicer):
    """`RouterService` over the newest reports."""

    def __init__(self, models: Sequence[ModelConfig], draw: random.Random) -> None:
        self._models = models
        self._draw = draw
        self._reports: Sequence[Report] = ()
        # Requests sent to a replica since its last report: the report does not know of them yet.
        self._sent: Counter[tuple[str, int]] = Counter()

    def learn(self, reports: Sequence[Report]) -> None:
        """Take note of the replicas there are; those that drain get no more requests."""
        self._reports = [report for report in reports if not report.draining]
        current = {(report.replica, report.sequence) for report in self._reports}
        self._sent = Counter({key: count for key, count in self._sent.items() if key in current})

    async def Route(
        self, request: router_service_pb2.RouteRequest, context: RpcContext
    ) -> router_service_pb2.RouteResponse:
        """Choose a model and a replica."""
        choice = choose(self._models, self._states(), mapping.to_query(request), self._draw)
        for report in self._reports:
            if report.replica == choice.replica:
                self._sent[(report.replica, report.sequence)] += 1
        return mapping.route_response(choice)

    async def ListModels(
        self, request: router_service_pb2.ListModelsRequest, context: RpcContext
    ) -> router_service_pb2.ListModelsResponse:
        """List models and their load."""
        return mapping.list_response(self._models, self._reports)

    def _states(self) -> dict[str, list[ReplicaState]]:
        states: dict[str, list[ReplicaState]] = {}
        for report in self._reports:
            load = report.running + report.waiting + self._sent[(report.replica, report.sequence)]
            states.setdefault(report.model, []).append(ReplicaState(report.replica, load, report.capacity))
        return states

"""The three gRPC services, over an engine, a batcher and the reports of replicas."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from deskmesh.inference.v1 import (
    chat_pb2,
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2_grpc,
)
from serve_apps.assistant import mapping
from serve_apps.assistant.board import HeadStore
from serve_apps.assistant.chat import Ended, Started, answer, answer_with_tools
from serve_apps.assistant.embedding import EmbeddingModel
from serve_apps.assistant.engines.base import Delta, Engine, EngineDead
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded, ModelUnavailable
from serve_apps.assistant.pace import Pace
from serve_apps.assistant.quarantine import NAMESPACE, Quarantine, digest
from serve_apps.assistant.servicers.router import RouterServicer
from services.common.errors import DomainError
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

    def __init__(
        self, engine: Engine, *, model: str, context_length: int, capacity: int, quarantine: Quarantine | None = None
    ) -> None:
        self._engine = engine
        self._model = model
        self._context_length = context_length
        self.capacity = capacity
        self.replica = ""
        self.quarantine = quarantine or Quarantine(HeadStore(NAMESPACE), model)
        self.pace = Pace()
        self._admitted = 0

    async def Chat(
        self, request: inference_service_pb2.ChatRequest, context: RpcContext
    ) -> AsyncIterator[inference_service_pb2.ChatResponse]:
        """Stream an answer, each token as it comes."""
        self._check_model(request.model)
        prompt = mapping.to_prompt(request)
        began = time.monotonic()
        first = began
        known_by = digest(
            inference_service_pb2.ChatRequest(
                messages=request.messages, constraint=request.constraint, tools=request.tools, adapter=request.adapter
            ).SerializeToString(deterministic=True)
        )
        async with self._admission(known_by):
            if request.tools:
                required = request.tool_choice == chat_pb2.TOOL_CHOICE_REQUIRED
                frames = answer_with_tools(self._engine, prompt, mapping.to_toolbox(request), required=required)
            else:
                frames = answer(self._engine, prompt)
            async with aclosing(frames):
                async for frame in frames:
                    match frame:
                        case Delta():
                            yield mapping.delta(frame)
                        case Started():
                            first = time.monotonic()
                            yield mapping.started(self._model, self.replica)
                        case Ended():
                            now = time.monotonic()
                            self.pace.answered(first - began, now - began, frame.usage.completion_tokens)
                            yield mapping.finished(frame, route_again=self._engine.load().waiting > 0)

    async def Score(
        self, request: inference_service_pb2.ScoreRequest, context: RpcContext
    ) -> inference_service_pb2.ScoreResponse:
        """Score targets after their contexts."""
        self._check_model(request.model)
        async with self._admission(digest(request.SerializeToString(deterministic=True))):
            scores = await self._engine.score(mapping.to_pairs(request), priority=request.priority)
        return mapping.score_response(scores)

    async def RenderPrompt(
        self, request: inference_service_pb2.RenderPromptRequest, context: RpcContext
    ) -> inference_service_pb2.RenderPromptResponse:
        """Show a prompt."""
        if request.model:
            self._check_model(request.model)
        rendered = self._engine.render(mapping.to_rendering(request))
        return inference_service_pb2.RenderPromptResponse(
            text=rendered.text, tokens=rendered.tokens, model=self._model, context_length=self._context_length
        )

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

    @asynccontextmanager
    async def _admission(self, prompt: str) -> AsyncIterator[None]:
        if self._admitted >= self.capacity:
            raise ModelOverloaded(retry_after_seconds=RETRY_SECONDS)
        self._admitted += 1
        try:
            async with self.quarantine.passing(prompt):
                yield
            self.pace.answers += 1
        except EngineDead as error:
            self.pace.broken += 1
            raise ModelUnavailable(retry_after_seconds=RETRY_SECONDS) from error
        except DomainError:
            # Said of the request.
            raise
        except Exception:
            self.pace.broken += 1
            raise
        finally:
            self._admitted -= 1


class EmbeddingServicer(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """`EmbeddingService` over the batchers of one or more models; the first is asked when none is named."""

    def __init__(self, models: Sequence[EmbeddingModel]) -> None:
        self._default = models[0]
        self._by_name = {model.name: model for model in models}

    async def Embed(
        self, request: embedding_service_pb2.EmbedRequest, context: RpcContext
    ) -> embedding_service_pb2.EmbedResponse:
        """Embed texts."""
        model = self._by_name.get(request.model) if request.model else self._default
        if model is None:
            raise ModelNotFound
        prefix = model.question_prefix if request.questions else ""
        vectors = await model.batcher.embed([f"{prefix}{text}" for text in request.texts])
        return mapping.embed_response(vectors, model.name, model.dimension)

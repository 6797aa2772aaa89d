"""`InferenceService` over an engine."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

from deskmesh.inference.v1 import inference_service_pb2, inference_service_pb2_grpc
from serve_apps.assistant import mapping
from serve_apps.assistant.engines.base import Delta, Engine, EngineDead, Finished
from serve_apps.assistant.errors import ModelNotFound, ModelOverloaded, ModelUnavailable
from services.common.interceptors.call import RpcContext

RETRY_SECONDS = 1.0


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

"""Protobuf ↔ plain values."""

from collections.abc import Sequence

from deskmesh.inference.v1 import chat_pb2, embedding_service_pb2, inference_service_pb2, router_service_pb2
from serve_apps.assistant.board import Report
from serve_apps.assistant.config import CapabilityName, ModelConfig
from serve_apps.assistant.embedding import Vector
from serve_apps.assistant.engines.base import (
    Constraint,
    Finished,
    FinishReason,
    Message,
    Pair,
    Prompt,
    Role,
    Scores,
    Usage,
)
from serve_apps.assistant.routing import Choice, Query

DEFAULT_MAX_TOKENS = 256

_ROLES = {
    chat_pb2.CHAT_ROLE_SYSTEM: Role.SYSTEM,
    chat_pb2.CHAT_ROLE_USER: Role.USER,
    chat_pb2.CHAT_ROLE_ASSISTANT: Role.ASSISTANT,
}
_REASONS = {
    FinishReason.STOP: inference_service_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: inference_service_pb2.FINISH_REASON_LENGTH,
}
_CAPABILITIES = {
    CapabilityName.CHAT: router_service_pb2.CAPABILITY_CHAT,
    CapabilityName.STRUCTURED_OUTPUT: router_service_pb2.CAPABILITY_STRUCTURED_OUTPUT,
    CapabilityName.DECIDE: router_service_pb2.CAPABILITY_DECIDE,
    CapabilityName.FREE_WORDING: router_service_pb2.CAPABILITY_FREE_WORDING,
}
_NAMES = {value: name for name, value in _CAPABILITIES.items()}


def to_prompt(request: inference_service_pb2.ChatRequest) -> Prompt:
    """The prompt of a chat request, with the defaults of the contract."""
    sampling = request.sampling
    return Prompt(
        messages=tuple(Message(_ROLES[message.role], message.content) for message in request.messages),
        max_tokens=sampling.max_tokens if sampling.HasField("max_tokens") else DEFAULT_MAX_TOKENS,
        temperature=sampling.temperature,
        top_p=sampling.top_p if sampling.HasField("top_p") else 1.0,
        seed=sampling.seed if sampling.HasField("seed") else None,
        stop=tuple(sampling.stop),
        constraint=_to_constraint(request.constraint),
        priority=request.priority,
        answer_prefix=request.answer_prefix,
    )


def _to_constraint(constraint: chat_pb2.Constraint) -> Constraint | None:
    match constraint.WhichOneof("form"):
        case "json_schema":
            return Constraint(json_schema=constraint.json_schema)
        case "regex":
            return Constraint(regex=constraint.regex)
        case "grammar":
            return Constraint(grammar=constraint.grammar)
        case "choice":
            return Constraint(choice=tuple(constraint.choice.options))
        case _:
            return None


def started(model: str, replica: str) -> inference_service_pb2.ChatResponse:
    """The first frame of an answer."""
    return inference_service_pb2.ChatResponse(started=inference_service_pb2.ChatStarted(model=model, replica=replica))


def delta(text: str, tokens: int) -> inference_service_pb2.ChatResponse:
    """A frame with text."""
    return inference_service_pb2.ChatResponse(delta=inference_service_pb2.ChatDelta(text=text, tokens=tokens))


def finished(end: Finished) -> inference_service_pb2.ChatResponse:
    """The last frame of an answer."""
    frame = inference_service_pb2.ChatFinished(reason=_REASONS[end.reason], usage=_usage(end.usage))
    return inference_service_pb2.ChatResponse(finished=frame)


def to_pairs(request: inference_service_pb2.ScoreRequest) -> list[Pair]:
    """The pairs of a score request."""
    return [Pair(item.context, item.target) for item in request.items]


def score_response(scores: Scores) -> inference_service_pb2.ScoreResponse:
    """Scores as a response."""
    items = [
        inference_service_pb2.ItemScore(
            mean_log_probability=score.mean_log_probability, target_tokens=score.target_tokens
        )
        for score in scores.scores
    ]
    return inference_service_pb2.ScoreResponse(scores=items, usage=_usage(scores.usage))


def _usage(usage: Usage) -> chat_pb2.Usage:
    return chat_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )


def embed_response(vectors: Sequence[Vector], model: str, dimension: int) -> embedding_service_pb2.EmbedResponse:
    """Vectors as a response."""
    embeddings = [
        embedding_service_pb2.Embedding(values=vector.values, tokens=vector.tokens, truncated=vector.truncated)
        for vector in vectors
    ]
    return embedding_service_pb2.EmbedResponse(embeddings=embeddings, model=model, dimension=dimension)


def to_query(request: router_service_pb2.RouteRequest) -> Query:
    """What a route request asks for."""
    return Query(
        model=request.model,
        capabilities=frozenset(_NAMES[capability] for capability in request.capabilities),
        affinity_key=request.affinity_key,
        prompt_tokens=request.prompt_tokens,
    )


def route_response(choice: Choice) -> router_service_pb2.RouteResponse:
    """A choice as a response."""
    return router_service_pb2.RouteResponse(model=_profile(choice.model), replica=choice.replica, reason=choice.reason)


def list_response(models: Sequence[ModelConfig], reports: Sequence[Report]) -> router_service_pb2.ListModelsResponse:
    """Models with the load of their replicas."""
    return router_service_pb2.ListModelsResponse(
        models=[
            router_service_pb2.ModelStatus(
                profile=_profile(model), replicas=[_load(report) for report in reports if report.model == model.name]
            )
            for model in models
        ]
    )


def _load(report: Report) -> router_service_pb2.ReplicaLoad:
    return router_service_pb2.ReplicaLoad(
        replica=report.replica,
        running=report.running,
        waiting=report.waiting,
        kv_cache_usage=report.kv_cache_usage,
    )


def _profile(model: ModelConfig) -> router_service_pb2.ModelProfile:
    return router_service_pb2.ModelProfile(
        name=model.name,
        capabilities=[_CAPABILITIES[capability] for capability in model.capabilities],
        context_length=model.context_length,
    )

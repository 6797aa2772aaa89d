"""Protobuf ↔ plain values."""

from collections.abc import Sequence

from deskmesh.inference.v1 import (
    chat_pb2,
    embedding_service_pb2,
    inference_service_pb2,
    router_service_pb2,
    routing_pb2,
)
from serve_apps.assistant.board import Report
from serve_apps.assistant.chat import Ended
from serve_apps.assistant.config import CapabilityName, ModelConfig
from serve_apps.assistant.control import RegistryState
from serve_apps.assistant.embedding import Vector
from serve_apps.assistant.engines.base import (
    Constraint,
    Delta,
    FinishReason,
    Message,
    Pair,
    Prompt,
    Role,
    Scores,
    Usage,
)
from serve_apps.assistant.routing import Candidate, Choice, Query, Rejection
from serve_apps.assistant.scaling_log import Decision
from serve_apps.assistant.tools import Toolbox, ToolCall, as_text
from serve_apps.assistant.waiting_room import Place
from services.common.errors import InvalidInput

DEFAULT_MAX_TOKENS = 256

_ROLES = {
    chat_pb2.CHAT_ROLE_SYSTEM: Role.SYSTEM,
    chat_pb2.CHAT_ROLE_USER: Role.USER,
    chat_pb2.CHAT_ROLE_ASSISTANT: Role.ASSISTANT,
    chat_pb2.CHAT_ROLE_TOOL: Role.TOOL,
}
_REASONS = {
    FinishReason.STOP: inference_service_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: inference_service_pb2.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: inference_service_pb2.FINISH_REASON_TOOL_CALLS,
}
_CAPABILITIES = {
    CapabilityName.CHAT: router_service_pb2.CAPABILITY_CHAT,
    CapabilityName.STRUCTURED_OUTPUT: router_service_pb2.CAPABILITY_STRUCTURED_OUTPUT,
    CapabilityName.DECIDE: router_service_pb2.CAPABILITY_DECIDE,
    CapabilityName.FREE_WORDING: router_service_pb2.CAPABILITY_FREE_WORDING,
    CapabilityName.TOOLS: router_service_pb2.CAPABILITY_TOOLS,
    CapabilityName.SCORE: router_service_pb2.CAPABILITY_SCORE,
}
_REJECTIONS = {
    Rejection.NAME: routing_pb2.REJECTION_NAME,
    Rejection.CAPABILITY: routing_pb2.REJECTION_CAPABILITY,
    Rejection.CONTEXT: routing_pb2.REJECTION_CONTEXT,
    Rejection.LANGUAGE: routing_pb2.REJECTION_LANGUAGE,
    Rejection.QUALITY: routing_pb2.REJECTION_QUALITY,
    Rejection.COST: routing_pb2.REJECTION_COST,
    Rejection.UNAVAILABLE: routing_pb2.REJECTION_UNAVAILABLE,
    Rejection.OVERLOADED: routing_pb2.REJECTION_OVERLOADED,
    Rejection.DISABLED: routing_pb2.REJECTION_DISABLED,
    Rejection.CASCADE: routing_pb2.REJECTION_CASCADE,
}
_NAMES = {value: name for name, value in _CAPABILITIES.items()}


def to_prompt(request: inference_service_pb2.ChatRequest) -> Prompt:
    """The prompt of a chat request, with the defaults of the contract. Raises InvalidInput."""
    if request.tools and request.HasField("constraint"):
        raise InvalidInput(violations=[("constraint", "cannot be combined with tools")])
    sampling = request.sampling
    return Prompt(
        messages=tuple(map(_to_message, request.messages)),
        max_tokens=sampling.max_tokens if sampling.HasField("max_tokens") else DEFAULT_MAX_TOKENS,
        temperature=sampling.temperature,
        top_p=sampling.top_p if sampling.HasField("top_p") else 1.0,
        seed=sampling.seed if sampling.HasField("seed") else None,
        stop=tuple(sampling.stop),
        ignore_end=sampling.ignore_end,
        constraint=_to_constraint(request.constraint),
        priority=request.priority,
        answer_prefix=request.answer_prefix,
        adapter=request.adapter,
        log_probabilities=request.log_probabilities if request.HasField("log_probabilities") else None,
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


def delta(frame: Delta) -> inference_service_pb2.ChatResponse:
    """A frame with text."""
    found = inference_service_pb2.ChatDelta(text=frame.text, tokens=frame.tokens)
    for token in frame.log_probabilities:
        found.log_probabilities.append(
            chat_pb2.TokenLogProbability(
                token=token.token,
                log_probability=token.log_probability,
                alternatives=[
                    chat_pb2.TokenAlternative(token=text, log_probability=value) for text, value in token.alternatives
                ],
            )
        )
    return inference_service_pb2.ChatResponse(delta=found)


def finished(end: Ended, *, route_again: bool) -> inference_service_pb2.ChatResponse:
    """The last frame of an answer."""
    frame = inference_service_pb2.ChatFinished(
        reason=_REASONS[end.reason],
        usage=_usage(end.usage),
        tool_calls=[chat_pb2.ToolCall(name=call.name, arguments=call.arguments) for call in end.calls],
        tool_calls_repaired=end.repaired,
        route_again=route_again,
    )
    return inference_service_pb2.ChatResponse(finished=frame)


def to_toolbox(request: inference_service_pb2.ChatRequest | inference_service_pb2.RenderPromptRequest) -> Toolbox:
    """The tools of a request. Raises InvalidInput."""
    return Toolbox([(tool.name, tool.description, tool.parameters_schema) for tool in request.tools])


def to_rendering(request: inference_service_pb2.RenderPromptRequest) -> Prompt:
    """The prompt of a request to show it."""
    messages = tuple(map(_to_message, request.messages))
    if request.tools:
        messages = to_toolbox(request).instruct(messages)
    return Prompt(messages, answer_prefix=request.answer_prefix)


def _to_message(message: chat_pb2.ChatMessage) -> Message:
    calls = as_text([ToolCall(call.name, call.arguments) for call in message.tool_calls])
    return Message(_ROLES[message.role], "\n".join(filter(None, (message.content, calls))))


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
    """What a route request asks for, with the defaults of the contract."""
    return Query(
        model=request.model,
        capabilities=frozenset(_NAMES[capability] for capability in request.capabilities),
        affinity_key=request.affinity_key,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.completion_tokens or DEFAULT_MAX_TOKENS,
        min_quality=request.min_quality,
        max_cost=request.max_cost if request.HasField("max_cost") else None,
        within_seconds=request.within.ToMicroseconds() / 1e6 if request.HasField("within") else None,
        language=request.language,
        priority=request.priority,
        avoid=frozenset((*request.avoid_replicas, *filter(None, (request.hedge_of,)))),
        escalate_from=request.escalate_from,
        prefix_blocks=tuple(request.prefix_blocks),
    )


def route_response(choice: Choice) -> router_service_pb2.RouteResponse:
    """A choice as a response, with what led to it."""
    response = router_service_pb2.RouteResponse(
        model=_profile(choice.model),
        replica=choice.replica,
        reason=choice.reason,
        routing=routing_pb2.Routing(
            candidates=[_candidate(one) for one in choice.candidates],
            model_reason=choice.model_reason,
            replica_reason=choice.candidates[0].replica_reason,
            place=choice.place,
        ),
        version=choice.version,
        shadow_percent=choice.shadow_percent,
    )
    if choice.escalate_below is not None:
        response.escalation.least_mean_log_probability = choice.escalate_below
    if choice.hedge_after_seconds:
        response.hedge_after.FromMilliseconds(max(round(choice.hedge_after_seconds * 1000), 1))
    if choice.place:
        response.routing.waited.FromMilliseconds(round(choice.waited_seconds * 1000))
    response.lease.FromMilliseconds(round(choice.lease_seconds * 1000))
    return response


def place_response(place: Place) -> router_service_pb2.RouteQueuedResponse:
    """A place in the queue as a frame."""
    found = router_service_pb2.Waiting(place=place.place, waiting=place.waiting)
    if place.expected_seconds:
        found.expected.FromMilliseconds(round(place.expected_seconds * 1000))
    return router_service_pb2.RouteQueuedResponse(waiting=found)


def _candidate(one: Candidate) -> routing_pb2.Candidate:
    return routing_pb2.Candidate(
        model=one.model.name,
        replica=one.replica,
        score=one.score,
        parts=one.parts,
        rejection=routing_pb2.REJECTION_UNSPECIFIED if one.rejection is None else _REJECTIONS[one.rejection],
        ready_replicas=one.ready,
        cost=one.cost,
        expected_seconds=one.expected_seconds,
    )


def scaling_response(decision: Decision) -> router_service_pb2.WatchScalingResponse:
    """A decision on replicas as a frame."""
    found = router_service_pb2.ScalingDecision(
        model=decision.model,
        from_replicas=decision.from_replicas,
        to_replicas=decision.to_replicas,
        running=decision.running,
        waiting=decision.waiting,
        kv_cache_usage=decision.kv_cache_usage,
        wanted_for_seconds=decision.wanted_for_seconds,
        reason=decision.reason,
    )
    found.decided_at.FromMilliseconds(round(decision.at * 1000))
    return router_service_pb2.WatchScalingResponse(decision=found)


def list_response(
    models: Sequence[ModelConfig], reports: Sequence[Report], registry: RegistryState
) -> router_service_pb2.ListModelsResponse:
    """Models with the load of their replicas, and since when it is known which of them are enabled."""
    response = router_service_pb2.ListModelsResponse(
        models=[
            router_service_pb2.ModelStatus(
                profile=_profile(model),
                replicas=[_load(report) for report in reports if report.model == model.name],
                disabled=model.name in registry.disabled,
            )
            for model in models
        ]
    )
    if registry.as_of:
        response.registry_as_of.FromMicroseconds(round(registry.as_of * 1e6))
    return response


def _load(report: Report) -> router_service_pb2.ReplicaLoad:
    return router_service_pb2.ReplicaLoad(
        replica=report.replica,
        running=report.running,
        waiting=report.waiting,
        kv_cache_usage=report.kv_cache_usage,
        capacity=report.capacity,
        degraded=report.degraded,
    )


def _profile(model: ModelConfig) -> router_service_pb2.ModelProfile:
    return router_service_pb2.ModelProfile(
        name=model.name,
        capabilities=[_CAPABILITIES[capability] for capability in model.capabilities],
        context_length=model.context_length,
        quality=model.quality,
        input_cost_per_million=model.cost.input_per_million,
        output_cost_per_million=model.cost.output_per_million,
        languages=model.languages,
        adapters=[adapter.name for adapter in model.adapters],
    )

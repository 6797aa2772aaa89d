"""Requests as the inference contract says them, and its frames in plain values."""

import hashlib
import json

from deskmesh.inference.v1 import chat_pb2, embedding_service_pb2, inference_service_pb2, router_service_pb2
from services.common.spending import Usage
from services.gateway.openai.domain import Call, Embedded, End, FinishReason, Piece, Place, Token
from services.gateway.openai.requests import ChatCompletionRequest, Message, NamedTool, ResponseFormat, Tool

# OpenAI's own default; that of the contract is to be greedy.
DEFAULT_TEMPERATURE = 1.0
_NO_PARAMETERS = '{"type":"object","properties":{}}'
_ANY_OBJECT = '{"type":"object"}'
_ROLES = {
    "system": chat_pb2.CHAT_ROLE_SYSTEM,
    "developer": chat_pb2.CHAT_ROLE_SYSTEM,
    "user": chat_pb2.CHAT_ROLE_USER,
    "assistant": chat_pb2.CHAT_ROLE_ASSISTANT,
    "tool": chat_pb2.CHAT_ROLE_TOOL,
}
_REASONS = {
    inference_service_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    inference_service_pb2.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    inference_service_pb2.FINISH_REASON_TOOL_CALLS: FinishReason.TOOL_CALLS,
}


def route_request(
    request: ChatCompletionRequest, organization_id: str, within_seconds: float
) -> router_service_pb2.RouteRequest:
    """What the router is asked."""
    wanted = router_service_pb2.RouteRequest(
        model=request.model,
        capabilities=_capabilities(request),
        affinity_key=affinity_key(request, organization_id),
        prompt_tokens=request.estimated_prompt_tokens,
        completion_tokens=_max_tokens(request) or 0,
        tenant=organization_id,
    )
    wanted.within.FromMilliseconds(max(round(within_seconds * 1000), 1))
    return wanted


def place(route: router_service_pb2.RouteResponse) -> Place:
    """Where the router sends a request."""
    waited = route.routing.waited.ToMilliseconds() / 1000
    return Place(route.model.name, route.replica, waited, route.routing.place)


def lease(request: router_service_pb2.RouteRequest) -> str:
    """What requests share that may go where the last of them went."""
    return f"{request.affinity_key}:{request.model}:{'.'.join(map(str, request.capabilities))}"


def affinity_key(request: ChatCompletionRequest, organization_id: str) -> str:
    """The same for what probably belongs to one conversation: by the caller's word, or by how it begins."""
    named = request.prompt_cache_key or request.safety_identifier or request.user
    beginning = named or "\0".join(message.content or "" for message in request.messages[:2])
    return hashlib.sha256(f"{organization_id}\0{beginning}".encode()).hexdigest()[:32]


def chat_request(request: ChatCompletionRequest, model: str, choice: int) -> inference_service_pb2.ChatRequest:
    """What the model is asked for one of the answers."""
    sampling = chat_pb2.Sampling(
        temperature=DEFAULT_TEMPERATURE if request.temperature is None else request.temperature,
        top_p=request.top_p,
        max_tokens=_max_tokens(request),
        stop=request.stop,
        # Each answer has draws of its own. The contract knows no negative seeds.
        seed=None if request.seed is None else (request.seed + choice) % 2**63,
        ignore_end=bool(request.ignore_eos),
    )
    tools, tool_choice = _tools(request)
    return inference_service_pb2.ChatRequest(
        model=model,
        messages=[_message(message) for message in request.messages],
        sampling=sampling,
        constraint=_constraint(request.response_format),
        tools=tools,
        tool_choice=tool_choice,
        log_probabilities=(request.top_logprobs or 0) if request.logprobs else None,
    )


def frame(response: inference_service_pb2.ChatResponse) -> Piece | End:
    """A frame of an answer."""
    match response.WhichOneof("frame"):
        case "delta":
            delta = response.delta
            return Piece(delta.text, delta.tokens, tuple(map(_token, delta.log_probabilities)))
        case "finished":
            end = response.finished
            calls = tuple(Call(call.name, call.arguments) for call in end.tool_calls)
            return End(_REASONS.get(end.reason, FinishReason.STOP), usage(end.usage), calls)
        case _:
            return Piece("")


def usage(used: chat_pb2.Usage) -> Usage:
    """Tokens of a call."""
    return Usage(used.prompt_tokens, used.cached_prompt_tokens, used.completion_tokens)


def embedded(response: embedding_service_pb2.EmbedResponse) -> Embedded:
    """Vectors."""
    return Embedded(
        response.model,
        [embedding.values for embedding in response.embeddings],
        sum(embedding.tokens for embedding in response.embeddings),
    )


def _capabilities(request: ChatCompletionRequest) -> list[router_service_pb2.Capability]:
    wanted = [router_service_pb2.CAPABILITY_CHAT]
    if request.tools and request.tool_choice in (None, "auto"):
        wanted.append(router_service_pb2.CAPABILITY_TOOLS)
    elif request.tools and request.tool_choice != "none":
        # Decoding sees to a call that must be made; whether to call takes a model that can be trusted with it.
        wanted.append(router_service_pb2.CAPABILITY_STRUCTURED_OUTPUT)
    if request.response_format is not None and request.response_format.type != "text":
        wanted.append(router_service_pb2.CAPABILITY_STRUCTURED_OUTPUT)
    return wanted


def _max_tokens(request: ChatCompletionRequest) -> int | None:
    return request.max_completion_tokens or request.max_tokens


def _message(message: Message) -> chat_pb2.ChatMessage:
    return chat_pb2.ChatMessage(
        role=_ROLES[message.role],
        content=message.content or "",
        tool_calls=[
            chat_pb2.ToolCall(name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        ],
    )


def _constraint(wanted: ResponseFormat | None) -> chat_pb2.Constraint | None:
    if wanted is None or wanted.type == "text":
        return None
    schema = _ANY_OBJECT if wanted.json_schema is None else json.dumps(wanted.json_schema.schema_)
    return chat_pb2.Constraint(json_schema=schema)


def _tools(
    request: ChatCompletionRequest,
) -> tuple[list[chat_pb2.Tool], chat_pb2.ToolChoice]:
    choice = request.tool_choice
    if not request.tools or choice == "none":
        return [], chat_pb2.TOOL_CHOICE_UNSPECIFIED
    if isinstance(choice, NamedTool):
        named = [_tool(tool) for tool in request.tools if tool.function.name == choice.function.name]
        return named, chat_pb2.TOOL_CHOICE_REQUIRED
    required = choice == "required"
    return [_tool(tool) for tool in request.tools], (
        chat_pb2.TOOL_CHOICE_REQUIRED if required else chat_pb2.TOOL_CHOICE_AUTO
    )


def _tool(tool: Tool) -> chat_pb2.Tool:
    parameters = tool.function.parameters
    return chat_pb2.Tool(
        name=tool.function.name,
        description=tool.function.description or "",
        parameters_schema=json.dumps(parameters) if parameters else _NO_PARAMETERS,
    )


def _token(token: chat_pb2.TokenLogProbability) -> Token:
    alternatives = tuple((one.token, one.log_probability) for one in token.alternatives)
    return Token(token.token, token.log_probability, alternatives)

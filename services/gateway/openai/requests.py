"""The bodies of requests, with the limits of the contract behind. Unknown parameters are refused."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

# Kinds of refusals, which become the `code` of the error.
UNSUPPORTED_PARAMETER = "unsupported_parameter"
UNSUPPORTED_VALUE = "unsupported_value"
INVALID_VALUE = "invalid_value"

MOST_MESSAGE_BYTES = 64 * 1024
MOST_SCHEMA_BYTES = 16 * 1024
MOST_DEPTH = 32
MOST_TOKENS = 4096
# What the contract's models write at most where nobody says how much.
UNNAMED_TOKENS = 256
MOST_TEXTS = 256
MOST_TEXT_BYTES = 32 * 1024
# An estimate until the model says itself.
CHARACTERS_A_TOKEN = 4


def _refuse(kind: str, message: str, param: str = "") -> PydanticCustomError:
    """`param` is for what concerns several parameters at once; else the error's place says it."""
    # Braces would be taken for placeholders.
    return PydanticCustomError(kind, "{message}", {"message": message, "param": param})


def _text(content: object) -> object:
    """The text of a content, given whole or in parts."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise _refuse(UNSUPPORTED_VALUE, "Only text can be sent to these models.")
        texts.append(part["text"])
    return "\n".join(texts)


def _fits(text: str) -> str:
    if len(text.encode()) > MOST_MESSAGE_BYTES:
        raise _refuse("string_above_max_length", f"A message has at most {MOST_MESSAGE_BYTES} bytes.")
    return text


def _shallow(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    level: list[object] = [schema]
    for _ in range(MOST_DEPTH):
        level = [part for value in level for part in _parts(value)]
        if not level:
            return schema
    raise _refuse(INVALID_VALUE, f"A schema is nested at most {MOST_DEPTH} deep.")


def _parts(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _neutral(number: float | None) -> float | None:
    if number:
        raise _refuse(UNSUPPORTED_VALUE, "These models support only 0, the default.")
    return number


def _empty(value: Mapping[str, float] | None) -> Mapping[str, float] | None:
    if value:
        raise _refuse(UNSUPPORTED_VALUE, "These models take no biases.")
    return value


def _listed(stop: object) -> object:
    return [stop] if isinstance(stop, str) else stop


def _off(flag: bool | None) -> bool | None:
    if flag:
        raise _refuse(UNSUPPORTED_VALUE, "Nothing is stored here.")
    return flag


Text = Annotated[str, BeforeValidator(_text), AfterValidator(_fits)]
Schema = Annotated[dict[str, Any], AfterValidator(_shallow)]
Neutral = Annotated[float | None, AfterValidator(_neutral)]
Name = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class Body(BaseModel):
    """What all parts of a body have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True, hide_input_in_errors=True)


class FunctionCall(Body):
    """A call that the model made before."""

    name: Name
    arguments: Annotated[str, Field(max_length=MOST_SCHEMA_BYTES)]


class ToolCall(Body):
    """See `FunctionCall`."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Body):
    """One message; an assistant's may be sent back exactly as it came."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | None = None
    name: Annotated[str, Field(max_length=64)] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=16)] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None

    @model_validator(mode="after")
    def _is_of_its_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise _refuse(INVALID_VALUE, "Only an assistant's message has tool_calls.")
        if self.role == "tool" and not self.tool_call_id:
            raise _refuse(INVALID_VALUE, "A tool's message says by tool_call_id which call it answers.")
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise _refuse(INVALID_VALUE, "A message needs content.")
        return self


class Function(Body):
    """A function that the model may call; its arguments always fit the schema, so `strict` changes nothing."""

    name: Name
    description: Annotated[str, Field(max_length=2048)] | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(Body):
    """See `Function`."""

    type: Literal["function"]
    function: Function


class FunctionName(Body):
    """One of the functions."""

    name: Name


class NamedTool(Body):
    """The function that must be called."""

    type: Literal["function"]
    function: FunctionName


class JsonSchema(Body):
    """A schema that the answer follows; always strictly."""

    name: Annotated[str, Field(max_length=64)]
    description: str | None = None
    schema_: Annotated[Schema, Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(Body):
    """What the answer looks like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise _refuse(INVALID_VALUE, "json_schema is given exactly when the type is json_schema.")
        return self


class StreamOptions(Body):
    """What a stream says besides."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatCompletionRequest(Body):
    """`POST /v1/chat/completions`."""

    model: Annotated[str, Field(min_length=1, max_length=128)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=256)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    stop: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=4), BeforeValidator(_listed)
        ]
        | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=32)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    # Who it is for: keeps what belongs together on one replica.
    user: Annotated[str, Field(max_length=256)] | None = None
    safety_identifier: Annotated[str, Field(max_length=256)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=256)] | None = None

    # Not OpenAI's but vLLM's: programs that measure servers ask for answers of equal length.
    ignore_eos: bool | None = None

    # Taken where they ask for nothing out of the ordinary.
    frequency_penalty: Neutral = None
    presence_penalty: Neutral = None
    logit_bias: Annotated[dict[str, float] | None, AfterValidator(_empty)] = None
    store: Annotated[bool | None, AfterValidator(_off)] = None
    metadata: dict[str, str] | None = None
    service_tier: Literal["auto", "default"] | None = None
    modalities: list[Literal["text"]] | None = None

    # Known, and not to be had here.
    audio: None = None
    prediction: None = None
    web_search_options: None = None
    functions: None = None
    function_call: None = None
    reasoning_effort: None = None
    verbosity: None = None
    moderation: None = None
    prompt_cache_options: None = None
    prompt_cache_retention: None = None

    @property
    def estimated_prompt_tokens(self) -> int:
        """About how many tokens the messages have."""
        return sum(len(message.content or "") for message in self.messages) // CHARACTERS_A_TOKEN

    @property
    def most_tokens(self) -> int:
        """The most tokens that all answers use, prompts included, as far as the prompt's estimate holds."""
        written = self.max_completion_tokens or self.max_tokens or UNNAMED_TOKENS
        return (self.n or 1) * (self.estimated_prompt_tokens + written)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise _refuse(INVALID_VALUE, "Give either max_tokens or max_completion_tokens.", "max_tokens")
        if self.top_logprobs is not None and not self.logprobs:
            raise _refuse(INVALID_VALUE, "top_logprobs needs logprobs to be true.", "top_logprobs")
        if self.stream_options is not None and not self.stream:
            raise _refuse(INVALID_VALUE, "stream_options is for streams only.", "stream_options")
        if not self.tools and (isinstance(self.tool_choice, NamedTool) or self.tool_choice == "required"):
            raise _refuse(INVALID_VALUE, "tool_choice needs tools.", "tool_choice")
        if self.tools and self.response_format is not None and self.response_format.type != "text":
            raise _refuse(UNSUPPORTED_VALUE, "response_format cannot be combined with tools.", "response_format")
        self._check_tools()
        return self

    def _check_tools(self) -> None:
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise _refuse(INVALID_VALUE, "Two tools share one name.", "tools")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise _refuse(INVALID_VALUE, "tool_choice names none of the tools.", "tool_choice")
        called: set[str] = set()
        for message in self.messages:
            called.update(call.id for call in message.tool_calls or ())
            if message.tool_call_id is not None and message.tool_call_id not in called:
                raise _refuse(
                    INVALID_VALUE, "A tool's message answers a call that no message before it made.", "messages"
                )


def _texts(value: object) -> object:
    if isinstance(value, list) and value and not isinstance(value[0], str):
        raise _refuse(UNSUPPORTED_VALUE, "Send text: tokens of another model's vocabulary mean nothing to this one.")
    return [value] if isinstance(value, str) else value


def _text_fits(text: str) -> str:
    if len(text.encode()) > MOST_TEXT_BYTES:
        raise _refuse("string_above_max_length", f"A text has at most {MOST_TEXT_BYTES} bytes.")
    return text


class EmbeddingRequest(Body):
    """`POST /v1/embeddings`."""

    model: Annotated[str, Field(min_length=1, max_length=128)]
    input: Annotated[
        list[Annotated[str, Field(min_length=1), AfterValidator(_text_fits)]],
        Field(min_length=1, max_length=MOST_TEXTS),
        BeforeValidator(_texts),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: Annotated[str, Field(max_length=256)] | None = None

    @property
    def most_tokens(self) -> int:
        """About how many tokens the texts have; at least one each."""
        return sum(len(text) // CHARACTERS_A_TOKEN + 1 for text in self.input)

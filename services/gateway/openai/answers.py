"""Answers in OpenAI's JSON: whole, and piece by piece."""

import base64
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.common.ids import new_id
from services.common.spending import Usage
from services.gateway.openai.completions import Part
from services.gateway.openai.domain import Call, Embedded, End, Piece, Token
from services.gateway.openai.requests import ChatCompletionRequest

Json = dict[str, Any]
OWNER = "deskmesh"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
DONE = b"data: [DONE]\n\n"


def encode(document: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def event(document: object) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(document) + b"\n\n"


def usage_of(by_choice: Iterable[Usage]) -> Json:
    """The usage of one request; its prompt counts once, however many answers were wanted."""
    usages = list(by_choice)
    prompt = max((usage.prompt_tokens for usage in usages), default=0)
    cached = max((usage.cached_prompt_tokens for usage in usages), default=0)
    completion = sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def tool_calls(calls: Sequence[Call]) -> list[Json]:
    """Calls of tools, each with an identifier that the message with its result names."""
    return [
        {"id": new_id("call"), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]


def log_probabilities(tokens: Iterable[Token]) -> Json:
    """How likely tokens were."""
    return {
        "content": [
            {
                **_likely(token.text, token.log_probability),
                "top_logprobs": [_likely(text, value) for text, value in token.alternatives],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def _likely(text: str, value: float) -> Json:
    # Half a character cannot be said in text, and its bytes are not known here.
    known = REPLACEMENT not in text
    # JSON has no infinities; this is what OpenAI says of what is out of the question.
    return {"token": text, "logprob": max(value, -9999.0), "bytes": list(text.encode()) if known else None}


def _wanted(calls: Sequence[Call], request: ChatCompletionRequest) -> Sequence[Call]:
    return calls[:1] if request.parallel_tool_calls is False else calls


@dataclass
class _Choice:
    text: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    end: End | None = None


class WholeAnswer:
    """Gathers the parts of all answers to a request."""

    def __init__(self, request: ChatCompletionRequest, created: int) -> None:
        self._request = request
        self._created = created
        self._choices = [_Choice() for _ in range(request.n or 1)]

    def add(self, part: Part) -> None:
        """One more part."""
        choice = self._choices[part.choice]
        match part.frame:
            case Piece() as piece:
                choice.text.append(piece.text)
                choice.tokens.extend(piece.log_probabilities)
            case End() as end:
                choice.end = end

    def document(self) -> Json:
        """The `chat.completion`."""
        return {
            "id": new_id("chatcmpl"),
            "object": "chat.completion",
            "created": self._created,
            "model": self._request.model,
            "choices": [self._choice(index, choice) for index, choice in enumerate(self._choices)],
            "usage": usage_of(choice.end.usage for choice in self._choices if choice.end),
            "service_tier": "default",
            "system_fingerprint": None,
        }

    def _choice(self, index: int, choice: _Choice) -> Json:
        text = "".join(choice.text)
        calls = _wanted(choice.end.calls, self._request) if choice.end else ()
        message: Json = {
            "role": "assistant",
            "content": None if calls and not text else text,
            "refusal": None,
            "annotations": [],
        }
        if calls:
            message["tool_calls"] = tool_calls(calls)
        return {
            "index": index,
            "message": message,
            "logprobs": log_probabilities(choice.tokens) if self._request.logprobs else None,
            "finish_reason": choice.end.reason if choice.end else None,
        }


class Chunks:
    """The parts of a request's answers as events of a stream."""

    def __init__(self, request: ChatCompletionRequest, created: int) -> None:
        self._request = request
        self._with_usage = bool(request.stream_options and request.stream_options.include_usage)
        self._usages: list[Usage] = []
        self._begun: set[int] = set()
        self._frame: Json = {
            "id": new_id("chatcmpl"),
            "object": "chat.completion.chunk",
            "created": created,
            "model": request.model,
            "service_tier": "default",
            "system_fingerprint": None,
        }

    def of(self, part: Part) -> bytes:
        """The events that say this part; none for a piece without news."""
        events = b""
        if part.choice not in self._begun:
            self._begun.add(part.choice)
            events = self._event(part.choice, {"role": "assistant", "content": "", "refusal": None})
        match part.frame:
            case Piece() as piece:
                if piece.text:
                    tokens = piece.log_probabilities if self._request.logprobs else None
                    events += self._event(part.choice, {"content": piece.text}, tokens)
            case End() as end:
                self._usages.append(end.usage)
                if calls := tool_calls(_wanted(end.calls, self._request)):
                    numbered = [{"index": index, **call} for index, call in enumerate(calls)]
                    events += self._event(part.choice, {"tool_calls": numbered})
                events += self._event(part.choice, {}, finish_reason=end.reason)
        return events

    def last(self) -> bytes:
        """What ends the stream."""
        if not self._with_usage:
            return DONE
        return event({**self._frame, "choices": [], "usage": usage_of(self._usages)}) + DONE

    def _event(
        self, index: int, delta: Json, tokens: Sequence[Token] | None = None, finish_reason: str | None = None
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None if tokens is None else log_probabilities(tokens),
            "finish_reason": finish_reason,
        }
        document = {**self._frame, "choices": [choice]}
        return event({**document, "usage": None} if self._with_usage else document)


def model_document(name: str, created: int) -> Json:
    """One model."""
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER}


def model_list(names: Iterable[str], created: int) -> Json:
    """The models there are."""
    return {"object": "list", "data": [model_document(name, created) for name in names]}


def embedding_list(embedded: Embedded, *, as_base64: bool) -> Mapping[str, Any]:
    """Vectors, as numbers or as the base64 of 32-bit floats with the lowest byte first."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if as_base64 else list(vector)}
            for index, vector in enumerate(embedded.vectors)
        ],
        "model": embedded.model,
        "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
    }


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()

"""Bodies of requests: what is taken, what is refused and by which words, and what becomes of it."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from deskmesh.inference.v1 import chat_pb2, router_service_pb2
from services.gateway.openai import mapping
from services.gateway.openai.errors import refusal_of, tell
from services.gateway.openai.requests import ChatCompletionRequest, EmbeddingRequest

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}
TOOL = {"type": "function", "function": {"name": "look_up"}}


def parsed(**changes: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate_json(json.dumps(BODY | changes))


def refused(body: bytes, kind: Any = ChatCompletionRequest) -> tuple[int, str | None, str | None]:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate_json(body)
    told = tell(refusal_of(caught.value))
    return told.kind.status, told.kind.param, told.kind.code


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"best_of": 1}, "best_of", "unknown_parameter"),
        ({"functions": []}, "functions", "unsupported_parameter"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "ghost", "content": ""}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content",
         "unsupported_value"),
        ({"messages": [{"role": "tool", "content": "", "tool_call_id": "c"}]}, "messages", "invalid_value"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"n": 9}, "n", "invalid_value"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_value"),
        ({"stop": list("abcde")}, "stop", "invalid_value"),
        ({"top_logprobs": 1}, "top_logprobs", "invalid_value"),
        ({"logit_bias": {"7": 1}}, "logit_bias", "unsupported_value"),
        ({"store": True}, "store", "unsupported_value"),
        ({"stream_options": {}}, "stream_options", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": [TOOL, TOOL]}, "tools", "invalid_value"),
        ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "response_format", "unsupported_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "invalid_value"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(changes: dict[str, Any], param: str, code: str) -> None:
    assert refused(json.dumps(BODY | changes).encode()) == (400, param, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a":' * 5_000])
def test_what_is_no_request_is_cheap_to_refuse(body: bytes) -> None:
    assert refused(body) == (400, None, "invalid_json")


def test_schemas_are_nested_only_so_deep() -> None:
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"items": schema}
    wanted = {"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}}
    changed = json.dumps(BODY | {"response_format": wanted}).encode()
    assert refused(changed) == (400, "response_format.json_schema.schema", "invalid_value")


def test_embeddings_take_text_and_no_foreign_tokens() -> None:
    one = EmbeddingRequest.model_validate_json(b'{"model":"e","input":"text"}')
    assert one.input == ["text"]
    for tokens in ("[1,2]", "[[1],[2]]"):
        body = f'{{"model":"e","input":{tokens}}}'.encode()
        assert refused(body, EmbeddingRequest) == (400, "input", "unsupported_value")
    assert refused(b'{"model":"e","input":[]}', EmbeddingRequest)[1] == "input"


def test_a_request_as_the_contract_says_it() -> None:
    request = parsed(stop="END", seed=-1, max_completion_tokens=7, logprobs=True)
    asked = mapping.chat_request(request, "chosen", 2)
    assert (asked.model, asked.sampling.max_tokens, list(asked.sampling.stop)) == ("chosen", 7, ["END"])
    assert (asked.sampling.temperature, asked.sampling.seed) == (1.0, 1)
    assert asked.HasField("log_probabilities")
    assert not asked.HasField("constraint")
    assert not asked.sampling.ignore_end
    assert not mapping.chat_request(parsed(), "m", 0).sampling.HasField("seed")
    assert mapping.chat_request(parsed(ignore_eos=True), "m", 0).sampling.ignore_end


def test_the_choice_of_tools() -> None:
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
    tools = [TOOL, other]
    assert not mapping.chat_request(parsed(tools=tools, tool_choice="none"), "m", 0).tools
    named = mapping.chat_request(
        parsed(tools=tools, tool_choice={"type": "function", "function": {"name": "other"}}), "m", 0
    )
    assert [tool.name for tool in named.tools] == ["other"]
    assert named.tool_choice == chat_pb2.TOOL_CHOICE_REQUIRED
    chat, structured = router_service_pb2.CAPABILITY_CHAT, router_service_pb2.CAPABILITY_STRUCTURED_OUTPUT
    for choice, more in (("auto", router_service_pb2.CAPABILITY_TOOLS), ("required", structured)):
        route = mapping.route_request(parsed(tools=tools, tool_choice=choice), "org", 1)
        assert list(route.capabilities) == [chat, more]
    assert list(mapping.route_request(parsed(), "org", 1).capabilities) == [chat]


def test_what_belongs_together_stays_together_within_its_organization() -> None:
    follow_up = [*BODY["messages"], {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "So?"}]
    system = {"role": "system", "content": "Be kind."}
    first = mapping.affinity_key(parsed(messages=[system, *BODY["messages"]]), "org")
    assert first == mapping.affinity_key(parsed(messages=[system, *follow_up]), "org")
    assert first != mapping.affinity_key(parsed(messages=[system, *BODY["messages"]]), "other")
    keyed = mapping.affinity_key(parsed(prompt_cache_key="k"), "org")
    assert keyed == mapping.affinity_key(parsed(prompt_cache_key="k", messages=follow_up), "org")

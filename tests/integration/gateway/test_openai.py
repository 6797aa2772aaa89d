"""The unmodified `openai` client at the door: keys, policy, budgets, and everything a completion can be asked for."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, get_type_hints

import httpx2
import openai
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from openai.types import EmbeddingCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.usage.v1 import budget_pb2, budget_service_pb2, usage_service_pb2
from serve_apps.assistant.engines.base import Prompt, Role
from serve_apps.assistant.errors import ModelOverloaded, PromptTooLong
from services.common.ids import new_id
from services.gateway.openai.requests import ChatCompletionRequest, EmbeddingRequest
from tests.integration.gateway.conftest import Door
from tests.integration.gateway.models import EMBEDDER, MODEL, REPLICA, VECTOR, RouterDouble
from tests.integration.mesh.envoys import eventually

ASKED: list[Any] = [{"role": "user", "content": "Hello?"}]


@dataclass
class Program:
    """A program with an API key, and what it stands in front of."""

    client: openai.AsyncOpenAI
    door: Door
    key_id: str

    async def lines(self) -> list[Any]:
        """What the ledger has of the key."""
        found = await self.door.owner.usage.ListUsageEntries(usage_service_pb2.ListUsageEntriesRequest(page_size=500))
        return [entry for entry in found.entries if entry.key_id == self.key_id]

    async def settled(self, count: int) -> list[Any]:
        """The ledger's lines, once there are so many."""

        async def there() -> bool:
            return len(await self.lines()) >= count

        await eventually(there, "the ledger has what was used")
        return await self.lines()


def connect(door: Door, key: str) -> openai.AsyncOpenAI:
    tls = ssl.create_default_context(cafile=str(door.folder / "pki" / "ca.crt"))
    http = httpx2.AsyncClient(verify=tls)
    return openai.AsyncOpenAI(
        base_url=f"https://localhost:{door.port}/v1", api_key=key, http_client=http, max_retries=0
    )


async def made(door: Door, *scopes: str) -> keys.CreateApiKeyResponse:
    response: keys.CreateApiKeyResponse = await door.owner.api_keys.CreateApiKey(
        keys.CreateApiKeyRequest(name="Program", scopes=scopes, lifetime=Duration(seconds=600))
    )
    return response


@pytest_asyncio.fixture
async def program(door: Door) -> AsyncIterator[Program]:
    door.inference.engine.say = lambda _prompt: ["Hello", " there"]
    door.inference.engine.goes_on.set()
    key = await made(door, "inference.use")
    async with connect(door, key.secret) as client:
        yield Program(client, door, key.api_key.id)


def last_prompt(program: Program) -> Prompt:
    return program.door.inference.engine.prompts[-1]


async def test_an_answer_comes_whole_and_is_on_the_keys_bill(program: Program) -> None:
    raw = await program.client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "developer", "content": "Be kind."}, *ASKED],
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop="END",
        max_tokens=9,
    )
    answer = raw.parse()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello there", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 2, 12)
    assert raw.headers["x-request-id"]
    assert raw.headers["x-request-id"] == answer._request_id
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert int(raw.headers["x-ratelimit-remaining-requests"]) < int(raw.headers["x-ratelimit-limit-requests"])
    prompt = last_prompt(program)
    assert [message.role for message in prompt.messages] == [Role.SYSTEM, Role.USER]
    assert (round(prompt.temperature, 3), round(prompt.top_p, 3), prompt.seed) == (0.5, 0.9, 7)
    assert (prompt.stop, prompt.max_tokens) == (("END",), 9)
    (line,) = await program.settled(1)
    assert (line.model, line.step, line.prompt_tokens, line.completion_tokens) == (MODEL, "chat", 10, 2)
    assert (line.cached_prompt_tokens, line.cost_micros) == (4, 12)


async def test_an_answer_streams_with_its_usage(program: Program) -> None:
    stream = await program.client.chat.completions.create(
        model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[1:3]] == ["Hello", " there"]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage and chunks[-1].usage.total_tokens) == ([], 12)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_several_answers_each_with_draws_of_its_own(program: Program) -> None:
    program.door.inference.engine.say = lambda prompt: [f"draw {prompt.seed}"]
    answer = await program.client.chat.completions.create(model=MODEL, messages=ASKED, n=3, seed=4)
    assert [choice.message.content for choice in answer.choices] == ["draw 4", "draw 5", "draw 6"]
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 3)
    # Each read the prompt, so each is paid for.
    assert sum(line.prompt_tokens for line in await program.settled(3)) == 30
    stream = await program.client.chat.completions.create(model=MODEL, messages=ASKED, n=2, stream=True)
    texts = {0: "", 1: ""}
    async for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == {0: "draw None", 1: "draw None"}


async def test_how_likely_each_token_was(program: Program) -> None:
    answer = await program.client.chat.completions.create(model=MODEL, messages=ASKED, logprobs=True, top_logprobs=2)
    told = answer.choices[0].logprobs
    assert told
    assert told.content
    assert [(token.token, token.logprob) for token in told.content] == [("Hello", -0.5), (" there", -0.5)]
    assert told.content[0].bytes == list(b"Hello")
    assert [one.token for one in told.content[0].top_logprobs] == ["Hello", "other"]
    assert last_prompt(program).log_probabilities == 2


TOOL: Any = {
    "type": "function",
    "function": {
        "name": "order_status",
        "description": "Where an order is.",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]},
    },
}


async def test_tools_are_called_and_their_results_read(program: Program) -> None:
    program.door.inference.engine.say = lambda _prompt: [
        '<tool_call>{"name": "order_status", "arguments": {"number": "A7"}}</tool_call>'
    ]
    answer = await program.client.chat.completions.create(model=MODEL, messages=ASKED, tools=[TOOL])
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("order_status", {"number": "A7"})
    stream = await program.client.chat.completions.create(
        model=MODEL, messages=ASKED, tools=[TOOL], tool_choice="required", stream=True
    )
    deltas = [chunk.choices[0].delta.tool_calls async for chunk in stream]
    assert [one[0].index for one in deltas if one] == [0]
    assert last_prompt(program).constraint is not None

    # The answer goes back just as it came, with the tool's result.
    program.door.inference.engine.say = lambda _prompt: ["On its way."]
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "shipped"}
    said: Any = choice.message
    again = await program.client.chat.completions.create(model=MODEL, messages=[*ASKED, said, result], tools=[TOOL])
    assert again.choices[0].message.content == "On its way."
    assert [message.content for message in last_prompt(program).messages[-1:]] == ["shipped"]


async def test_an_answer_held_to_a_schema(program: Program) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    program.door.inference.engine.say = lambda _prompt: ['{"ok":true}']
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "Answer", "schema": schema, "strict": True}}
    await program.client.chat.completions.create(model=MODEL, messages=ASKED, response_format=wanted)
    constraint = last_prompt(program).constraint
    assert constraint
    assert json.loads(constraint.json_schema or "") == schema
    await program.client.chat.completions.create(model=MODEL, messages=ASKED, response_format={"type": "json_object"})
    constraint = last_prompt(program).constraint
    assert constraint
    assert json.loads(constraint.json_schema or "") == {"type": "object"}


async def test_models_are_listed_and_embed(program: Program) -> None:
    assert [model.id async for model in program.client.models.list()] == [MODEL, EMBEDDER]
    assert (await program.client.models.retrieve(MODEL)).owned_by == "deskmesh"
    with pytest.raises(openai.NotFoundError):
        await program.client.models.retrieve("other")
    for form in ("float", "base64", None):
        more: Any = {"encoding_format": form} if form else {}
        found = await program.client.embeddings.create(model=EMBEDDER, input=["one text", "two"], **more)
        if form == "base64":
            continue
        assert [one.index for one in found.data] == [0, 1]
        assert found.data[1].embedding == pytest.approx(VECTOR)
        assert found.usage.prompt_tokens == 3
    assert {line.step for line in await program.settled(3)} == {"embedding"}


async def test_a_call_waits_for_room_with_what_the_router_orders_by(program: Program) -> None:
    router = program.door.inference.router
    router.room.clear()
    router.waiting.clear()
    calling = program.client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "word " * 40}], max_tokens=20, timeout=30
    )
    raw, _ = await asyncio.gather(calling, _room_once_it_waits(router))
    assert (raw.headers["x-deskmesh-queued-at"], raw.headers["x-deskmesh-queued-ms"]) == ("3", "250")
    asked = router.routed[-1]
    assert (asked.prompt_tokens, asked.completion_tokens, asked.within.ToSeconds()) == (50, 20, 30)
    assert asked.tenant == (await program.door.owner.auth.WhoAmI(auth.WhoAmIRequest())).principal.organization.id
    # Nobody waits longer than a minute, however patient.
    await program.client.chat.completions.create(model=MODEL, messages=ASKED, timeout=3_000)
    assert router.routed[-1].within.ToSeconds() == 60


async def _room_once_it_waits(router: RouterDouble) -> None:
    await asyncio.wait_for(router.waiting.wait(), 5)
    router.room.set()


async def test_who_leaves_the_queue_is_not_charged(program: Program) -> None:
    router = program.door.inference.router
    router.room.clear()
    router.waiting.clear()
    router.left.clear()
    calling = asyncio.create_task(program.client.chat.completions.create(model=MODEL, messages=ASKED))
    await asyncio.wait_for(router.waiting.wait(), 5)
    asked = len(router.routed)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await asyncio.wait_for(router.left.wait(), 5)
    router.room.set()
    answer = await program.client.chat.completions.create(model=MODEL, messages=ASKED)
    assert answer.usage
    assert len(await program.settled(1)) == 1
    assert len(router.routed) == asked + 1


@pytest.mark.parametrize("stream", [False, True])
async def test_who_is_shed_is_told_when_to_come_again(
    program: Program, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    monkeypatch.setattr(program.door.inference.router, "refusal", ModelOverloaded(retry_after_seconds=7.0))
    with pytest.raises(openai.InternalServerError) as caught:
        await program.client.chat.completions.create(model=MODEL, messages=ASKED, stream=stream)
    assert (caught.value.status_code, caught.value.code, caught.value.type) == (503, "model_overloaded", "server_error")
    assert caught.value.response.headers["retry-after"] == "7"
    assert await program.lines() == []


async def test_a_replica_that_does_not_begin_is_replaced_by_another(program: Program) -> None:
    router, refused = program.door.inference.router, 0

    def full_once(_prompt: Prompt) -> list[str]:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise ModelOverloaded(retry_after_seconds=1.0)
        return ["Hello"]

    program.door.inference.engine.say = full_once
    answer = await program.client.chat.completions.create(model=MODEL, messages=ASKED)
    assert answer.choices[0].message.content == "Hello"
    assert list(router.routed[-1].avoid_replicas) == [REPLICA]
    assert len(await program.settled(1)) == 1


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"extra_body": {"best_of": 2}}, 400, "best_of", "unknown_parameter"),
        ({"presence_penalty": 1.5}, 400, "presence_penalty", "unsupported_value"),
        ({"reasoning_effort": "low"}, 400, "reasoning_effort", "unsupported_parameter"),
        ({"messages": [{"role": "user", "content": "x" * 70_000}]}, 400, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": "word " * 2100}]}, 400, "messages", "context_length_exceeded"),
        ({"model": "gpt-5"}, 404, "model", "model_not_found"),
        ({"tools": [TOOL | {"function": {"name": "f", "parameters": {"type": "array"}}}]}, 400,
         "tools[0].function.parameters", None),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named(
    program: Program, changes: dict[str, Any], status: int, param: str, code: str | None
) -> None:
    values: dict[str, Any] = {"model": MODEL, "messages": ASKED, **changes}
    if code == "context_length_exceeded":
        program.door.inference.engine.say = _too_long
    with pytest.raises(openai.APIStatusError) as caught:
        await program.client.chat.completions.create(**values)
    error = caught.value
    assert (error.status_code, error.param, error.code, error.type) == (status, param, code, "invalid_request_error")
    assert error.request_id


def test_every_parameter_of_the_client_is_known() -> None:
    for params, body in (
        (CompletionCreateParamsStreaming, ChatCompletionRequest),
        (EmbeddingCreateParams, EmbeddingRequest),
    ):
        assert get_type_hints(params).keys() <= body.model_fields.keys()


def _too_long(prompt: Prompt) -> list[str]:
    raise PromptTooLong(2100, prompt.max_tokens, 2048)


async def test_only_who_may_gets_in(door: Door, program: Program) -> None:
    narrow = await made(door, "members.read")
    for key, status, code in (
        (narrow.secret, 403, "insufficient_permissions"),
        (narrow.secret[:-1] + "!", 401, "invalid_api_key"),
        ("sk-none", 401, "invalid_api_key"),
    ):
        async with connect(door, key) as client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.chat.completions.create(model=MODEL, messages=ASKED)
            assert (caught.value.status_code, caught.value.code) == (status, code)
            assert caught.value.request_id
    # The owner's own token works as well.
    token = await door.owner.access_token()
    async with connect(door, token) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=ASKED)
        assert answer.choices[0].message.content == "Hello there"


async def test_unknown_paths_and_bodies_that_are_none(program: Program) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await program.client.post("/completions", cast_to=object, body={})
    assert caught.value.code == "unknown_url"
    http, address = program.client._client, f"{program.client.base_url}chat/completions"
    headers = {"authorization": f"Bearer {program.client.api_key}"}
    for body, status in ((b"{" * 10_000, 400), (b'{"model":"' + b"x" * 3_000_000, 413), (b'{"a":1e999}', 400)):
        answer = await http.post(address, content=body, headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_who_goes_away_stops_the_model_and_pays_what_was_written(program: Program) -> None:
    engine = program.door.inference.engine
    engine.goes_on.clear()
    engine.stopped.clear()
    stream = await program.client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    await asyncio.wait_for(engine.stopped.wait(), 5)
    (line,) = await program.settled(1)
    assert line.completion_tokens == 1


async def test_no_budget_no_answer_and_one_that_ends_cuts_the_stream(program: Program) -> None:
    budgets = program.door.owner.budgets
    budget = await budgets.CreateBudget(
        budget_service_pb2.CreateBudgetRequest(
            request_id=new_id("req"),
            scope=budget_pb2.BUDGET_SCOPE_KEY,
            subject=program.key_id,
            period=budget_pb2.BUDGET_PERIOD_ALL,
            limit_micros=100,
        )
    )
    words = [f" {number}" for number in range(4_000)]
    program.door.inference.engine.say = lambda _prompt: words
    stream = await program.client.chat.completions.create(model=MODEL, messages=ASKED, stream=True, max_tokens=4096)
    texts: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        await _read(stream, texts)
    written = len(texts)
    assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")
    assert 0 < written < 200
    (line,) = await program.settled(1)
    assert written <= line.completion_tokens <= written + 1
    with pytest.raises(openai.RateLimitError) as refused:
        await program.client.chat.completions.create(model=MODEL, messages=ASKED)
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
    await budgets.DeleteBudget(
        budget_service_pb2.DeleteBudgetRequest(budget_id=budget.budget.id, etag=budget.budget.etag)
    )


async def test_tokens_are_counted_and_a_call_that_asks_for_too_many_is_refused(program: Program) -> None:
    async def left() -> int:
        raw = await program.client.chat.completions.with_raw_response.create(model=MODEL, messages=ASKED, max_tokens=9)
        assert raw.headers["x-ratelimit-limit-tokens"] == "600000"
        assert raw.headers["x-ratelimit-reset-tokens"].endswith("s")
        return int(raw.headers["x-ratelimit-remaining-tokens"])

    # One token of prompt, as far as one knows, and nine at most.
    assert await left() == 600_000 - 10
    # As long a prompt as the edge takes, for each of eight answers.
    asked: list[Any] = [{"role": "user", "content": "long " * 13_000}] * 5
    with pytest.raises(openai.RateLimitError) as refused:
        await program.client.chat.completions.create(model=MODEL, messages=asked, n=8)
    assert (refused.value.type, refused.value.code) == ("tokens", "rate_limit_exceeded")
    assert refused.value.response.headers["x-should-retry"] == "false"
    embedding = await program.client.embeddings.with_raw_response.create(model=EMBEDDER, input=["x" * 400])
    assert int(embedding.headers["x-ratelimit-remaining-tokens"]) < 600_000 - 100


async def _read(stream: Any, texts: list[str]) -> None:
    async for chunk in stream:
        if text := chunk.choices[0].delta.content:
            texts.append(text)


async def test_a_revoked_token_ends_a_stream(door: Door, program: Program) -> None:
    engine = door.inference.engine
    engine.goes_on.clear()
    stream = await program.client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await door.owner.api_keys.RevokeApiKey(keys.RevokeApiKeyRequest(api_key_id=program.key_id))

    async def dead() -> bool:
        try:
            await program.client.models.list()
        except openai.AuthenticationError:
            return True
        return False

    await eventually(dead, "the key is refused")
    engine.goes_on.set()
    with pytest.raises(openai.APIError) as caught:
        await _read(stream, [])
    assert caught.value.code == "invalid_api_key"

"""The adapter for OpenAI-compatible endpoints: what it sends, what it makes of answers, and how it bears failures."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import httpx
import pytest

from serve_apps.assistant.config import EndpointSource
from serve_apps.assistant.engine_config import RemoteEngineConfig
from serve_apps.assistant.engines.base import (
    Constraint,
    Delta,
    EngineLoad,
    Finished,
    FinishReason,
    Message,
    Prompt,
    Role,
    Usage,
)
from serve_apps.assistant.engines.remote import RemoteEngine
from serve_apps.assistant.errors import ModelOverloaded, ModelUnavailable
from services.common.errors import InvalidInput

PROMPT = Prompt((Message(Role.USER, "Hello"),), max_tokens=9, stop=("!",), seed=1 << 40)
Handler = Callable[[httpx.Request], httpx.Response]


def event(**fields: object) -> str:
    return f"data: {json.dumps(fields)}\n\n"


def text(content: str, finish: str | None = None) -> str:
    return event(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": finish}])


GOOD = (
    ": a comment\n\n"
    + event(choices=[{"delta": {"role": "assistant", "content": ""}}])
    + text("Hel")
    + text("lo", "length")
    + event(
        choices=[],
        usage={"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    )
    + "data: [DONE]\n\n"
)


class Endpoint:
    """Answers with one response after the other; the last for ever."""

    def __init__(self, responses: Sequence[Callable[[], httpx.Response]]) -> None:
        self.responses = list(responses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        make = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        return make()


def answer(status: int = 200, body: str = GOOD, **headers: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status, text=body, headers=headers)


def broken() -> httpx.Response:
    raise httpx.ConnectError("no way there")


def engine(endpoint: Endpoint, key_file: Path | None = None, **config: float) -> RemoteEngine:
    source = EndpointSource(kind="endpoint", url="https://models.example.com/v1/", model="large", key_file=key_file)
    settings = RemoteEngineConfig(kind="remote", **config)
    return RemoteEngine(source, settings, transport=httpx.MockTransport(endpoint))


async def frames(remote: RemoteEngine, prompt: Prompt = PROMPT) -> list[Delta | Finished]:
    if remote._client is None:
        await remote.start()
    return [frame async for frame in remote.generate(prompt)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


async def test_an_answer_becomes_deltas_and_an_end(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    endpoint = Endpoint([answer()])
    remote = engine(endpoint, key)
    assert await frames(remote) == [Delta("Hel", 1), Delta("lo", 1), Finished(FinishReason.LENGTH, Usage(7, 4, 2))]
    sent = endpoint.requests[0]
    assert str(sent.url) == "https://models.example.com/v1/chat/completions"
    assert sent.headers["authorization"] == "Bearer first"
    body = json.loads(sent.content)
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert (body["model"], body["max_tokens"], body["stop"], body["stream"]) == ("large", 9, ["!"], True)
    assert 0 <= body["seed"] < 1 << 31
    key.write_text("second")
    await frames(remote)
    assert endpoint.requests[1].headers["authorization"] == "Bearer second"
    await remote.stop()


async def test_a_schema_goes_along_and_what_no_endpoint_can_do_is_refused() -> None:
    endpoint = Endpoint([answer()])
    remote = engine(endpoint)
    constraint = Constraint(json_schema='{"type": "object"}')
    await frames(remote, Prompt(PROMPT.messages, constraint=constraint, log_probabilities=2))
    body = json.loads(endpoint.requests[0].content)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    for prompt in (
        Prompt(PROMPT.messages, constraint=Constraint(regex="a*")),
        Prompt(PROMPT.messages, constraint=Constraint(json_schema="{")),
        Prompt(PROMPT.messages, answer_prefix="The"),
        Prompt(PROMPT.messages, adapter="polite"),
        Prompt(PROMPT.messages, ignore_end=True),
    ):
        with pytest.raises(InvalidInput):
            await frames(remote, prompt)
    with pytest.raises(InvalidInput):
        remote.count_tokens(["a"])
    assert len(endpoint.requests) == 1


async def test_probabilities_come_with_their_tokens() -> None:
    tokens = [{"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}]
    body = event(choices=[{"delta": {"content": "Hi"}, "logprobs": {"content": tokens}, "finish_reason": "stop"}])
    first = (await frames(engine(Endpoint([answer(body=body)]))))[0]
    assert isinstance(first, Delta)
    assert first.log_probabilities[0].alternatives == (("Hi", -0.5),)


async def test_a_failure_before_the_first_word_is_tried_again(no_pauses: list[float]) -> None:
    endpoint = Endpoint([broken, answer(503, "busy"), answer()])
    assert (await frames(engine(endpoint)))[-1] == Finished(FinishReason.LENGTH, Usage(7, 4, 2))
    assert len(endpoint.requests) == 3
    assert len(no_pauses) == 2
    assert 0.05 < no_pauses[0] < no_pauses[1] * 3


async def test_a_failure_after_the_first_word_is_not(no_pauses: list[float]) -> None:
    endpoint = Endpoint([answer(body=text("Hel"))])
    remote = engine(endpoint)
    await remote.start()
    stream = remote.generate(PROMPT)
    assert await anext(stream) == Delta("Hel", 1)
    with pytest.raises(ModelUnavailable):
        await anext(stream)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "body",
    ["data: {no json\n\n", event(error={"message": "out of memory"}), event(choices="none"), "<html>", 'data: "a"\n\n'],
)
async def test_an_answer_that_is_none_is_a_failure(body: str) -> None:
    with pytest.raises(ModelUnavailable):
        await frames(engine(Endpoint([answer(body=body)])))


async def test_a_refused_request_is_the_callers_and_no_failure() -> None:
    remote = engine(Endpoint([answer(400, '{"error": "internal words"}')]), failures_to_open=1)
    with pytest.raises(InvalidInput) as raised:
        await frames(remote)
    assert "internal" not in str(raised.value)
    assert not remote.load().degraded


async def test_too_many_requests_say_when_to_come_back(no_pauses: list[float]) -> None:
    remote = engine(Endpoint([answer(429, "slow down", **{"retry-after": "7"})]), failures_to_open=50)
    with pytest.raises(ModelOverloaded) as raised:
        await frames(remote)
    assert raised.value.retry_after_seconds == 7
    assert max(no_pauses) <= 2.0


async def test_a_dead_endpoint_is_left_alone_and_the_router_is_told() -> None:
    endpoint = Endpoint([broken])
    remote = engine(endpoint, failures_to_open=4, open_seconds=60)
    for _ in range(6):
        with pytest.raises(ModelUnavailable):
            await frames(remote)
    assert len(endpoint.requests) == 4
    assert remote.load() == EngineLoad(degraded=True)


async def test_retries_end_with_their_budget() -> None:
    endpoint = Endpoint([broken])
    remote = engine(endpoint, failures_to_open=10_000, retry_share=0.0)
    for _ in range(20):
        with pytest.raises(ModelUnavailable):
            await frames(remote)
    assert len(endpoint.requests) == 20 + 3


async def test_a_caller_who_leaves_frees_the_place_and_opens_nothing() -> None:
    remote = engine(Endpoint([answer()]), failures_to_open=1)
    await remote.start()
    stream: AsyncIterator[Delta | Finished] = remote.generate(PROMPT)
    await anext(stream)
    assert remote.load().running == 1
    await stream.aclose()  # type: ignore[attr-defined]
    assert remote.load() == EngineLoad()


async def test_without_its_key_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await engine(Endpoint([answer()]), tmp_path / "absent").start()

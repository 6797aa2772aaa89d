"""The real models behind Envoy: what they write, count, score and embed, and how they refuse."""

import asyncio
import json
import math
import re
import time

import grpc
import psutil
import pytest

from deskmesh.inference.v1 import (
    chat_pb2,
    embedding_service_pb2,
    inference_service_pb2,
    router_service_pb2,
    router_service_pb2_grpc,
)
from services.common.errors import from_rpc_error
from tests.e2e.serve_apps.conftest import Models, channel
from tests.support.stack import Stack, processes_of

MODEL = "smollm2-135m-instruct"
SENTENCES = [
    "You can return goods within 30 days of delivery in their original packaging.",
    "Gift cards never expire and can be used online and in the shop.",
    "Our boots are waterproof and come with a two-year warranty.",
]


def chat(content: str, **more: object) -> inference_service_pb2.ChatRequest:
    request = inference_service_pb2.ChatRequest(model=MODEL, **more)  # type: ignore[arg-type]
    request.messages.add(role=chat_pb2.CHAT_ROLE_USER, content=content)
    return request


def sampling(max_tokens: int, *stop: str) -> chat_pb2.Sampling:
    return chat_pb2.Sampling(max_tokens=max_tokens, stop=stop)


async def answer(models: Models, request: inference_service_pb2.ChatRequest) -> tuple[str, chat_pb2.Usage]:
    text, usage = "", chat_pb2.Usage()
    async for frame in models.inference.Chat(request):
        text += frame.delta.text
        if frame.HasField("finished"):
            usage = frame.finished.usage
    return text, usage


async def load(models: Models) -> router_service_pb2.ReplicaLoad:
    listed = await models.router.ListModels(router_service_pb2.ListModelsRequest())
    (replica,) = listed.models[0].replicas
    return replica


async def until_running(models: Models, number: int, seconds: float) -> None:
    started = time.monotonic()
    while (await load(models)).running != number:
        assert time.monotonic() - started < seconds, f"not {number} running after {seconds} s"
        await asyncio.sleep(0.02)


async def test_the_router_names_a_replica_that_answers(models: Models) -> None:
    route = await models.router.Route(router_service_pb2.RouteRequest(affinity_key="conversation"))
    assert route.model.name == MODEL
    assert route.model.context_length == 4096
    assert router_service_pb2.CAPABILITY_DECIDE not in route.model.capabilities
    call = models.inference.Chat(
        chat("Say hello.", sampling=sampling(4)), metadata=(("x-deskmesh-replica", route.replica),)
    )
    frames = [frame async for frame in call]
    assert frames[0].started.replica == route.replica
    assert frames[-1].HasField("finished")


async def test_greedy_answers_repeat_and_count_their_tokens(models: Models) -> None:
    request = chat("What is a tent?", sampling=sampling(24))
    first, usage = await answer(models, request)
    again, _ = await answer(models, request)
    assert first == again
    counted = await models.inference.CountTokens(inference_service_pb2.CountTokensRequest(texts=[first]))
    assert usage.completion_tokens == 24
    assert abs(counted.counts[0] - 24) <= 1


async def test_a_prefix_seen_before_comes_from_the_cache(models: Models) -> None:
    long = "The tent stands by the lake. " * 60
    await answer(models, chat(long, sampling=sampling(1)))
    _, usage = await answer(models, chat(long, sampling=sampling(1)))
    assert usage.cached_prompt_tokens >= 256
    assert usage.prompt_tokens > usage.cached_prompt_tokens


async def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(models: Models) -> None:
    whole, _ = await answer(models, chat("Count from one to ten.", sampling=sampling(30)))
    stop = whole[10:14]
    text, _ = await answer(models, chat("Count from one to ten.", sampling=sampling(30, stop)))
    assert text == whole[: whole.index(stop)]


async def test_an_answer_goes_on_from_its_prefix(models: Models) -> None:
    prefix = "The capital of France is"
    text, _ = await answer(models, chat("Tell me a fact.", answer_prefix=prefix, sampling=sampling(3)))
    assert text.startswith(" ")


@pytest.mark.parametrize("kind", ["json", "regex", "choice", "grammar"])
async def test_constraints_hold(models: Models, kind: str) -> None:
    schema = '{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}'
    constraint = {
        "json": chat_pb2.Constraint(json_schema=schema),
        "regex": chat_pb2.Constraint(regex=r"[0-9]{3}-[a-z]{2}"),
        "choice": chat_pb2.Constraint(choice=chat_pb2.Choice(options=SENTENCES)),
        "grammar": chat_pb2.Constraint(grammar='root ::= "yes" | "no"'),
    }[kind]
    text, _ = await answer(models, chat("Is the sky blue?", constraint=constraint, sampling=sampling(40)))
    match kind:
        case "json":
            assert isinstance(json.loads(text)["ok"], bool)
            assert " " not in text
        case "regex":
            assert re.fullmatch(r"[0-9]{3}-[a-z]{2}", text)
        case "choice":
            assert text in SENTENCES
        case _:
            assert text in ("yes", "no")


@pytest.mark.parametrize("constraint", [chat_pb2.Constraint(regex="((("), chat_pb2.Constraint(json_schema="{")])
async def test_a_constraint_that_cannot_be_compiled_is_refused(models: Models, constraint: chat_pb2.Constraint) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answer(models, chat("Hello", constraint=constraint))
    error = from_rpc_error(raised.value)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_a_cancelled_call_frees_the_engine(models: Models) -> None:
    """The replica reports every half second; before its second report the slot must be free."""
    call = models.inference.Chat(chat("Tell a very long story about a storm.", sampling=sampling(2000)))
    async for frame in call:
        if frame.HasField("delta"):
            break
    await until_running(models, 1, seconds=3)
    call.cancel()
    await until_running(models, 0, seconds=1.5)


async def test_sentences_are_ranked_by_how_likely_they_make_the_question(models: Models) -> None:
    items = [
        inference_service_pb2.ScoreItem(context=sentence, target=" How long do I have to return something?")
        for sentence in SENTENCES
    ]
    scored = await models.inference.Score(inference_service_pb2.ScoreRequest(model=MODEL, items=items))
    values = [score.mean_log_probability for score in scored.scores]
    assert max(values) == values[0]
    assert all(math.isfinite(value) and value < 0 for value in values)
    again = await models.inference.Score(inference_service_pb2.ScoreRequest(model=MODEL, items=items))
    assert [score.mean_log_probability for score in again.scores] == pytest.approx(values, abs=1e-3)


async def test_vectors_have_length_one_and_say_when_a_text_was_cut(models: Models) -> None:
    texts = ["Where is my parcel?", "When does my package arrive?", "The boots are waterproof.", "word " * 400]
    response = await models.embedding.Embed(embedding_service_pb2.EmbedRequest(texts=texts))
    vectors = [list(embedding.values) for embedding in response.embeddings]
    assert response.dimension == 384
    assert [len(vector) for vector in vectors] == [384] * 4
    assert [sum(number * number for number in vector) for vector in vectors] == pytest.approx([1.0] * 4, abs=1e-4)
    assert [embedding.truncated for embedding in response.embeddings] == [False, False, False, True]

    def similarity(one: int, other: int) -> float:
        return sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True))

    assert similarity(0, 1) > similarity(0, 2) + 0.2


async def test_a_workload_that_may_not_call_is_refused(whole_stack: Stack) -> None:
    async with channel(whole_stack, "tickets") as opened:
        stub: router_service_pb2_grpc.RouterServiceAsyncStub = router_service_pb2_grpc.RouterServiceStub(opened)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Route(router_service_pb2.RouteRequest(), timeout=5)
    assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)


async def test_a_workload_may_call_only_what_its_policy_says(whole_stack: Stack) -> None:
    async with channel(whole_stack, "sessions") as opened:
        stub: router_service_pb2_grpc.RouterServiceAsyncStub = router_service_pb2_grpc.RouterServiceStub(opened)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Route(router_service_pb2.RouteRequest(), timeout=5)
    assert from_rpc_error(raised.value).code is grpc.StatusCode.PERMISSION_DENIED


def test_no_process_of_the_models_listens_beyond_loopback(whole_stack: Stack) -> None:
    pids = {int(line.split()[0]) for line in processes_of(whole_stack.home)}
    open_to_others = [
        connection.laddr
        for connection in psutil.net_connections("inet")
        if connection.pid in pids
        and connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")
    ]
    assert open_to_others == []

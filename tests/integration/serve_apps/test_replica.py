"""A replica over real gRPC: frames, typed errors, cancellation, admission, draining."""

import asyncio
import time
from collections.abc import AsyncIterable, Callable

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY, Gauge

from deskmesh.inference.v1 import chat_pb2, inference_service_pb2
from serve_apps.assistant.engines.base import EngineLoad
from services.common.errors import RemoteError, from_rpc_error
from tests.integration.serve_apps.conftest import CAPACITY, MODEL, Replica, chat


async def failure(call: AsyncIterable[object]) -> RemoteError:
    """The typed error of a stream that must fail."""
    try:
        async for _ in call:
            continue
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    pytest.fail("the call did not fail")


async def until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    """Wait for a condition."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come to pass"
        await asyncio.sleep(0.005)


def in_flight(replica: Replica) -> int:
    load = replica.engine.load()
    return load.running + load.waiting


async def until_idle(replica: Replica, seconds: float) -> float:
    """Wait until the engine has nothing to do; how long that took."""
    started = time.monotonic()
    while replica.engine.load() != EngineLoad():
        assert time.monotonic() - started < seconds, "the engine's slot was not freed"
        await asyncio.sleep(0.002)
    return time.monotonic() - started


async def test_an_answer_starts_flows_and_ends(replica: Replica) -> None:
    frames = [frame async for frame in replica.inference.Chat(chat(max_tokens=4))]
    assert [frame.WhichOneof("frame") for frame in frames] == ["started", *["delta"] * 4, "finished"]
    assert frames[0].started.model == MODEL
    assert frames[0].started.replica == replica.server.address
    assert "".join(frame.delta.text for frame in frames) == "simulated 1 2 3"
    assert frames[-1].finished.reason == inference_service_pb2.FINISH_REASON_LENGTH
    assert frames[-1].finished.usage == chat_pb2.Usage(prompt_tokens=2, completion_tokens=4)


async def test_each_token_leaves_as_it_is_written(replica: Replica) -> None:
    times = [time.monotonic() async for _ in replica.inference.Chat(chat(max_tokens=20))]
    assert times[-1] - times[1] > 0.15


async def test_every_mistake_has_its_reason(replica: Replica) -> None:
    unknown = await failure(replica.inference.Chat(chat(model="simulated-nobody")))
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")

    long = await failure(replica.inference.Chat(chat("word " * 990, max_tokens=20)))
    assert (long.code, long.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PROMPT_TOO_LONG")
    assert long.metadata["prompt_tokens"] == "990"
    assert long.metadata["context_length"] == "1000"

    empty = await failure(replica.inference.Chat(inference_service_pb2.ChatRequest(model=MODEL)))
    assert (empty.code, empty.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [field for field, _ in empty.violations] == ["messages"]
    assert len(empty.metadata["trace_id"]) == 32


async def test_a_cancelled_call_frees_the_slot_within_100_ms(replica: Replica) -> None:
    call = replica.inference.Chat(chat(max_tokens=900))
    async for frame in call:
        if frame.HasField("delta"):
            break
    assert replica.engine.load().running == 1
    call.cancel()
    assert await until_idle(replica, 2.0) < 0.1


async def test_a_deadline_frees_the_slot(replica: Replica) -> None:
    late = await failure(replica.inference.Chat(chat(max_tokens=900), timeout=0.1))
    assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await until_idle(replica, 2.0) < 0.1


async def test_a_call_that_waits_in_the_queue_can_be_cancelled(replica: Replica) -> None:
    calls = [replica.inference.Chat(chat(max_tokens=900)) for _ in range(5)]
    readers = [asyncio.create_task(failure(call)) for call in calls]
    await until(lambda: replica.engine.load() == EngineLoad(4, 1, 1.0))
    for call in calls:
        call.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert await until_idle(replica, 2.0) < 0.2


async def test_more_than_the_capacity_is_refused_at_once_and_taken_again_later(replica: Replica) -> None:
    calls = [replica.inference.Chat(chat(max_tokens=900)) for _ in range(CAPACITY)]
    readers = [asyncio.create_task(failure(call)) for call in calls]
    await until(lambda: in_flight(replica) == CAPACITY)
    started = time.monotonic()
    refused = await failure(replica.inference.Chat(chat()))
    assert time.monotonic() - started < 0.5
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MODEL_OVERLOADED")
    assert refused.retry_after_seconds == pytest.approx(1.0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await until_idle(replica, 2.0)
    assert [frame async for frame in replica.inference.Chat(chat())][-1].HasField("finished")


async def test_tokens_are_counted(replica: Replica) -> None:
    counted = await replica.inference.CountTokens(inference_service_pb2.CountTokensRequest(texts=["one two", ""]))
    assert list(counted.counts) == [2, 0]
    assert (counted.model, counted.context_length) == (MODEL, 1000)


async def test_a_replica_says_how_it_fares(replica: Replica) -> None:
    health = health_pb2_grpc.HealthStub(replica.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service="deskmesh.inference.v1.InferenceService"))  # type: ignore[attr-defined]  # unknown to the stubs
    assert answer.status == health_pb2.HealthCheckResponse.SERVING

    call = replica.inference.Chat(chat(max_tokens=900))
    await anext(aiter(call))
    sockets = list(replica.run_folder.glob("llm-*.sock"))
    transport = httpx.AsyncHTTPTransport(uds=str(sockets[0]))
    async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
        metrics = (await client.get("/metrics")).text
    assert "deskmesh_engine_running 1.0" in metrics
    assert 'grpc_server_open_streams{grpc_method="Chat"' in metrics
    await until(lambda: any(report.running for report in replica.reports()))
    call.cancel()


async def test_the_engines_own_metrics_stand_beside_them(replica: Replica) -> None:
    running = Gauge("vllm:num_requests_running", "As vLLM registers it.", ["model_name"], registry=REGISTRY)
    other = Gauge("somebody_elses", "Not of the engine.", registry=REGISTRY)
    try:
        running.labels(MODEL).set(3)
        (socket,) = replica.run_folder.glob("llm-*.sock")
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
            metrics = (await client.get("/metrics")).text
    finally:
        REGISTRY.unregister(running)
        REGISTRY.unregister(other)
    assert f'vllm:num_requests_running{{model_name="{MODEL}"}} 3.0' in metrics
    assert "somebody_elses" not in metrics


async def test_an_unknown_method_is_refused_like_everything_else(replica: Replica) -> None:
    path = "/deskmesh.inference.v1.InferenceService/Nothing"
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = replica.channel.unary_unary(path)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"")
    error = from_rpc_error(raised.value)
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


async def test_draining_lets_short_answers_end_and_cuts_long_ones_with_a_typed_error(replica: Replica) -> None:
    long = asyncio.create_task(failure(replica.inference.Chat(chat(max_tokens=900))))
    await until(lambda: replica.engine.load().running > 0)
    draining = asyncio.create_task(replica.server.drain())
    await until(lambda: all(report.draining for report in replica.reports()))
    # Whoever has not heard of it yet is still served.
    assert [frame async for frame in replica.inference.Chat(chat())][-1].HasField("finished")
    cut = await long
    assert (cut.code, cut.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    await draining
    assert replica.reports() == []

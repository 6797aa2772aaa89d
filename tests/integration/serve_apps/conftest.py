"""A language-model replica without Ray: the real gRPC server, interceptors and servicer, over the simulated engine."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from deskmesh.inference.v1 import chat_pb2, inference_service_pb2, inference_service_pb2_grpc
from serve_apps.assistant.board import Board, Report
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.servicer import InferenceServicer, registration

MODEL = "simulated-words"
CAPACITY = 6


class MemoryStore:
    """A key-value store in a dict."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def put(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def read_all(self) -> dict[str, bytes]:
        return dict(self.values)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@dataclass
class Replica:
    """A running replica and what a test needs of it."""

    engine: SimulatedEngine
    server: ReplicaServer
    store: MemoryStore
    channel: grpc.aio.Channel
    inference: "inference_service_pb2_grpc.InferenceServiceAsyncStub"
    run_folder: Path

    def reports(self) -> list[Report]:
        """What stands on the board."""
        return [Report(**json.loads(value)) for value in self.store.values.values()]


async def stop(server: ReplicaServer) -> None:
    """End a replica; no Envoy needs to hear of it first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serve_apps.assistant.replica.FAREWELL_SECONDS", 0.0)
        await server.drain()


def chat(content: str = "Hello there", *, max_tokens: int = 5, model: str = MODEL) -> inference_service_pb2.ChatRequest:
    return inference_service_pb2.ChatRequest(
        model=model,
        messages=[chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content=content)],
        sampling=chat_pb2.Sampling(max_tokens=max_tokens),
    )


@pytest_asyncio.fixture
async def replica(short_folder: Path) -> AsyncIterator[Replica]:
    engine = SimulatedEngine(context_length=1000, max_running=4, first_token_seconds=0.01, token_seconds=0.01)
    servicer = InferenceServicer(engine, model=MODEL, context_length=1000, capacity=CAPACITY)
    store = MemoryStore()
    settings = ReplicaSettings(
        host="127.0.0.1",
        first_port=42000,
        run_folder=short_folder,
        environment="dev",
        log_level="INFO",
        otlp_endpoint="",
        drain_seconds=1.0,
    )
    server = ReplicaServer(
        settings, application="llm", model=MODEL, capacity=CAPACITY, load=engine.load, board=Board(store)
    )
    await server.start([registration(servicer)])
    servicer.replica = server.address
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub: inference_service_pb2_grpc.InferenceServiceAsyncStub = inference_service_pb2_grpc.InferenceServiceStub(
            channel
        )
        yield Replica(engine, server, store, channel, stub, short_folder)
    await stop(server)

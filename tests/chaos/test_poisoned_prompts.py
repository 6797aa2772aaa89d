"""A request that ends engines: two replicas over one store, real gRPC, engines that die of one word.

Stated in advance: the first engine that dies of it costs its callers a typed error that they may repeat; the second one
costs only the prompt itself; a third engine is never given it; whoever was merely beside it is answered.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from deskmesh.inference.v1 import inference_service_pb2_grpc
from serve_apps.assistant.board import Board
from serve_apps.assistant.engines.base import Delta, EngineDead, Finished, Prompt
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.quarantine import KEPT_SECONDS, Quarantine
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.servicer import InferenceServicer, registration
from services.common.errors import RemoteError, from_rpc_error
from tests.integration.serve_apps.conftest import MODEL, MemoryStore, chat

POISON = "xyzzy"


class MortalEngine(SimulatedEngine):
    """Dies of a word, and with it all that it is working on."""

    def __init__(self) -> None:
        super().__init__(context_length=1000, max_running=8, first_token_seconds=0.05, token_seconds=0.02)
        self.died = asyncio.Event()
        self.asked: list[str] = []

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        words = prompt.messages[-1].content
        self.asked.append(words)
        async for frame in super().generate(prompt):
            if POISON in words:
                self.died.set()
            if self.died.is_set():
                raise EngineDead
            yield frame


class Replicas:
    """Replicas of one model, each replaced by a new one when its engine has died."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.engines: list[MortalEngine] = []
        self.now = 1000.0
        self._folder = folder
        self._stack = AsyncExitStack()

    async def start(self) -> "inference_service_pb2_grpc.InferenceServiceAsyncStub":
        engine = MortalEngine()
        quarantine = Quarantine(self.store, MODEL, clock=lambda: self.now)
        await quarantine.start()
        servicer = InferenceServicer(engine, model=MODEL, context_length=1000, capacity=8, quarantine=quarantine)
        settings = ReplicaSettings("127.0.0.1", 42300, self._folder, "dev", "INFO", "", 0.1)
        server = ReplicaServer(
            settings, application="llm", model=MODEL, capacity=8, load=engine.load, board=Board(MemoryStore())
        )
        await server.start([registration(servicer)])
        self._stack.push_async_callback(server.drain)
        self._stack.callback(quarantine.stop)
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        self.engines.append(engine)
        return inference_service_pb2_grpc.InferenceServiceStub(channel)

    async def stop(self) -> None:
        await self._stack.aclose()


@pytest_asyncio.fixture
async def replicas(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replicas]:
    # Nobody's Envoy has to hear of it.
    monkeypatch.setattr("serve_apps.assistant.replica.FAREWELL_SECONDS", 0.0)
    found = Replicas(short_folder)
    yield found
    await found.stop()


async def ask(stub: "inference_service_pb2_grpc.InferenceServiceAsyncStub", content: str) -> RemoteError | None:
    """What went wrong, if anything did."""
    try:
        async for _ in stub.Chat(chat(content)):
            continue
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    return None


async def test_a_poisoned_prompt_ends_two_engines_and_no_third(
    replicas: Replicas, capsys: pytest.CaptureFixture[str]
) -> None:
    first = await replicas.start()
    results = await asyncio.gather(ask(first, f"say {POISON}"), ask(first, "say hello"))
    assert [one and one.reason for one in results] == ["MODEL_UNAVAILABLE", "MODEL_UNAVAILABLE"]
    assert all(one and one.retry_after_seconds for one in results)

    second = await replicas.start()
    # Both are suspects: they go one after the other, so the innocent one is answered or costs nobody else.
    innocent = await ask(second, "say hello")
    assert innocent is None
    poisoned = await ask(second, f"say {POISON}")
    assert poisoned is not None
    assert poisoned.reason == "MODEL_UNAVAILABLE"
    said = capsys.readouterr().err
    assert "a prompt is quarantined" in said
    assert POISON not in said

    third = await replicas.start()
    refused = await ask(third, f"say {POISON}")
    assert refused is not None
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROMPT_QUARANTINED")
    assert replicas.engines[2].asked == []
    assert await ask(third, "say hello") is None
    assert not replicas.engines[2].died.is_set()


async def test_suspects_are_never_in_one_engine_together(replicas: Replicas) -> None:
    first = await replicas.start()
    await asyncio.gather(ask(first, f"say {POISON}"), *(ask(first, f"say {number}") for number in range(4)))
    second = await replicas.start()
    answers = await asyncio.gather(*(ask(second, f"say {number}") for number in range(4)))
    assert answers == [None] * 4
    # Whoever was answered is no suspect any more: the poison alone is left.
    assert len(replicas.store.values) == 1


async def test_who_repeats_a_prompt_at_an_engine_that_somebody_else_ended_is_no_suspect_for_long(
    replicas: Replicas,
) -> None:
    """A client repeats what failed, and the replica may be there for some seconds more."""
    first = await replicas.start()
    replicas.engines[0].died.set()
    for _ in range(3):
        failed = await ask(first, "say hello")
        assert failed is not None
        assert failed.reason == "MODEL_UNAVAILABLE"
    second = await replicas.start()
    assert await ask(second, "say hello") is None
    assert replicas.store.values == {}


async def test_it_is_tried_again_after_an_hour(replicas: Replicas) -> None:
    for _ in range(2):
        stub = await replicas.start()
        await ask(stub, f"say {POISON}")
    replicas.now += KEPT_SECONDS + 1
    stub = await replicas.start()
    tried = await ask(stub, f"say {POISON}")
    assert tried is not None
    assert tried.reason == "MODEL_UNAVAILABLE"

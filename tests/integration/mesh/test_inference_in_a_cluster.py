"""The Envoy before the replicas of a cluster: real replicas behind Ray's TLS, and a test in place of a mesh's proxy."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
import pytest_asyncio

from deskmesh.inference.v1 import chat_pb2, inference_service_pb2, inference_service_pb2_grpc
from laptop.stack import envoy_program
from mesh.envoy.cluster import FORWARDED, READY_PATH, Door, files
from mesh.envoy.endpoints import prepare
from mesh.envoy.methods import load_methods
from serve_apps.assistant.board import Board
from serve_apps.assistant.deployments.endpoints import Endpoints
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings, ReplicaTls
from serve_apps.assistant.servicer import InferenceServicer, registration
from services.common.errors import from_rpc_error
from tests.integration.mesh.envoys import eventually, free_port
from tests.integration.serve_apps.conftest import MODEL, MemoryStore
from tests.support.pki import TestPki
from tests.support.server import new_folder, remove_folder

APPLICATIONS = ("router", "embedder", "llm")


def spiffe(workload: str, namespace: str = "dev") -> str:
    return f"spiffe://deskmesh.local/ns/{namespace}/sa/{workload}"


def word(workload: str, namespace: str = "dev") -> str:
    """What Istio's proxy says of a caller."""
    inference = spiffe("inference", namespace)
    return f'By={inference};Hash=0af1;Subject="";URI={spiffe(workload, namespace)}'


class Plane:
    """Envoy, the deployment that keeps its files, and replicas of one model."""

    def __init__(self, folder: Path, door: Door, pki: TestPki) -> None:
        self.folder, self.door = folder, door
        self.pki = pki
        self.store = MemoryStore()
        self.endpoints = Endpoints(APPLICATIONS, door.endpoints, Board(self.store))
        self.replicas: list[ReplicaServer] = []
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{door.port}")

    async def replica(self) -> ReplicaServer:
        """One more; each has a pod of its own."""
        engine = SimulatedEngine(context_length=1000, max_running=4, first_token_seconds=0.0, token_seconds=0.0)
        servicer = InferenceServicer(engine, model=MODEL, context_length=1000, capacity=8)
        settings = ReplicaSettings(
            host="127.0.0.1",
            first_port=free_port(),
            run_folder=self.folder / f"pod-{len(self.replicas)}",
            environment="dev",
            log_level="INFO",
            otlp_endpoint="",
            drain_seconds=0.5,
            tls=ReplicaTls(**self.pki.files("inference")),
        )
        server = ReplicaServer(
            settings, application="llm", model=MODEL, capacity=8, load=engine.load, board=Board(self.store)
        )
        await server.start([registration(servicer)])
        servicer.replica = server.address
        self.replicas.append(server)
        return server

    async def chat(self, said: str, **headers: str) -> str:
        """The address of the replica that answered, or why there was none."""
        stub: Any = inference_service_pb2_grpc.InferenceServiceStub(self.channel)
        request = inference_service_pb2.ChatRequest(
            model=MODEL,
            messages=[chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content="Hello")],
            sampling=chat_pb2.Sampling(max_tokens=2),
        )
        metadata = [(FORWARDED, said)] if said else []
        metadata += [(name.replace("_", "-"), value) for name, value in headers.items()]
        try:
            frames = [frame async for frame in stub.Chat(request, metadata=metadata, timeout=10)]
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error).reason
        return str(frames[0].started.replica)

    async def is_ready(self) -> bool:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.door.ready_port}{READY_PATH}") as answer,
        ):
            return answer.status == 200


@pytest_asyncio.fixture(scope="module")
async def plane() -> AsyncIterator[Plane]:
    folder = new_folder()
    pki = TestPki(folder / "pki")
    door = Door(
        models={"llm": MODEL},
        needed=("llm",),
        config=folder / "config",
        run=folder / "run",
        tls=folder / "pki" / "inference",
        port=free_port(),
        ready_port=free_port(),
    )
    door.config.mkdir()
    for name, text in files(door, load_methods()).items():
        (door.config / name).write_text(text)
    prepare(door.endpoints, APPLICATIONS)
    async with AsyncExitStack() as stack:
        stack.callback(remove_folder, folder)
        log = stack.enter_context((folder / "envoy.log").open("wb"))
        options = ("-c", door.config / "inference.yaml", "--disable-hot-restart", "--concurrency", "1")
        process = await asyncio.create_subprocess_exec(envoy_program(), *options, stdout=log, stderr=log)
        stack.push_async_callback(process.wait)
        stack.callback(process.terminate)
        plane = Plane(folder, door, pki)
        stack.push_async_callback(plane.channel.close)
        await eventually(lambda: _listens(plane), "Envoy listens")
        assert not await plane.is_ready()
        for _ in range(2):
            await plane.replica()
        stack.push_async_callback(_drain, plane)
        await plane.endpoints.reconfigure(None)
        stack.callback(plane.endpoints.__del__)
        await eventually(plane.is_ready, "a replica is known")
        await eventually(lambda: _all_answer(plane), "every replica is known")
        yield plane


async def _drain(plane: Plane) -> None:
    await asyncio.gather(*(replica.drain() for replica in plane.replicas))


async def _listens(plane: Plane) -> bool:
    try:
        return not await plane.is_ready()
    except aiohttp.ClientConnectionError:
        return False


async def _all_answer(plane: Plane) -> bool:
    named = [replica.address for replica in plane.replicas]
    return [await plane.chat(word("orchestrator"), x_deskmesh_replica=one) for one in named] == named


async def test_a_request_goes_to_the_replica_that_the_router_named(plane: Plane) -> None:
    for replica in plane.replicas:
        for _ in range(3):
            assert await plane.chat(word("orchestrator"), x_deskmesh_replica=replica.address) == replica.address


@pytest.mark.parametrize("named", [{}, {"x_deskmesh_replica": "127.0.0.1:1"}, {"x_deskmesh_model": MODEL}])
async def test_without_it_any_other_answers(plane: Plane, named: dict[str, str]) -> None:
    assert await plane.chat(word("gateway"), **named) in {replica.address for replica in plane.replicas}


@pytest.mark.parametrize(
    "said",
    [
        "",
        word("tickets"),
        word("knowledge"),
        f"{word('orchestrator')},{word('tickets')}",
        f"{word('orchestrator')},By={spiffe('inference')};Hash=0af1",
        word("orchestrator").replace("deskmesh.local", "elsewhere.local"),
        f"URI={spiffe('orchestrator')}-impostor",
    ],
)
async def test_who_may_not_call_is_refused_whoever_else_they_say_they_are(plane: Plane, said: str) -> None:
    assert await plane.chat(said) == "WORKLOAD_NOT_ALLOWED"


async def test_what_a_caller_says_before_the_proxys_own_word_counts_for_nothing(plane: Plane) -> None:
    assert await plane.chat(f"{word('tickets')},{word('orchestrator')}") != "WORKLOAD_NOT_ALLOWED"
    # Envoy leaves environments to the proxy; the replica looks again.
    assert await plane.chat(word("orchestrator", "staging")) == "WORKLOAD_NOT_ALLOWED"


async def test_a_replica_takes_none_but_holders_of_rays_certificates_and_none_unnamed(plane: Plane) -> None:
    address = plane.replicas[0].address
    pki = plane.pki.files("inference")
    authority = pki["tls_ca_file"].read_bytes()
    ours = grpc.ssl_channel_credentials(authority, pki["tls_key_file"].read_bytes(), pki["tls_cert_file"].read_bytes())
    options = [("grpc.ssl_target_name_override", "inference"), ("grpc.use_local_subchannel_pool", 1)]
    request = inference_service_pb2.ChatRequest()
    for channel, code in (
        (grpc.aio.insecure_channel(address), grpc.StatusCode.UNAVAILABLE),
        (
            grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority), options),
            grpc.StatusCode.UNAVAILABLE,
        ),
        (grpc.aio.secure_channel(address, ours, options), grpc.StatusCode.PERMISSION_DENIED),
    ):
        async with channel:
            stub: Any = inference_service_pb2_grpc.InferenceServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in stub.Chat(request, timeout=5):
                    pass
            assert caught.value.code() is code


async def test_the_files_follow_the_board_and_outlive_whoever_keeps_them(plane: Plane) -> None:
    def known() -> int:
        written = json.loads((plane.door.endpoints / "llm.json").read_text())
        return len(written["resources"][0]["endpoints"][0]["lb_endpoints"])

    async def is_known(count: int) -> bool:
        return known() == count

    third = await plane.replica()
    await eventually(lambda: is_known(3), "a new replica is known")
    await third.drain()
    await eventually(lambda: is_known(2), "one that leaves is not")
    await plane.endpoints.check_health()
    plane.endpoints.__del__()
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await plane.endpoints.check_health()
    assert known() == 2
    assert await plane.chat(word("orchestrator")) != "WORKLOAD_NOT_ALLOWED"

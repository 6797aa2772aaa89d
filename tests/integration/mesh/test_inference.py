"""The sidecar in front of Ray Serve: whom it admits and to which replica it sends."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from mesh.envoy.endpoints import write_endpoints
from services.common.errors import from_rpc_error
from tests.integration.mesh.envoys import Ground, call, eventually, free_port, method, recorder
from tests.support.server import new_folder, remove_folder

CHAT = "/deskmesh.inference.v1.InferenceService/Chat"
EMBED = "/deskmesh.inference.v1.EmbeddingService/Embed"
ROUTE = "/deskmesh.inference.v1.RouterService/Route"
METHODS = (
    method(CHAT, callers=("orchestrator", "laptop"), repeatable=True),
    method(EMBED, callers=("orchestrator", "knowledge", "sessions", "laptop"), repeatable=True),
    method(ROUTE, callers=("orchestrator", "laptop"), repeatable=True),
)


class Sidecar:
    """The sidecar with two replicas of `llm` and one of each other application."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.ports = {name: free_port() for name in ("llm-1", "llm-2", "large", "embedder", "router")}

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    def announce(self, application: str, *names: str) -> None:
        addresses = [("127.0.0.1", self.ports[name]) for name in names]
        write_endpoints(self.ground.topology.envoy / "eds", application, addresses)

    def channel(self, workload: str | None) -> grpc.aio.Channel:
        return self.ground.channel(self.ground.topology.inference_port, workload, name="inference")


@pytest_asyncio.fixture(scope="module")
async def sidecar() -> AsyncIterator[Sidecar]:
    folder = new_folder()
    sidecar = Sidecar(Ground.make(folder))
    servers = [recorder(name, port) for name, port in sidecar.ports.items()]
    for server in servers:
        await server.__aenter__()
    (sidecar.ground.topology.envoy / "eds").mkdir(parents=True)
    sidecar.announce("llm", "llm-1", "llm-2")
    for name in ("large", "embedder", "router"):
        sidecar.announce(name, name)
    async with sidecar.ground.envoy("inference", METHODS):
        await eventually(lambda: _all_answer(sidecar), "every application has a replica")
        yield sidecar
    for server in servers:
        await server.__aexit__(None, None, None)
    remove_folder(folder)


async def _all_answer(sidecar: Sidecar) -> bool:
    async with sidecar.channel("orchestrator") as channel:
        try:
            for path in (CHAT, EMBED, ROUTE):
                await call(channel, path)
            await call(channel, CHAT, x_deskmesh_model="large")
        except grpc.aio.AioRpcError:
            return False
    return True


@pytest.mark.parametrize(
    ("path", "headers", "server", "application"),
    [
        (CHAT, {}, "llm-", "llm"),
        (CHAT, {"x_deskmesh_model": "large"}, "large", "large"),
        (EMBED, {}, "embedder", "embedder"),
        (ROUTE, {"application": "something-else"}, "router", "router"),
    ],
)
async def test_each_service_goes_to_its_application(
    sidecar: Sidecar, path: str, headers: dict[str, Any], server: str, application: str
) -> None:
    async with sidecar.channel("orchestrator") as channel:
        answer = await call(channel, path, **headers)
    assert answer["server"].startswith(server)
    assert answer["metadata"]["application"] == application


@pytest.mark.parametrize("replica", ["llm-1", "llm-2"])
async def test_the_replica_that_was_named_serves(sidecar: Sidecar, replica: str) -> None:
    async with sidecar.channel("orchestrator") as channel:
        answers = [await call(channel, CHAT, x_deskmesh_replica=sidecar.address(replica)) for _ in range(10)]
    assert {answer["server"] for answer in answers} == {replica}


async def test_a_replica_that_is_gone_is_replaced_by_another(sidecar: Sidecar) -> None:
    async with sidecar.channel("orchestrator") as channel:
        gone = await call(channel, CHAT, x_deskmesh_replica="127.0.0.1:1")
        assert gone["server"].startswith("llm-")
        sidecar.announce("llm", "llm-2")

        async def only_the_second() -> bool:
            named: dict[str, Any] = {"x_deskmesh_replica": sidecar.address("llm-1")}
            return {(await call(channel, CHAT, **named))["server"] for _ in range(10)} == {"llm-2"}

        await eventually(only_the_second, "the replica that left gets nothing more")
    sidecar.announce("llm", "llm-1", "llm-2")


@pytest.mark.parametrize("workload", [None, "edge", "tickets"])
async def test_strangers_are_refused(sidecar: Sidecar, workload: str | None) -> None:
    async with sidecar.channel(workload) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, CHAT)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("workload", ["orchestrator", "knowledge", "sessions", "laptop"])
async def test_those_who_need_models_are_admitted(sidecar: Sidecar, workload: str) -> None:
    async with sidecar.channel(workload) as channel:
        assert (await call(channel, EMBED))["server"] == "embedder"


@pytest.mark.parametrize(("workload", "path"), [("knowledge", CHAT), ("sessions", ROUTE)])
async def test_a_workload_calls_what_the_policy_names_and_no_more(sidecar: Sidecar, workload: str, path: str) -> None:
    async with sidecar.channel(workload) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, path)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert from_rpc_error(caught.value).reason == "WORKLOAD_NOT_ALLOWED"

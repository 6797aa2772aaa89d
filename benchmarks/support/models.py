"""The application on Ray Serve with its Envoy sidecar in front, for a benchmark alone, and a client with mutual TLS."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio

from benchmarks.stack import BASE_PORT, EDGE_PORT
from deskmesh.inference.v1 import inference_service_pb2_grpc, router_service_pb2, router_service_pb2_grpc
from laptop import stack
from laptop.pki import LocalPki
from laptop.settings import ENVIRONMENT, TRUST_DOMAIN, StackSettings
from mesh.envoy import render
from mesh.envoy.methods import load_methods

START_SECONDS = 300
REPLICA_METADATA = "x-deskmesh-replica"


@dataclass(frozen=True)
class Models:
    """The running application as a caller sees it, through Envoy."""

    inference: "inference_service_pb2_grpc.InferenceServiceAsyncStub"
    router: "router_service_pb2_grpc.RouterServiceAsyncStub"
    # The same router as the machine's operator sees it, who may follow the decisions on replicas.
    operator: "router_service_pb2_grpc.RouterServiceAsyncStub"

    async def route(self, conversation: str = "", prefix_blocks: Sequence[int] = ()) -> tuple[str, str]:
        """Model and replica, as the router says."""
        request = router_service_pb2.RouteRequest(affinity_key=conversation, prefix_blocks=prefix_blocks)
        answer = await self.router.Route(request)
        return answer.model.name, answer.replica


@asynccontextmanager
async def running_models(config: Path, *, replicas: int = 1) -> AsyncIterator[Models]:
    """Start Ray, this many replicas of this configuration and the sidecar; stop all of it at the end."""
    home = Path(tempfile.mkdtemp(prefix="dm-bench-"))
    settings = StackSettings(home=home, edge_port=EDGE_PORT, base_port=BASE_PORT)
    settings.paths.create()
    lifetime = timedelta(hours=24)
    pki = LocalPki(settings.paths.pki, trust_domain=TRUST_DOMAIN, environment=ENVIRONMENT, lifetime=lifetime)
    pki.ensure(stack.WORKLOADS)
    rendered = render.write(stack.topology(settings), load_methods())["inference"]
    environment = os.environ | {
        "DESKMESH_HOME": str(home),
        "DESKMESH_BASE_PORT": str(BASE_PORT),
        "DESKMESH_REPLICA_PORT": str(settings.replica_port),
        "DESKMESH_INFERENCE_CONFIG": str(config),
    }
    log = home / "models.log"
    options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "error"]
    models = _start([sys.executable, "-m", "serve_apps.assistant"], environment, log)
    envoy = _start([str(stack.envoy_program()), "-c", str(rendered), *options], environment, log)
    try:
        async with _channel(settings, "orchestrator") as channel, _channel(settings, "laptop") as operators:
            found = Models(
                inference_service_pb2_grpc.InferenceServiceStub(channel),
                router_service_pb2_grpc.RouterServiceStub(channel),
                router_service_pb2_grpc.RouterServiceStub(operators),
            )
            await _ready(found, models, log, replicas)
            yield found
    finally:
        for process in (models, envoy):
            process.terminate()
            process.wait(timeout=60)
        shutil.rmtree(home, ignore_errors=True)


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)


def _channel(settings: StackSettings, workload: str) -> grpc.aio.Channel:
    folder = settings.paths.pki / workload
    credentials = grpc.ssl_channel_credentials(
        *((folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    )
    address = f"127.0.0.1:{settings.base_port + stack.INFERENCE_OFFSET}"
    options = [("grpc.ssl_target_name_override", "inference")]
    return grpc.aio.secure_channel(address, credentials, options=options)


async def _ready(models: Models, process: subprocess.Popen[bytes], log: Path, replicas: int) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            listed = await models.router.ListModels(router_service_pb2.ListModelsRequest())
        except grpc.aio.AioRpcError:
            ready = 0
        else:
            ready = len(listed.models[0].replicas)
        if ready < replicas:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the models did not start:\n{_end_of(log)}")
            await asyncio.sleep(0.5)
        else:
            # Envoy hears of new endpoints within a second.
            await asyncio.sleep(2)
            return


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]

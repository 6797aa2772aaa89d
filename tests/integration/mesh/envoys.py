"""A real Envoy between a test and small gRPC servers that say what reached them."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from laptop.pki import LocalPki
from laptop.probes import EnvoyProbe
from laptop.stack import WORKLOADS, envoy_program
from mesh.envoy import render
from mesh.envoy.methods import Method
from mesh.envoy.topology import Topology, Upstream

AUTH = "deskmesh.auth.v1"
START_SECONDS = 15


def method(path: str, **changes: Any) -> Method:
    """An RPC that the edge may call, with a token, and that is no stream."""
    values: dict[str, Any] = {
        "path": path,
        "package": path.strip("/").rpartition("/")[0].rpartition(".")[0],
        "callers": ("edge",),
        "anonymous": False,
        "repeatable": False,
        "client_streaming": False,
        "server_streaming": False,
    }
    return Method(**values | changes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Ground:
    """A folder with certificates and a topology of one service behind the edge."""

    folder: Path
    topology: Topology
    pki: LocalPki

    @classmethod
    def make(cls, folder: Path) -> "Ground":
        run = folder / "run"
        run.mkdir()
        pki = LocalPki(folder / "pki", trust_domain="deskmesh.local", environment="dev", lifetime=timedelta(hours=1))
        pki.ensure(WORKLOADS)
        topology = Topology(
            edge_port=free_port(),
            inference_port=free_port(),
            upstreams=(Upstream("auth", free_port(), (AUTH,)),),
            llm_applications=("llm", "large"),
            trust_domain="deskmesh.local",
            environment="dev",
            token_issuer="https://deskmesh.local",
            token_audience="deskmesh",
            pki=folder / "pki",
            run=run,
            envoy=folder / "envoy",
        )
        return cls(folder, topology, pki)

    def identity(self, workload: str) -> tuple[bytes, bytes, bytes]:
        """CA, key and certificate chain."""
        at = self.folder / "pki" / workload
        return (at / "ca.crt").read_bytes(), (at / "tls.key").read_bytes(), (at / "tls.crt").read_bytes()

    def channel(self, port: int, workload: str | None, *, name: str = "localhost") -> grpc.aio.Channel:
        """A channel as a workload, or as somebody outside; `name` is what the server's certificate must hold."""
        authority, key, certificate = self.identity(workload or "edge")
        credentials = (
            grpc.ssl_channel_credentials(authority, key, certificate)
            if workload
            else grpc.ssl_channel_credentials(authority)
        )
        options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)

    @asynccontextmanager
    async def envoy(
        self, node: str, methods: tuple[Method, ...], seconds: float = START_SECONDS
    ) -> AsyncIterator[None]:
        """Run one node until the block ends; ready when its upstreams are healthy."""
        file = render.write(self.topology, methods)[node]
        options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
        log = (self.folder / f"{node}.log").open("wb")
        process = await asyncio.create_subprocess_exec(envoy_program(), "-c", file, *options, stdout=log, stderr=log)
        probe = EnvoyProbe(self.topology.run / f"{node}-envoy.sock")
        try:
            await eventually(probe, f"{node} is ready; see {log.name}", seconds)
            yield
        finally:
            process.terminate()
            await process.wait()
            log.close()


async def eventually(condition: Any, what: str, seconds: float = START_SECONDS) -> None:
    """Wait until an async condition holds."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.1)


class Recorder(grpc.GenericRpcHandler):
    """Answers every RPC with the metadata it came with, as JSON, and the name of the server.

    The header `x-wait` asks for that many seconds of patience first.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method.startswith("/grpc."):
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, _request: bytes, context: Any) -> bytes:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        await asyncio.sleep(float(metadata.get("x-wait", 0)))
        return json.dumps({"server": self._name, "metadata": metadata}).encode()


@asynccontextmanager
async def recorder(name: str, port: int, ground: Ground | None = None, workload: str = "") -> AsyncIterator[None]:
    """A recorder on a port, with the mTLS of a workload, or without TLS as a replica of Ray Serve has it."""
    server = grpc.aio.server()
    servicer = health.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_generic_rpc_handlers((Recorder(name),))
    address = f"127.0.0.1:{port}"
    if ground is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, credentials(ground, workload))
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=None)


def credentials(ground: Ground, workload: str) -> grpc.ServerCredentials:
    """mTLS that takes up a rotated certificate at the next handshake."""

    def now() -> Any:
        authority, key, certificate = ground.identity(workload)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)

    return grpc.dynamic_ssl_server_credentials(now(), now, require_client_authentication=True)


async def call(channel: grpc.aio.Channel, path: str, *, payload: bytes = b"", **metadata: Any) -> dict[str, Any]:
    """Call a recorder. Underscores in names of metadata stand for hyphens."""
    headers = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
    rpc: Any = channel.unary_unary(path)
    answer = await rpc(payload, metadata=headers, timeout=10)
    found: dict[str, Any] = json.loads(answer)
    return found

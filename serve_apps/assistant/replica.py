"""The gRPC server inside a replica, and how the rest of the system learns of it.

The replica serves gRPC itself, on the event loop of its own code, and Ray Serve only starts, watches, scales
and replaces it. Serve's direct ingress would do nearly the same but listens on every interface, without TLS; here the
replica listens on loopback and Envoy stands in front; on a cluster it listens on its node's address, with the TLS that
Ray's pods have among each other. docs/adr/0003-token-path.md has the measurements.
"""

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc.aio
import ray
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import Gauge
from protovalidate import Validator

from serve_apps.assistant.board import REPORT_SECONDS, Board, HeadStore, Report
from serve_apps.assistant.engine_metrics import EngineMetrics
from serve_apps.assistant.engines.base import EngineLoad
from serve_apps.assistant.identity import OPERATOR, SidecarIdentity
from serve_apps.assistant.pace import Pace
from services.common.interceptors.chain import ConcernedServer, Concerns, OpenStreams
from services.common.interceptors.deadline import Deadline
from services.common.interceptors.validation import validation
from services.common.logs import configure_logging
from services.common.ops import OpsServer
from services.common.server import ServicerRegistration
from services.common.telemetry import ServerMetrics, tracing
from services.common.tls import CertificateFiles, server_credentials

logger = logging.getLogger(__name__)

PORTS_TO_TRY = 200
# How long Envoy may take to hear that a replica is leaving: the watcher's tick and its own.
FAREWELL_SECONDS = 1.5


@dataclass(frozen=True)
class ReplicaTls:
    """Files of the certificate that a replica shows, and of the authority whose certificates it takes."""

    tls_cert_file: Path
    tls_key_file: Path
    tls_ca_file: Path


@dataclass(frozen=True)
class ReplicaSettings:
    """What every replica is told.

    It takes the first free port from `first_port` on, at `host` or, if that is empty, at its node's address, and serves
    its metrics on a Unix socket in `run_folder`.
    """

    host: str
    first_port: int
    run_folder: Path
    environment: str
    log_level: str
    otlp_endpoint: str
    drain_seconds: float
    default_deadline_seconds: float = 30.0
    maximum_deadline_seconds: float = 300.0
    maximum_message_bytes: int = 9 * 1024 * 1024
    # Without it the replica has no TLS, and no business but on loopback.
    tls: ReplicaTls | None = None


class ReplicaServer:
    """Serves servicers, reports the replica's load and, at the end, drains.

    `capacity` is how many requests it takes at once, those that wait included; `gauges` are further metrics, by name
    each with its description.
    """

    def __init__(
        self,
        settings: ReplicaSettings,
        *,
        application: str,
        model: str,
        capacity: int,
        load: Callable[[], EngineLoad],
        pace: Pace | None = None,
        version: str = "",
        board: Board | None = None,
        gauges: Mapping[str, tuple[str, Callable[[], float]]] | None = None,
    ) -> None:
        self._settings = settings
        self._application = application
        self._model = model
        self._capacity = capacity
        self._load = load
        self._pace = pace or Pace()
        self._version = version
        self._board = board or Board(HeadStore())
        self._gauges = gauges or {}
        self._stack = AsyncExitStack()
        self._sequence = itertools.count()
        self._streams = OpenStreams()
        self._server: grpc.aio.Server | None = None
        self._draining = False
        self._adapters: Sequence[str] = ()
        self._refused_adapters: Mapping[str, str] = {}
        self.address = ""
        configure_logging(application, settings.log_level)

    def note_adapters(self, held: Sequence[str], refused: Mapping[str, str]) -> None:
        """Say from now on which adapters the replica has, and why it refused others."""
        self._adapters, self._refused_adapters = held, refused

    async def start(self, registrations: Sequence[ServicerRegistration]) -> None:
        """Listen and report. Raises RuntimeError when no port is free."""
        settings = self._settings
        tracer = self._stack.enter_context(tracing(self._application, settings))  # type: ignore[arg-type]
        metrics = ServerMetrics()
        self._measure(metrics)
        metrics.registry.register(EngineMetrics())
        concerns = Concerns(
            tracer=tracer,
            metrics=metrics,
            sample_ratio=1.0,
            # By TLS come only Envoys, which say who called.
            identity=SidecarIdentity(settings.environment, unnamed=OPERATOR if settings.tls is None else ""),
            deadline=Deadline(settings.default_deadline_seconds, settings.maximum_deadline_seconds),
            validate=validation(Validator()),
        )
        self._server = server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", settings.maximum_message_bytes),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ]
        )
        concerned = ConcernedServer(server, concerns, self._streams)
        for registration in registrations:
            registration.add_fn(registration.servicer, concerned)
        health_servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        concerned.refuse_unknown_methods()
        host = settings.host or ray.util.get_node_ip_address()
        self.address = f"{host}:{self._bind(server, host)}"
        await server.start()
        for name in ("", *concerned.service_names):
            await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._health = health_servicer
        ops = OpsServer(settings.run_folder / f"{self._application}-{os.getpid()}.sock", metrics.registry)
        await ops.start()
        ops.serving = True
        self._stack.push_async_callback(ops.stop)
        self._reporting = asyncio.create_task(self._report_for_ever())
        logger.info("serving", extra={"address": self.address, "model": self._model})

    async def drain(self) -> None:
        """Leave the board, let calls end within the drain time, cut the rest with a typed error, stop."""
        if self._server is None or self._draining:
            return
        self._draining = True
        await self._report()
        await asyncio.sleep(FAREWELL_SECONDS)
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(self._settings.drain_seconds))
        done, _ = await asyncio.wait({stopping}, timeout=self._settings.drain_seconds * 0.8)
        if not done and (count := self._streams.cut(only_long_lived=False)):
            logger.warning("streams cut", extra={"count": count})
        await stopping
        self._reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reporting
        await self._board.erase(self._current())
        await self._stack.aclose()
        logger.info("drained", extra={"address": self.address})

    def _bind(self, server: grpc.aio.Server, host: str) -> int:
        first = self._settings.first_port
        tls = self._settings.tls
        credentials = None if tls is None else server_credentials(CertificateFiles(tls))
        for port in range(first, first + PORTS_TO_TRY):
            # Asked first, because gRPC writes an error to the log for each port that is taken.
            if _is_free(host, port):
                with contextlib.suppress(RuntimeError):
                    address = f"{host}:{port}"
                    if credentials is None:
                        return server.add_insecure_port(address)
                    return server.add_secure_port(address, credentials)
        raise RuntimeError(f"no free port from {first} to {first + PORTS_TO_TRY - 1} on {host}")

    def _measure(self, metrics: ServerMetrics) -> None:
        gauges = {
            "running": "Requests the engine works on.",
            "waiting": "Requests waiting in the engine.",
            "kv_cache_usage": "Share of the KV cache in use, 0 to 1.",
        }
        for name, description in gauges.items():
            gauge = Gauge(f"deskmesh_engine_{name}", description, registry=metrics.registry)
            gauge.set_function(functools.partial(self._gauge, name))
        for name, (description, read) in self._gauges.items():
            Gauge(name, description, registry=metrics.registry).set_function(read)

    def _gauge(self, name: str) -> float:
        return float(asdict(self._load())[name])

    async def _report_for_ever(self) -> None:
        while True:
            # The head may be away for a moment; the next report says it all again.
            with contextlib.suppress(Exception):
                await self._report()
            await asyncio.sleep(REPORT_SECONDS)

    async def _report(self) -> None:
        await self._board.write(self._current())

    def _current(self) -> Report:
        load = self._load()
        return Report(
            application=self._application,
            replica=self.address,
            model=self._model,
            draining=self._draining,
            running=load.running,
            waiting=load.waiting,
            kv_cache_usage=load.kv_cache_usage,
            capacity=self._capacity,
            sequence=next(self._sequence),
            degraded=load.degraded,
            first_token_seconds=round(self._pace.first_token_seconds, 4),
            token_seconds=round(self._pace.token_seconds, 5),
            slow_first_token_seconds=round(self._pace.slow_first_token_seconds, 4),
            version=self._version,
            answered=self._pace.answers,
            broken=self._pace.broken,
            adapters=self._adapters,
            refused_adapters=self._refused_adapters,
        )


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True

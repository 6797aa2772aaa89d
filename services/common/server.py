"""The main of a service process: telemetry, stores, ops server, mTLS gRPC server, and a clean end on SIGTERM."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
import redis.asyncio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry import trace
from protovalidate import Validator
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from services.common import db
from services.common.buckets import ValkeyBuckets
from services.common.clients import ChannelFactory
from services.common.clock import Clock, utc_now
from services.common.garbage import settle_garbage_collector
from services.common.interceptors.chain import ConcernedServer, Concerns, OpenStreams
from services.common.interceptors.deadline import Deadline
from services.common.interceptors.identity import ForwardedIdentity, Identity
from services.common.interceptors.limits import PEOPLE, PeopleLimits
from services.common.interceptors.validation import validation
from services.common.janitor import Janitor, Purge
from services.common.logs import configure_logging
from services.common.ops import OpsServer
from services.common.revocations import RevocationFeed, Revocations, fetcher
from services.common.settings import ServiceSettings
from services.common.telemetry import ServerMetrics, tracing
from services.common.tls import CertificateFiles, server_credentials
from services.common.tokens import KeySet, TokenVerifier, audience_of, jwks_fetcher

logger = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)

# How many times the largest request is still read, in order to be refused with details.
REFUSABLE_FACTOR = 4

# Part of the drain time that calls and short streams get before streams still open are cut.
FINISHING_SHARE = 0.8


@dataclass(frozen=True)
class ServicerRegistration:
    """A servicer and the generated function that adds it, `add_…Servicer_to_server`."""

    add_fn: Callable[[Any, Any], None]
    servicer: object


@dataclass(frozen=True)
class Platform(Generic[SettingsT]):
    """What a process offers to the service wired into it."""

    name: str
    settings: SettingsT
    clock: Clock
    engine: AsyncEngine
    sessionmaker: async_sessionmaker[AsyncSession]
    redis: redis.asyncio.Redis
    channels: ChannelFactory
    ops: OpsServer
    metrics: ServerMetrics
    # Set when the process begins to shut down; background work should stop taking up new tasks.
    draining: asyncio.Event

    def janitor(self, *purges: Purge) -> Janitor:
        """Deletes what has had its time, while it is entered; one a process."""
        return Janitor(
            purges,
            self.sessionmaker,
            self.clock,
            self.metrics.registry,
            interval_seconds=self.settings.purge_interval_seconds,
            batch_rows=self.settings.purge_batch_rows,
        )


Wire = Callable[[AsyncExitStack, Platform[SettingsT]], Awaitable[Sequence[ServicerRegistration]]]


def run(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> None:
    """Serve until SIGTERM or SIGINT. `wire` builds the servicers and enters what must be closed into the stack."""
    configure_logging(name, settings.log_level)
    asyncio.run(_main(name, settings, wire))


async def _main(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(name, settings, wire):
        settle_garbage_collector()
        logger.info("serving", extra={"address": settings.listen_address})
        await stop.wait()
        logger.info("draining", extra={"seconds": settings.drain_seconds})
    logger.info("stopped")


class serving:  # noqa: N801 - used as a context manager, like a function
    """Serve while the block runs; its end drains. `async with serving(name, settings, wire) as server:`"""

    def __init__(self, name: str, settings: SettingsT, wire: Wire[SettingsT], *, clock: Clock = utc_now) -> None:
        self._name = name
        self._settings: ServiceSettings = settings
        self._wire: Wire[Any] = wire
        self._clock = clock
        self._stack = AsyncExitStack()
        # The port that was bound, which matters when the settings ask for port 0.
        self.port = 0

    async def __aenter__(self) -> "serving":
        async with self._stack:
            await self._start()
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Drain and close everything; the end of the block then finds nothing left to do."""
        await self._stack.aclose()

    async def _start(self) -> None:
        settings, stack = self._settings, self._stack
        tracer = stack.enter_context(tracing(self._name, settings))
        files = None if settings.behind_proxy else CertificateFiles(settings)
        metrics = ServerMetrics()
        ops = OpsServer(settings.ops_socket, metrics.registry)
        platform = await self._platform(files, metrics, ops)
        registrations = await self._wire(stack, platform)

        server = grpc.aio.server(options=server_options(settings))
        streams = OpenStreams()
        revocations = Revocations()
        revocations.on_revoked(streams.revoke)
        chain = concerns(settings, tracer, metrics, revocations, service=self._name, limits=self._limits(metrics))
        concerned = ConcernedServer(server, chain, streams)
        for registration in registrations:
            registration.add_fn(registration.servicer, concerned)
        health_servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        if settings.environment == "dev":
            names = (*concerned.service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        concerned.refuse_unknown_methods()

        self.port = (
            server.add_insecure_port(settings.listen_address)
            if files is None
            else server.add_secure_port(settings.listen_address, server_credentials(files))
        )
        await ops.start()
        stack.push_async_callback(ops.stop)
        feed = RevocationFeed(revocations, fetcher(settings.issuer_at), platform.redis)
        await feed.poll_once()
        await stack.enter_async_context(feed)
        await server.start()
        stack.push_async_callback(drain, platform, server, health_servicer, streams)
        for service in ("", *concerned.service_names):
            await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        ops.serving = True

    def _limits(self, metrics: ServerMetrics) -> PeopleLimits:
        store = redis.asyncio.Redis.from_url(
            self._settings.redis_url,
            socket_timeout=self._settings.count_timeout_seconds,
            socket_connect_timeout=self._settings.count_timeout_seconds,
        )
        self._stack.push_async_callback(store.aclose)
        limits = PeopleLimits(ValkeyBuckets(store, PEOPLE))
        self._stack.push_async_callback(limits.close)
        metrics.registry.register(limits)
        return limits

    async def _platform(self, files: CertificateFiles | None, metrics: ServerMetrics, ops: OpsServer) -> Platform[Any]:
        settings, stack = self._settings, self._stack
        engine = db.create_engine(settings)
        stack.push_async_callback(engine.dispose)
        store = redis.asyncio.Redis.from_url(
            settings.redis_url,
            socket_timeout=settings.redis_timeout_seconds,
            socket_connect_timeout=settings.redis_timeout_seconds,
        )
        stack.push_async_callback(store.aclose)
        channels = ChannelFactory(files, default_deadline_seconds=settings.default_deadline_seconds)
        stack.push_async_callback(channels.close)

        async def database_answers() -> None:
            async with engine.connect() as connection:
                await connection.execute(text("select 1"))

        async def redis_answers() -> None:
            await store.ping()

        ops.add_check("database", database_answers)
        ops.add_check("redis", redis_answers)
        return Platform(
            name=self._name,
            settings=settings,
            clock=self._clock,
            engine=engine,
            sessionmaker=db.create_sessionmaker(engine),
            redis=store,
            channels=channels,
            ops=ops,
            metrics=metrics,
            draining=asyncio.Event(),
        )


def concerns(
    settings: ServiceSettings,
    tracer: trace.Tracer,
    metrics: ServerMetrics,
    revocations: Revocations | None = None,
    *,
    service: str = "",
    limits: PeopleLimits | None = None,
) -> Concerns:
    """Everything the interceptor chain needs, from the settings. Tokens for `service` alone are taken, too."""
    audiences = [settings.token_audience]
    if service:
        audiences.append(audience_of(settings.token_audience, service))
    verifier = TokenVerifier(
        KeySet(jwks_fetcher(settings.issuer_at)),
        issuer=settings.token_issuer,
        audience=audiences,
        revocations=revocations,
    )
    identity = ForwardedIdentity if settings.behind_proxy else Identity
    return Concerns(
        tracer=tracer,
        metrics=metrics,
        sample_ratio=settings.trace_sample_ratio,
        identity=identity(verifier, settings.spiffe_prefix),
        deadline=Deadline(settings.default_deadline_seconds, settings.maximum_deadline_seconds),
        validate=validation(Validator()),
        limits=limits,
        maximum_message_bytes=settings.maximum_message_bytes,
    )


def server_options(settings: ServiceSettings) -> list[tuple[str, Any]]:
    """gRPC's own options: a taken port is an error, big messages are refused, quiet connections are probed."""
    return [
        ("grpc.so_reuseport", 0),
        # What is too large is refused with details; this limit only bounds the memory that takes.
        ("grpc.max_receive_message_length", settings.maximum_message_bytes * REFUSABLE_FACTOR),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # After a restart all streams come back at once; beyond gRPC's own 1,000 they would be dropped without a reason.
        ("grpc.server.max_pending_requests", 16_384),
        ("grpc.server.max_pending_requests_hard_limit", 32_768),
    ]


async def drain(
    platform: Platform[Any], server: grpc.aio.Server, health_servicer: health.aio.HealthServicer, streams: OpenStreams
) -> None:
    """Stop taking calls, end long-lived streams at once with a typed error, and give the rest the drain time."""
    seconds = platform.settings.drain_seconds
    platform.ops.serving = False
    platform.draining.set()
    await health_servicer.enter_graceful_shutdown()
    streams.cut(only_long_lived=True)
    stopping = asyncio.create_task(server.stop(seconds))
    done, _ = await asyncio.wait({stopping}, timeout=seconds * FINISHING_SHARE)
    if not done and (count := streams.cut(only_long_lived=False)):
        logger.warning("streams cut", extra={"count": count})
    await stopping

"""Wires the gateway together and serves it on a Unix socket, where only the Envoy beside it reaches it."""

import asyncio
import contextlib
import logging
import os
import signal
from contextlib import AsyncExitStack

import redis.asyncio
from aiohttp import web

from mesh.policy.table import load_table
from services.common.clients import ChannelFactory
from services.common.garbage import settle_garbage_collector
from services.common.logs import configure_logging
from services.common.ops import OpsServer
from services.common.telemetry import ServerMetrics
from services.common.tls import CertificateFiles
from services.gateway.adapters.buckets import ValkeyBuckets
from services.gateway.adapters.exchange import AuthExchange
from services.gateway.keys import KeyTokens
from services.gateway.limits import KeyLimits
from services.gateway.metrics import GatewayMetrics
from services.gateway.servicer import Checks
from services.gateway.settings import GatewaySettings

logger = logging.getLogger(__name__)


def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    configure_logging("gateway", settings.log_level)
    asyncio.run(_main(settings))


async def _main(settings: GatewaySettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        await serve(stack, settings)
        settle_garbage_collector()
        logger.info("serving", extra={"address": str(settings.gateway_socket)})
        await stop.wait()
        logger.info("draining")
    logger.info("stopped")


async def serve(stack: AsyncExitStack, settings: GatewaySettings) -> None:
    """Serve until the stack is left."""
    channels = ChannelFactory(CertificateFiles(settings))
    stack.push_async_callback(channels.close)
    exchange = AuthExchange(
        channels.channel(settings.auth_address, "auth"), timeout_seconds=settings.exchange_timeout_seconds
    )
    tokens = KeyTokens(
        exchange,
        recheck_seconds=settings.key_recheck_seconds,
        remembered=settings.keys_remembered,
        wrong_per_minute=settings.wrong_keys_per_minute,
    )
    store = redis.asyncio.Redis.from_url(
        settings.redis_url,
        socket_timeout=settings.count_timeout_seconds,
        socket_connect_timeout=settings.count_timeout_seconds,
    )
    stack.push_async_callback(store.aclose)
    limits = KeyLimits(ValkeyBuckets(store), load_table())
    checks = Checks(tokens, limits)
    metrics = ServerMetrics()
    metrics.registry.register(GatewayMetrics(checks, tokens, limits))
    ops = OpsServer(settings.ops_socket, metrics.registry)

    app = web.Application()
    checks.add_to(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.drain_seconds)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await _listen(runner, settings)
    await ops.start()
    stack.push_async_callback(ops.stop)
    ops.serving = True


async def _listen(runner: web.AppRunner, settings: GatewaySettings) -> None:
    settings.gateway_socket.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        settings.gateway_socket.unlink()
    await web.UnixSite(runner, str(settings.gateway_socket)).start()
    # Who can ask can turn keys into tokens.
    os.chmod(settings.gateway_socket, 0o600)

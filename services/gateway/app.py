"""Wires the gateway together and serves it on Unix sockets or loopback, where only the Envoy beside it reaches it."""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import redis.asyncio
import uvloop
from aiohttp import web

from mesh.policy.http import every_rule
from services.common.buckets import ValkeyBuckets
from services.common.clients import ChannelFactory
from services.common.garbage import settle_garbage_collector
from services.common.http import listen
from services.common.interceptors.limits import PEOPLE, PeopleLimits
from services.common.logs import configure_logging
from services.common.ops import OpsServer
from services.common.revocations import RevocationFeed, Revocations, fetcher
from services.common.telemetry import ServerMetrics
from services.common.tls import CertificateFiles
from services.common.tokens import KeySet, TokenVerifier, jwks_fetcher
from services.gateway.adapters.budgets import BudgetsClient
from services.gateway.adapters.exchange import AuthExchange
from services.gateway.adapters.models import ModelsClient
from services.gateway.adapters.tokens import ValkeyHolds
from services.gateway.keys import KeyTokens
from services.gateway.limits import KeyLimits
from services.gateway.metrics import GatewayMetrics
from services.gateway.openai.identity import Doorkeeper
from services.gateway.openai.servicer import OpenAiApi
from services.gateway.openai.spending import LEASE_SECONDS, Spending
from services.gateway.servicer import Checks
from services.gateway.settings import GatewaySettings
from services.gateway.token_limits import TokenLimits, TokenRates

logger = logging.getLogger(__name__)


def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    configure_logging("gateway", settings.log_level)
    # HTTP and Valkey beside gRPC: an eighth less processor time a call than asyncio's own loop (ADR 15).
    uvloop.run(_main(settings))


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
    channels = ChannelFactory(None if settings.behind_proxy else CertificateFiles(settings))
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
    limits = KeyLimits(ValkeyBuckets(store, "gateway"), every_rule())
    checks = Checks(tokens, limits)
    metrics = ServerMetrics()
    people = PeopleLimits(ValkeyBuckets(store, PEOPLE))
    stack.push_async_callback(people.close)
    metrics.registry.register(people)
    api = await _openai_api(stack, settings, channels, store, people)
    metrics.registry.register(GatewayMetrics(checks, tokens, limits, api))
    ops = OpsServer(settings.ops_socket, metrics.registry)

    app = web.Application()
    checks.add_to(app)
    # Who can ask can turn keys into tokens.
    await _listen(stack, app, settings.gateway_socket, settings.gateway_address, settings)
    await _listen(stack, api.application(), settings.openai_socket, settings.openai_address, settings)
    await ops.start()
    stack.push_async_callback(ops.stop)
    ops.serving = True


async def _openai_api(
    stack: AsyncExitStack,
    settings: GatewaySettings,
    channels: ChannelFactory,
    store: redis.asyncio.Redis,
    people: PeopleLimits,
) -> OpenAiApi:
    revocations = Revocations()
    feed = RevocationFeed(revocations, fetcher(settings.issuer_at), store)
    await feed.poll_once()
    await stack.enter_async_context(feed)
    verifier = TokenVerifier(
        KeySet(jwks_fetcher(settings.issuer_at)),
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        revocations=revocations,
    )
    models = ModelsClient(channels.channel(settings.inference_address, "inference"))
    spending = await stack.enter_async_context(
        Spending(BudgetsClient(channels.channel(settings.usage_address, "usage")))
    )
    rates = TokenRates.per_minute(
        key=settings.tokens_per_minute_of_key,
        user=settings.tokens_per_minute_of_user,
        organization=settings.tokens_per_minute_of_organization,
    )
    tokens = TokenLimits(ValkeyHolds(store), rates, lease_seconds=LEASE_SECONDS)
    return OpenAiApi(Doorkeeper(verifier, revocations, people), models, spending, tokens)


async def _listen(
    stack: AsyncExitStack, app: web.Application, socket: Path, address: str, settings: GatewaySettings
) -> None:
    # Whoever stops waiting for an answer stops it. Bodies stay as they are: what is packed could unpack to anything.
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=settings.drain_seconds,
        handler_cancellation=True,
        auto_decompress=False,
    )
    await listen(stack, runner, socket=socket, address=address)

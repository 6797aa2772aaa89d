"""Wires the sessions service."""

import asyncio
import logging
from contextlib import AsyncExitStack

from prometheus_client import Gauge

from deskmesh.sessions.v1 import conversation_service_pb2_grpc
from services.common import background
from services.common.janitor import request_ids
from services.common.outbox import OutboxRelay
from services.common.server import Platform, ServicerRegistration
from services.sessions import tables
from services.sessions.adapters.notices import RedisAnnouncer, RedisNotices
from services.sessions.adapters.token_counter import InferenceTokenCounter
from services.sessions.adapters.units import SqlEventLog, SqlUnitsOfWork
from services.sessions.hub import Hub, Limits
from services.sessions.mappings import events
from services.sessions.servicer import ConversationServicer
from services.sessions.settings import SessionsSettings
from services.sessions.usecases.context import ContextUseCases
from services.sessions.usecases.conversations import ConversationUseCases, Expiry
from services.sessions.usecases.messages import MessageUseCases
from services.sessions.usecases.watch import Watching

logger = logging.getLogger(__name__)


async def wire(stack: AsyncExitStack, platform: Platform[SessionsSettings]) -> list[ServicerRegistration]:
    """Build the servicer and start what runs beside it: relay, announcer, the one reader, expiry."""
    settings, clock = platform.settings, platform.clock
    await stack.enter_async_context(OutboxRelay(platform.name, platform.sessionmaker, platform.redis, tables.outbox))
    await stack.enter_async_context(platform.janitor(request_ids(tables.idempotency_records, settings)))
    announcer = await stack.enter_async_context(RedisAnnouncer(platform.redis))
    units = SqlUnitsOfWork(
        platform.sessionmaker,
        announcer,
        encode=events.encode,
        encode_conversation=events.encode_conversation,
        encode_message=events.encode_message,
    )
    hub = Hub(SqlEventLog(platform.sessionmaker), RedisNotices(platform.redis), limits(settings))
    watchers = Gauge("deskmesh_sessions_watchers", "Open streams.", registry=platform.metrics.registry)
    watchers.set_function(lambda: hub.watchers)
    _run_beside(stack, asyncio.create_task(hub.run(), name="sessions-hub"))
    expiry = Expiry(units, clock, batch=settings.expiry_batch)
    _run_beside(stack, asyncio.create_task(_keep_expiring(expiry, settings), name="sessions-expiry"))

    inference = platform.channels.channel(settings.inference_address, "inference")
    counter = InferenceTokenCounter(inference, timeout_seconds=settings.inference_timeout_seconds)
    servicer = ConversationServicer(
        ConversationUseCases(units, clock),
        MessageUseCases(units, announcer, clock),
        ContextUseCases(units, counter),
        Watching(
            units,
            hub,
            clock,
            heartbeat_seconds=settings.watch_heartbeat_seconds,
        ),
    )
    return [ServicerRegistration(conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server, servicer)]


def limits(settings: SessionsSettings) -> Limits:
    """The hub's bounds."""
    return Limits(
        watchers=settings.maximum_watchers,
        queue_events=settings.watcher_queue_events,
        queue_bytes=settings.watcher_queue_bytes,
        check_seconds=settings.watch_check_seconds,
    )


async def _keep_expiring(expiry: Expiry, settings: SessionsSettings) -> None:
    while True:
        try:
            while await expiry.expire() == settings.expiry_batch:
                pass
        except Exception:
            logger.warning("idle conversations are not closed, trying again", exc_info=True)
        await asyncio.sleep(settings.expiry_interval_seconds)


def _run_beside(stack: AsyncExitStack, task: "asyncio.Task[None]") -> None:
    stack.push_async_callback(background.end, task)

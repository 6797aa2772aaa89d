"""Wires the orchestrator."""

import random
from contextlib import AsyncExitStack
from functools import partial

from opentelemetry import trace

from deskmesh.orchestrator.v1 import orchestrator_service_pb2_grpc
from services.common.ids import new_id
from services.common.janitor import request_ids
from services.common.outbox import OutboxRelay
from services.common.server import Platform, ServicerRegistration
from services.orchestrator import tables
from services.orchestrator.adapters.inference import EmbedderClient, ModelsClient
from services.orchestrator.adapters.knowledge import KnowledgeClient
from services.orchestrator.adapters.reports import SqlUnsentReports
from services.orchestrator.adapters.sessions import SessionsClient
from services.orchestrator.adapters.sql import SqlTurnQueue, SqlWork
from services.orchestrator.adapters.tickets import TicketsClient
from services.orchestrator.adapters.usage import BudgetsClient
from services.orchestrator.delivery import Delivery
from services.orchestrator.servicer import OrchestratorServicer
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.usecases import TurnService
from services.orchestrator.workers import Limits, Workers
from services.orchestrator.workflow.admission import Admission
from services.orchestrator.workflow.memory import IntentMemory, PassageMemory, warming
from services.orchestrator.workflow.services import Services
from services.orchestrator.workflow.shadow import Shadows
from services.orchestrator.workflow.spending import Spending
from services.orchestrator.workflow.turn import Workflow

# A turn's end is told and stored after its own time; then its reservation is charged as if nobody would come back.
LEASE_MARGIN_SECONDS = 30.0


async def wire(stack: AsyncExitStack, platform: Platform[OrchestratorSettings]) -> list[ServicerRegistration]:
    """Build the servicer, and the workers that run with it."""
    settings, channels = platform.settings, platform.channels
    await stack.enter_async_context(platform.janitor(request_ids(tables.idempotency_records, settings)))
    inference = channels.channel(settings.inference_address, "inference")
    embedder = EmbedderClient(inference)
    services = Services(
        sessions=SessionsClient(channels.channel(settings.sessions_address, "sessions")),
        tickets=TicketsClient(channels.channel(settings.tickets_address, "tickets")),
        knowledge=KnowledgeClient(channels.channel(settings.knowledge_address, "knowledge")),
        embedder=embedder,
        models=ModelsClient(inference),
        memory=PassageMemory(embedder),
        turn_seconds=settings.turn_seconds,
        maximum_cost=settings.maximum_call_cost,
    )
    intents = IntentMemory(embedder)
    await stack.enter_async_context(warming(intents))
    work_for = partial(SqlWork, platform.sessionmaker)
    queue = SqlTurnQueue(platform.sessionmaker)
    tracer = trace.get_tracer("deskmesh")
    await stack.enter_async_context(OutboxRelay("orchestrator", platform.sessionmaker, platform.redis, tables.outbox))
    budgets = BudgetsClient(channels.channel(settings.usage_address, "usage"))
    unsent = SqlUnsentReports(platform.sessionmaker)
    await stack.enter_async_context(Delivery(unsent, budgets, platform.clock, poll_seconds=settings.usage_poll_seconds))
    spending = await stack.enter_async_context(
        Spending(
            budgets,
            unsent,
            work_for,
            platform.clock,
            offline_turns=settings.offline_turns,
            lease_seconds=settings.turn_seconds + LEASE_MARGIN_SECONDS,
            confirm_seconds=settings.usage_confirm_seconds,
        )
    )
    limits = Limits(
        concurrent_turns=settings.concurrent_turns,
        lease_seconds=settings.lease_seconds,
        turn_seconds=settings.turn_seconds,
        finishing_seconds=settings.drain_seconds / 2,
    )
    shadows = await stack.enter_async_context(
        Shadows(
            services,
            work_for,
            platform.clock,
            tracer,
            random.Random(),  # noqa: S311 - draws a share, no secret
            at_once=settings.shadow_turns,
        )
    )
    workers = await stack.enter_async_context(
        Workers(
            new_id("wrk"),
            queue,
            Workflow(services, intents, work_for),
            services.sessions,
            spending,
            work_for,
            platform.clock,
            tracer,
            limits,
            platform.draining,
            shadows,
        )
    )
    turns = TurnService(
        work_for,
        queue,
        services.sessions,
        workers,
        platform.clock,
        tracer,
        Admission(services.models, embedder, intents),
        settings.maximum_waiting_turns,
    )
    return [
        ServicerRegistration(
            orchestrator_service_pb2_grpc.add_OrchestratorServiceServicer_to_server, OrchestratorServicer(turns)
        )
    ]

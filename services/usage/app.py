"""Wires the usage service."""

from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from deskmesh.usage.v1 import budget_service_pb2_grpc, reservation_service_pb2_grpc, usage_service_pb2_grpc
from services.common.ids import new_id
from services.common.janitor import request_ids
from services.common.outbox import OutboxRelay
from services.common.server import Platform, ServicerRegistration
from services.usage import tables
from services.usage.adapters.stream import UsageStream
from services.usage.adapters.units import SqlUsageWork
from services.usage.domain import Price, Prices
from services.usage.reaper import Reaper
from services.usage.servicer import BudgetServicer, ReservationServicer, UsageServicer
from services.usage.settings import UsageSettings
from services.usage.usecases.batching import Batcher
from services.usage.usecases.budgets import BudgetDesk
from services.usage.usecases.ledger import UsageLedger
from services.usage.usecases.reservations import ReservationDesk


async def wire(stack: AsyncExitStack, platform: Platform[UsageSettings]) -> list[ServicerRegistration]:
    """Build the servicers, the outbox's relay, the stream's reader and the reaper, which run until the stack closes."""
    settings, clock = platform.settings, platform.clock
    await stack.enter_async_context(platform.janitor(request_ids(tables.idempotency_records, settings)))
    relay = await stack.enter_async_context(OutboxRelay("usage", platform.sessionmaker, platform.redis, tables.outbox))
    work = partial(SqlUsageWork, platform.sessionmaker, relay.wake)
    system = partial(work, system=True)
    prices = Prices({model: Price(**price.model_dump()) for model, price in settings.prices.items()})

    ledger = UsageLedger(work, system, prices, clock)
    await stack.enter_async_context(
        UsageStream(platform.redis, ledger.record, new_id("usc"), takeover_seconds=settings.takeover_seconds)
    )
    desk = ReservationDesk(system, prices, clock, partial(_unknown_cost, settings), settings.overshoot_percent)
    await stack.enter_async_context(
        Reaper(desk, seconds=settings.reap_seconds, keep=timedelta(days=settings.reservation_days))
    )
    reservations = ReservationServicer(
        desk,
        await stack.enter_async_context(Batcher("reserving", desk.reserve)),
        await stack.enter_async_context(Batcher("extending", desk.extend)),
        await stack.enter_async_context(Batcher("settling", desk.settle)),
    )
    budgets = BudgetServicer(BudgetDesk(work, clock, settings.overshoot_percent), settings.currency)
    return [
        ServicerRegistration(
            usage_service_pb2_grpc.add_UsageServiceServicer_to_server, UsageServicer(ledger, settings.currency, clock)
        ),
        ServicerRegistration(budget_service_pb2_grpc.add_BudgetServiceServicer_to_server, budgets),
        ServicerRegistration(reservation_service_pb2_grpc.add_ReservationServiceServicer_to_server, reservations),
    ]


def _unknown_cost(settings: UsageSettings, price: Price) -> int:
    return price.cost(settings.unknown_prompt_tokens, 0, settings.unknown_completion_tokens, timedelta())

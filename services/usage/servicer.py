"""The services of usage on the wire. Errors are left to the interceptors."""

from typing import Any

import grpc.aio

from deskmesh.usage.v1 import budget_service_pb2 as budgets_pb
from deskmesh.usage.v1 import (
    budget_service_pb2_grpc,
    reservation_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from deskmesh.usage.v1 import reservation_service_pb2 as reservations_pb
from deskmesh.usage.v1 import usage_service_pb2 as usage_pb
from services.common.clock import Clock
from services.common.context import caller, idempotency
from services.usage import mapping
from services.usage.domain import Reservation
from services.usage.usecases.batching import Batcher
from services.usage.usecases.budgets import BudgetDesk
from services.usage.usecases.ledger import UsageLedger
from services.usage.usecases.reservations import Extend, ReservationDesk, Reserve, Settle, Settled

Context = grpc.aio.ServicerContext[Any, Any]


class UsageServicer(usage_service_pb2_grpc.UsageServiceServicer):
    """The ledger."""

    def __init__(self, ledger: UsageLedger, currency: str, clock: Clock) -> None:
        self._ledger = ledger
        self._currency = currency
        self._clock = clock

    async def GetUsage(self, request: usage_pb.GetUsageRequest, context: Context) -> usage_pb.GetUsageResponse:
        """Add up usage by groups."""
        query = mapping.to_usage(request, caller(), self._clock())
        return mapping.group_page(await self._ledger.usage(query), self._currency)

    async def ListUsageEntries(
        self, request: usage_pb.ListUsageEntriesRequest, context: Context
    ) -> usage_pb.ListUsageEntriesResponse:
        """List lines."""
        query = mapping.to_list_entries(request, caller())
        return mapping.entry_page(await self._ledger.entries(query), self._currency)

    async def RecordUsage(self, request: usage_pb.RecordUsageRequest, context: Context) -> usage_pb.RecordUsageResponse:
        """Add lines, each once."""
        entries = mapping.to_entries(caller().organization_id, request.entries)
        return usage_pb.RecordUsageResponse(added=await self._ledger.record(entries))


class BudgetServicer(budget_service_pb2_grpc.BudgetServiceServicer):
    """Budgets."""

    def __init__(self, desk: BudgetDesk, currency: str) -> None:
        self._desk = desk
        self._currency = currency

    async def CreateBudget(
        self, request: budgets_pb.CreateBudgetRequest, context: Context
    ) -> budgets_pb.CreateBudgetResponse:
        """Make one."""
        made = await self._desk.make(mapping.to_make(request, caller(), idempotency()))
        return budgets_pb.CreateBudgetResponse(budget=mapping.budget(made, self._currency))

    async def GetBudget(self, request: budgets_pb.GetBudgetRequest, context: Context) -> budgets_pb.GetBudgetResponse:
        """Read one."""
        found = await self._desk.get(caller().organization_id, request.budget_id)
        return budgets_pb.GetBudgetResponse(budget=mapping.budget(found, self._currency))

    async def ListBudgets(
        self, request: budgets_pb.ListBudgetsRequest, context: Context
    ) -> budgets_pb.ListBudgetsResponse:
        """List a page."""
        return mapping.budget_page(await self._desk.list(mapping.to_list_budgets(request, caller())), self._currency)

    async def UpdateBudget(
        self, request: budgets_pb.UpdateBudgetRequest, context: Context
    ) -> budgets_pb.UpdateBudgetResponse:
        """Change the limit."""
        changed = await self._desk.change(mapping.to_change(request, caller()))
        return budgets_pb.UpdateBudgetResponse(budget=mapping.budget(changed, self._currency))

    async def DeleteBudget(
        self, request: budgets_pb.DeleteBudgetRequest, context: Context
    ) -> budgets_pb.DeleteBudgetResponse:
        """Take one away."""
        await self._desk.remove(caller().organization_id, request.budget_id, request.etag)
        return budgets_pb.DeleteBudgetResponse()

    async def ListBudgetAlerts(
        self, request: budgets_pb.ListBudgetAlertsRequest, context: Context
    ) -> budgets_pb.ListBudgetAlertsResponse:
        """List a page of alerts."""
        return mapping.alert_page(await self._desk.alerts(mapping.to_list_alerts(request, caller())))


class ReservationServicer(reservation_service_pb2_grpc.ReservationServiceServicer):
    """Reservations; calls that come together share a transaction."""

    def __init__(
        self,
        desk: ReservationDesk,
        reserving: Batcher[Reserve, Reservation],
        extending: Batcher[Extend, Reservation],
        settling: Batcher[Settle, Settled],
    ) -> None:
        self._desk = desk
        self._reserving = reserving
        self._extending = extending
        self._settling = settling

    async def Reserve(
        self, request: reservations_pb.ReserveRequest, context: Context
    ) -> reservations_pb.ReserveResponse:
        """Hold money."""
        made = await self._reserving.submit(mapping.to_reserve(request, caller()))
        return mapping.reserved(made, self._desk.price(made.model))

    async def ExtendReservation(
        self, request: reservations_pb.ExtendReservationRequest, context: Context
    ) -> reservations_pb.ExtendReservationResponse:
        """Hold more."""
        extended = await self._extending.submit(mapping.to_extend(request, caller()))
        return reservations_pb.ExtendReservationResponse(granted_micros=extended.granted)

    async def SettleReservation(
        self, request: reservations_pb.SettleReservationRequest, context: Context
    ) -> reservations_pb.SettleReservationResponse:
        """End it."""
        return mapping.settled(await self._settling.submit(mapping.to_settle(request, caller())))

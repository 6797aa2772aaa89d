"""A ledger, in place of the usage service."""

from typing import Any

from deskmesh.usage.v1 import (
    reservation_service_pb2,
    reservation_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from tests.integration.orchestrator.neighbours.faults import Faults


class UsageDouble(reservation_service_pb2_grpc.ReservationServiceServicer, usage_service_pb2_grpc.UsageServiceServicer):
    """A ledger without budgets, unless told what to grant: a token costs a micro."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.grants = 0
        self.entries: dict[str, Any] = {}
        self.open: dict[str, Any] = {}
        self.settled: list[str] = []

    async def Reserve(self, request: Any, context: Any) -> Any:
        await self.faults.meet("Reserve")
        self.open[request.reservation_id] = request
        price = reservation_service_pb2.ModelPrice(
            prompt_micros_per_million=1_000_000,
            cached_prompt_micros_per_million=1_000_000,
            completion_micros_per_million=1_000_000,
        )
        return reservation_service_pb2.ReserveResponse(granted_micros=self.grants, limited=self.grants > 0, price=price)

    async def ExtendReservation(self, request: Any, context: Any) -> Any:
        await self.faults.meet("ExtendReservation")
        return reservation_service_pb2.ExtendReservationResponse(granted_micros=request.wanted_micros)

    async def SettleReservation(self, request: Any, context: Any) -> Any:
        await self.faults.meet("SettleReservation")
        self.open.pop(request.reservation_id, None)
        self.settled.append(request.reservation_id)
        self.entries |= {entry.id: entry for entry in request.entries}
        return reservation_service_pb2.SettleReservationResponse()

    async def RecordUsage(self, request: Any, context: Any) -> Any:
        await self.faults.meet("RecordUsage")
        known = len(self.entries)
        self.entries |= {entry.id: entry for entry in request.entries}
        return usage_service_pb2.RecordUsageResponse(added=len(self.entries) - known)

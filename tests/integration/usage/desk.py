"""People and workloads before the running usage service."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deskmesh.usage.v1 import (
    budget_pb2,
    budget_service_pb2,
    budget_service_pb2_grpc,
    reservation_service_pb2,
    reservation_service_pb2_grpc,
    usage_pb2,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from services.common.ids import new_id
from tests.support.server import Headers, RunningService, acting

if TYPE_CHECKING:
    from deskmesh.usage.v1.budget_service_pb2_grpc import BudgetServiceAsyncStub
    from deskmesh.usage.v1.reservation_service_pb2_grpc import ReservationServiceAsyncStub
    from deskmesh.usage.v1.usage_service_pb2_grpc import UsageServiceAsyncStub

# What the settings of these tests say: a million micros a million tokens, so that a token costs a micro.
MODEL = "model-of-one-micro-a-token"


class Clock:
    """The time, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def entry(tokens: int = 10, **values: Any) -> usage_pb2.UsageEntry:
    """A use of the model that costs as many micros as it read tokens."""
    fields: dict[str, Any] = {
        "id": new_id("ent"),
        "occurred_at": datetime(2026, 3, 14, 15, tzinfo=UTC),
        "user_id": "usr_1",
        "conversation_id": "cnv_1",
        "turn_id": "trn_1",
        "step": "score",
        "model": MODEL,
        "prompt_tokens": tokens,
    }
    return usage_pb2.UsageEntry(**fields | values)


@dataclass
class Person:
    """Somebody signed in at the edge."""

    service: RunningService
    headers: Headers

    @property
    def usage(self) -> "UsageServiceAsyncStub":
        return usage_service_pb2_grpc.UsageServiceStub(self.service.channel("edge"))

    @property
    def budgets(self) -> "BudgetServiceAsyncStub":
        return budget_service_pb2_grpc.BudgetServiceStub(self.service.channel("edge"))

    async def read(self, *group_by: int, **values: Any) -> usage_service_pb2.GetUsageResponse:
        request = usage_service_pb2.GetUsageRequest(group_by=group_by, **values)  # type: ignore[arg-type]
        return await self.usage.GetUsage(request, metadata=self.headers)

    async def entries(self, **values: Any) -> usage_service_pb2.ListUsageEntriesResponse:
        request = usage_service_pb2.ListUsageEntriesRequest(**values)
        return await self.usage.ListUsageEntries(request, metadata=self.headers)

    async def make(self, limit: int, **values: Any) -> budget_pb2.Budget:
        fields: dict[str, Any] = {
            "request_id": new_id("req"),
            "scope": budget_pb2.BUDGET_SCOPE_ORGANIZATION,
            "period": budget_pb2.BUDGET_PERIOD_DAY,
            "limit_micros": limit,
        }
        request = budget_service_pb2.CreateBudgetRequest(**fields | values)
        return (await self.budgets.CreateBudget(request, metadata=self.headers)).budget

    async def get(self, budget_id: str) -> budget_pb2.Budget:
        request = budget_service_pb2.GetBudgetRequest(budget_id=budget_id)
        return (await self.budgets.GetBudget(request, metadata=self.headers)).budget

    async def list(self, **values: Any) -> budget_service_pb2.ListBudgetsResponse:
        return await self.budgets.ListBudgets(budget_service_pb2.ListBudgetsRequest(**values), metadata=self.headers)

    async def change(self, budget: budget_pb2.Budget, limit: int, members: Sequence[str] = ()) -> budget_pb2.Budget:
        request = budget_service_pb2.UpdateBudgetRequest(
            budget_id=budget.id, etag=budget.etag, limit_micros=limit, member_ids=members
        )
        return (await self.budgets.UpdateBudget(request, metadata=self.headers)).budget

    async def delete(self, budget: budget_pb2.Budget) -> None:
        request = budget_service_pb2.DeleteBudgetRequest(budget_id=budget.id, etag=budget.etag)
        await self.budgets.DeleteBudget(request, metadata=self.headers)

    async def alerts(self, **values: Any) -> budget_service_pb2.ListBudgetAlertsResponse:
        request = budget_service_pb2.ListBudgetAlertsRequest(**values)
        return await self.budgets.ListBudgetAlerts(request, metadata=self.headers)


@dataclass
class Desk:
    """The running service, and an organization that this test alone uses."""

    service: RunningService
    organization_id: str
    clock: Clock
    worker: Headers = field(init=False)

    def __post_init__(self) -> None:
        self.worker = acting(self.organization_id, "usr_1", ("customer",))

    def person(self, role: str = "admin", organization_id: str = "") -> Person:
        """A member with this role; of this test's organization unless told."""
        return Person(self.service, self.service.person(organization_id or self.organization_id, new_id("usr"), role))

    @property
    def reservations(self) -> "ReservationServiceAsyncStub":
        return reservation_service_pb2_grpc.ReservationServiceStub(self.service.channel("orchestrator"))

    async def record(self, *entries: usage_pb2.UsageEntry) -> int:
        """What the orchestrator delivers."""
        stub = usage_service_pb2_grpc.UsageServiceStub(self.service.channel("orchestrator"))
        request = usage_service_pb2.RecordUsageRequest(entries=entries)
        return (await stub.RecordUsage(request, metadata=self.worker)).added

    async def reserve(self, reservation_id: str = "", **values: Any) -> reservation_service_pb2.ReserveResponse:
        fields: dict[str, Any] = {"model": MODEL, "operation": "turn"}
        request = reservation_service_pb2.ReserveRequest(
            reservation_id=reservation_id or new_id("res"), **fields | values
        )
        if not request.HasField("lease"):
            request.lease.seconds = 60
        return await self.reservations.Reserve(request, metadata=self.worker)

    async def extend(self, reservation_id: str, wanted: int) -> int:
        request = reservation_service_pb2.ExtendReservationRequest(reservation_id=reservation_id, wanted_micros=wanted)
        request.lease.seconds = 60
        return (await self.reservations.ExtendReservation(request, metadata=self.worker)).granted_micros

    async def settle(self, reservation_id: str, *entries: usage_pb2.UsageEntry) -> int:
        request = reservation_service_pb2.SettleReservationRequest(reservation_id=reservation_id, entries=entries)
        return (await self.reservations.SettleReservation(request, metadata=self.worker)).cost_micros

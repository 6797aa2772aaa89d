"""Budgets and ledger of the usage service, and how reports look on the wire."""

from datetime import UTC, timedelta

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.usage.v1 import (
    reservation_service_pb2,
    reservation_service_pb2_grpc,
    usage_pb2,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from services.common.errors import from_rpc_error
from services.common.spending import BudgetExceeded, Granted, Price, Usage
from services.orchestrator.adapters.remote import translated
from services.orchestrator.domain import Turn, UsageLine, UsageReport

OPERATION = "turn"
# A turn waits for an answer at most so long, and then goes on without.
RESERVE_SECONDS = 1.0
SETTLE_SECONDS = 2.0
RECORD_SECONDS = 5.0


class BudgetsClient:
    """Calls act for the person in the calling context."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._reservations = reservation_service_pb2_grpc.ReservationServiceStub(channel)
        self._ledger = usage_service_pb2_grpc.UsageServiceStub(channel)

    async def reserve(self, reservation_id: str, turn: Turn, model: str, lease_seconds: float) -> Granted:
        request = reservation_service_pb2.ReserveRequest(
            reservation_id=reservation_id,
            model=model,
            operation=OPERATION,
            key_id=turn.customer.key_id,
            ticket_id=turn.ticket_id,
            conversation_id=turn.conversation_id,
            turn_id=turn.id,
            lease=_duration(lease_seconds),
        )
        with translated():
            try:
                answered = await self._reservations.Reserve(request, timeout=RESERVE_SECONDS)
            except grpc.aio.AioRpcError as error:
                raise _refusal(error) or error from None
        price = answered.price
        return Granted(
            answered.granted_micros,
            answered.limited,
            Price(
                price.prompt_micros_per_million,
                price.cached_prompt_micros_per_million,
                price.completion_micros_per_million,
                price.hour_micros,
            ),
        )

    async def extend(self, reservation_id: str, wanted: int, lease_seconds: float) -> int:
        request = reservation_service_pb2.ExtendReservationRequest(
            reservation_id=reservation_id, wanted_micros=wanted, lease=_duration(lease_seconds)
        )
        with translated():
            try:
                answered = await self._reservations.ExtendReservation(request, timeout=RESERVE_SECONDS)
            except grpc.aio.AioRpcError as error:
                raise _refusal(error) or error from None
        return answered.granted_micros

    async def settle(self, reservation_id: str, report: UsageReport | None) -> None:
        entries = request_of(report).entries if report is not None else ()
        request = reservation_service_pb2.SettleReservationRequest(reservation_id=reservation_id, entries=entries)
        with translated():
            await self._reservations.SettleReservation(request, timeout=SETTLE_SECONDS)

    async def record(self, report: UsageReport) -> None:
        with translated():
            await self._ledger.RecordUsage(request_of(report), timeout=RECORD_SECONDS)


def request_of(report: UsageReport) -> usage_service_pb2.RecordUsageRequest:
    """A report on the wire; also what is published, and kept until it is confirmed."""
    return usage_service_pb2.RecordUsageRequest(entries=[_entry(line) for line in report.lines])


def report_of(organization_id: str, report_id: str, user_id: str, payload: bytes) -> UsageReport:
    """The report that was kept."""
    entries = usage_service_pb2.RecordUsageRequest.FromString(payload).entries
    return UsageReport(report_id, organization_id, user_id, tuple(_line(entry) for entry in entries))


def _refusal(error: grpc.aio.AioRpcError) -> BudgetExceeded | None:
    remote = from_rpc_error(error)
    if remote.reason != BudgetExceeded.reason:
        return None
    metadata = {key: value for key, value in remote.metadata.items() if key != "trace_id"}
    return BudgetExceeded(retry_after_seconds=remote.retry_after_seconds, metadata=metadata)


def _entry(line: UsageLine) -> usage_pb2.UsageEntry:
    occurred_at = Timestamp()
    occurred_at.FromDatetime(line.occurred_at)
    return usage_pb2.UsageEntry(
        id=line.id,
        occurred_at=occurred_at,
        user_id=line.user_id,
        key_id=line.key_id,
        conversation_id=line.conversation_id,
        ticket_id=line.ticket_id,
        turn_id=line.turn_id,
        step=line.step,
        model=line.model,
        prompt_tokens=line.usage.prompt_tokens,
        cached_prompt_tokens=min(line.usage.cached_prompt_tokens, line.usage.prompt_tokens),
        completion_tokens=line.usage.completion_tokens,
        elapsed=_duration(line.elapsed),
        reservation_id=line.reservation_id,
    )


def _line(entry: usage_pb2.UsageEntry) -> UsageLine:
    return UsageLine(
        id=entry.id,
        occurred_at=entry.occurred_at.ToDatetime(UTC),
        user_id=entry.user_id,
        key_id=entry.key_id,
        conversation_id=entry.conversation_id,
        ticket_id=entry.ticket_id,
        turn_id=entry.turn_id,
        step=entry.step,
        model=entry.model,
        usage=Usage(entry.prompt_tokens, entry.cached_prompt_tokens, entry.completion_tokens),
        elapsed=entry.elapsed.ToTimedelta().total_seconds(),
        reservation_id=entry.reservation_id,
    )


def _duration(seconds: float) -> Duration:
    proto = Duration()
    proto.FromTimedelta(timedelta(seconds=seconds))
    return proto

"""Reservations at the usage service."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.usage.v1 import reservation_service_pb2, reservation_service_pb2_grpc, usage_pb2
from services.common.clock import Clock, utc_now
from services.common.errors import from_rpc_error
from services.common.spending import BudgetExceeded, Granted, Price
from services.gateway.openai.domain import Line
from services.gateway.openai.errors import DependencyUnavailable

RESERVE_SECONDS = 3.0
SETTLE_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1.0
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
RESERVATION_NOT_FOUND = "RESERVATION_NOT_FOUND"


class BudgetsClient:
    """See `openai.ports.Budgets`."""

    def __init__(self, channel: grpc.aio.Channel, clock: Clock = utc_now) -> None:
        self._stub = reservation_service_pb2_grpc.ReservationServiceStub(channel)
        self._clock: Callable[[], datetime] = clock

    async def reserve(
        self, reservation_id: str, *, model: str, operation: str, key_id: str, lease_seconds: float
    ) -> Granted:
        request = reservation_service_pb2.ReserveRequest(
            reservation_id=reservation_id,
            model=model,
            operation=operation,
            key_id=key_id,
            lease=_duration(lease_seconds),
        )
        with _translated():
            answered = await self._stub.Reserve(request, timeout=RESERVE_SECONDS)
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
        with _translated():
            answered = await self._stub.ExtendReservation(request, timeout=RESERVE_SECONDS)
        return answered.granted_micros

    async def settle(self, reservation_id: str, *, user_id: str, key_id: str, lines: Sequence[Line]) -> None:
        occurred_at = Timestamp()
        occurred_at.FromDatetime(self._clock())
        entries = [
            usage_pb2.UsageEntry(
                id=f"{reservation_id}:{number}",
                occurred_at=occurred_at,
                user_id=user_id,
                key_id=key_id,
                step=line.step,
                model=line.model,
                prompt_tokens=line.usage.prompt_tokens,
                cached_prompt_tokens=min(line.usage.cached_prompt_tokens, line.usage.prompt_tokens),
                completion_tokens=line.usage.completion_tokens,
                elapsed=_duration(line.elapsed),
                reservation_id=reservation_id,
            )
            for number, line in enumerate(lines)
        ]
        request = reservation_service_pb2.SettleReservationRequest(reservation_id=reservation_id, entries=entries)
        with _translated():
            await self._stub.SettleReservation(request, timeout=SETTLE_SECONDS)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        remote = from_rpc_error(error)
        if remote.reason == BudgetExceeded.reason:
            metadata = {key: value for key, value in remote.metadata.items() if key != "trace_id"}
            raise BudgetExceeded(retry_after_seconds=remote.retry_after_seconds, metadata=metadata) from None
        if remote.code in _PASSING or remote.reason == RESERVATION_NOT_FOUND:
            raise DependencyUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error
        raise remote from error


def _duration(seconds: float) -> Duration:
    proto = Duration()
    proto.FromTimedelta(timedelta(seconds=seconds))
    return proto

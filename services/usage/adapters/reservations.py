"""Reservations, and what they are sized by, in Postgres."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.usage import tables
from services.usage.admission import WINDOW
from services.usage.domain import Reservation, ReservationKey, ReservationState
from services.usage.ports import Repeated, WorkKind

_reservations = tables.reservations
_sizes = tables.sizes

_KEYS = "(organization_id, id) in (select * from unnest(cast(:organizations as text[]), cast(:ids as text[])))"
_FIND = f"select * from reservations where {_KEYS} order by organization_id, id"  # noqa: S608 - a constant
_FIND_STATEMENTS = {False: text(_FIND), True: text(f"{_FIND} for update")}
_EXTEND = text(
    "update reservations r set granted_micros = changed.granted, lease_until = changed.until "
    "from unnest(cast(:organizations as text[]), cast(:ids as text[]), cast(:granted as bigint[]), "
    "cast(:until as timestamptz[])) changed (organization, id, granted, until) "
    "where r.organization_id = changed.organization and r.id = changed.id"
)
_END = text(f"update reservations set state = :state, ended_at = :at where {_KEYS}")  # noqa: S608 - a constant
_FORGET = text(
    "delete from reservations where (organization_id, id) in (select organization_id, id from reservations "
    "where state <> 'held' and ended_at < :before limit :most)"
)
_COSTS = text(
    "select s.* from sizes s join unnest(cast(:organizations as text[]), cast(:models as text[]), "
    "cast(:operations as text[])) wanted (organization_id, model, operation) using (organization_id, model, operation)"
)
_OBSERVE = text(
    "insert into sizes (organization_id, model, operation, costs) "
    "values (:organization, :model, :operation, cast(:costs as bigint[])) "
    "on conflict (organization_id, model, operation) do update "
    "set costs = (sizes.costs || excluded.costs)[greatest(1, cardinality(sizes.costs) + cardinality(excluded.costs) "
    "- (:window - 1)) :]"
)


class SqlReservations:
    """Reservations of the organizations that the transaction sees."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, keys: Sequence[ReservationKey], *, lock: bool = False) -> dict[ReservationKey, Reservation]:
        rows = await self._session.execute(_FIND_STATEMENTS[lock], _arrays(keys))
        found = [_reservation(row) for row in rows]
        return {reservation.key: reservation for reservation in found}

    async def add(self, reservations: Sequence[Reservation]) -> None:
        if not reservations:
            return
        try:
            await self._session.execute(insert(_reservations), [_row(reservation) for reservation in reservations])
        except IntegrityError as error:
            if "pk_reservations" in str(error.orig):
                raise Repeated from None
            raise

    async def extend(self, reservations: Sequence[Reservation]) -> None:
        await self._session.execute(
            _EXTEND,
            _arrays([reservation.key for reservation in reservations])
            | {
                "granted": [reservation.granted for reservation in reservations],
                "until": [reservation.lease_until for reservation in reservations],
            },
        )

    async def end(self, keys: Sequence[ReservationKey], state: ReservationState, at: datetime) -> None:
        if keys:
            await self._session.execute(_END, _arrays(keys) | {"state": state.value, "at": at})

    async def take_lapsed(self, at: datetime, limit: int) -> list[Reservation]:
        rows = await self._session.execute(
            select(_reservations)
            .where(_reservations.c.state == ReservationState.HELD.value, _reservations.c.lease_until < at)
            .order_by(_reservations.c.lease_until)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [_reservation(row) for row in rows]

    async def forget(self, before: datetime, limit: int) -> int:
        removed: Any = await self._session.execute(_FORGET, {"before": before, "most": limit})
        return int(removed.rowcount)


class SqlSizes:
    """The latest costs of each kind of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def costs(self, kinds: Sequence[WorkKind]) -> dict[WorkKind, list[int]]:
        wanted = sorted(set(kinds))
        rows = await self._session.execute(
            _COSTS,
            {
                "organizations": [organization for organization, _, _ in wanted],
                "models": [model for _, model, _ in wanted],
                "operations": [operation for _, _, operation in wanted],
            },
        )
        return {(row.organization_id, row.model, row.operation): list(row.costs) for row in rows}

    async def observe(self, costs: Mapping[WorkKind, Sequence[int]]) -> None:
        for (organization_id, model, operation), seen in sorted(costs.items()):
            await self._session.execute(
                _OBSERVE,
                {
                    "organization": organization_id,
                    "model": model,
                    "operation": operation,
                    "costs": list(seen[-WINDOW:]),
                    "window": WINDOW,
                },
            )


def _arrays(keys: Sequence[ReservationKey]) -> dict[str, Any]:
    return {"organizations": [organization for organization, _ in keys], "ids": [one for _, one in keys]}


def _row(reservation: Reservation) -> dict[str, Any]:
    return {
        "organization_id": reservation.organization_id,
        "id": reservation.id,
        "model": reservation.model,
        "operation": reservation.operation,
        "user_id": reservation.user_id,
        "key_id": reservation.key_id,
        "conversation_id": reservation.conversation_id,
        "ticket_id": reservation.ticket_id,
        "turn_id": reservation.turn_id,
        "granted_micros": reservation.granted,
        "budget_ids": [budget_id for budget_id, _ in reservation.holds],
        "period_starts": [start for _, start in reservation.holds],
        "state": reservation.state.value,
        "created_at": reservation.created_at,
        "lease_until": reservation.lease_until,
    }


def _reservation(row: Row[Any]) -> Reservation:
    return Reservation(
        organization_id=row.organization_id,
        id=row.id,
        model=row.model,
        operation=row.operation,
        user_id=row.user_id,
        key_id=row.key_id,
        conversation_id=row.conversation_id,
        ticket_id=row.ticket_id,
        turn_id=row.turn_id,
        granted=row.granted_micros,
        holds=tuple(zip(row.budget_ids, row.period_starts, strict=True)),
        state=ReservationState(row.state),
        created_at=row.created_at,
        lease_until=row.lease_until,
    )

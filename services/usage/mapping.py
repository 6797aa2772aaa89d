"""Protos ↔ domain."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.usage.v1 import (
    budget_pb2,
    budget_service_pb2,
    reservation_service_pb2,
    usage_pb2,
    usage_service_pb2,
)
from services.common.context import Caller, IdempotencyKey
from services.common.errors import InvalidInput
from services.usage.domain import Alert, Entry, Kind, Period, Price, Reservation, Scope
from services.usage.ports import Dimension, EntryFilter, Group, UsageFilter
from services.usage.usecases.budgets import (
    AlertPage,
    BudgetPage,
    ChangeBudget,
    ListAlerts,
    ListBudgets,
    MakeBudget,
    Standing,
)
from services.usage.usecases.ledger import EntryPage, GetUsage, GroupPage, ListEntries
from services.usage.usecases.reservations import Extend, Reserve, Settle, Settled

DEFAULT_SPAN = timedelta(days=30)
_EPOCH = datetime.fromtimestamp(0, UTC)

_SCOPES = {
    budget_pb2.BUDGET_SCOPE_ORGANIZATION: Scope.ORGANIZATION,
    budget_pb2.BUDGET_SCOPE_USER: Scope.USER,
    budget_pb2.BUDGET_SCOPE_KEY: Scope.KEY,
    budget_pb2.BUDGET_SCOPE_MODEL: Scope.MODEL,
    budget_pb2.BUDGET_SCOPE_TICKET: Scope.TICKET,
    budget_pb2.BUDGET_SCOPE_TEAM: Scope.TEAM,
}
_PERIODS = {
    budget_pb2.BUDGET_PERIOD_DAY: Period.DAY,
    budget_pb2.BUDGET_PERIOD_MONTH: Period.MONTH,
    budget_pb2.BUDGET_PERIOD_ALL: Period.ALL,
}
_DIMENSIONS = {
    usage_service_pb2.USAGE_DIMENSION_DAY: Dimension.DAY,
    usage_service_pb2.USAGE_DIMENSION_MODEL: Dimension.MODEL,
    usage_service_pb2.USAGE_DIMENSION_USER: Dimension.USER,
    usage_service_pb2.USAGE_DIMENSION_KEY: Dimension.KEY,
    usage_service_pb2.USAGE_DIMENSION_CONVERSATION: Dimension.CONVERSATION,
    usage_service_pb2.USAGE_DIMENSION_TICKET: Dimension.TICKET,
    usage_service_pb2.USAGE_DIMENSION_STEP: Dimension.STEP,
}
_KINDS = {
    Kind.MEASURED: usage_pb2.USAGE_ENTRY_KIND_MEASURED,
    Kind.ESTIMATED: usage_pb2.USAGE_ENTRY_KIND_ESTIMATED,
    Kind.REVERSED: usage_pb2.USAGE_ENTRY_KIND_REVERSED,
}
_SCOPE_NUMBERS = {scope: number for number, scope in _SCOPES.items()}
_PERIOD_NUMBERS = {period: number for number, period in _PERIODS.items()}


def to_usage(request: usage_service_pb2.GetUsageRequest, caller: Caller, now: datetime) -> GetUsage:
    """A page of groups to add up. Raises InvalidInput when the time ends before it begins."""
    end = _datetime(request.until) if request.HasField("until") else now
    start = _datetime(getattr(request, "from")) if request.HasField("from") else end - DEFAULT_SPAN
    if end < start:
        raise InvalidInput(violations=[("until", "must not lie before from")])
    chosen = UsageFilter(start, end, request.model, request.user_id, request.conversation_id, request.ticket_id)
    dimensions = tuple(_DIMENSIONS[number] for number in request.group_by)
    return GetUsage(caller.organization_id, chosen, dimensions, request.page_size, request.page_token)


def to_list_entries(request: usage_service_pb2.ListUsageEntriesRequest, caller: Caller) -> ListEntries:
    """A page of lines to list."""
    chosen = EntryFilter(request.turn_id, request.conversation_id, request.ticket_id)
    return ListEntries(caller.organization_id, chosen, request.page_size, request.page_token)


def to_entries(organization_id: str, entries: Iterable[usage_pb2.UsageEntry]) -> tuple[Entry, ...]:
    """Measured lines; what the ledger itself sets is left out."""
    return tuple(
        Entry(
            organization_id=organization_id,
            id=one.id,
            occurred_at=_datetime(one.occurred_at),
            step=one.step,
            model=one.model,
            user_id=one.user_id,
            key_id=one.key_id,
            conversation_id=one.conversation_id,
            ticket_id=one.ticket_id,
            turn_id=one.turn_id,
            prompt_tokens=one.prompt_tokens,
            cached_prompt_tokens=one.cached_prompt_tokens,
            completion_tokens=one.completion_tokens,
            elapsed=one.elapsed.ToTimedelta(),
            reservation_id=one.reservation_id,
        )
        for one in entries
    )


def group_page(page: GroupPage, currency: str) -> usage_service_pb2.GetUsageResponse:
    """A page of groups."""
    return usage_service_pb2.GetUsageResponse(
        groups=[_group(one) for one in page.groups], currency=currency, next_page_token=page.next_page_token
    )


def entry_page(page: EntryPage, currency: str) -> usage_service_pb2.ListUsageEntriesResponse:
    """A page of lines."""
    return usage_service_pb2.ListUsageEntriesResponse(
        entries=[_entry(one) for one in page.entries], currency=currency, next_page_token=page.next_page_token
    )


def _group(group: Group) -> usage_pb2.UsageGroup:
    return usage_pb2.UsageGroup(
        keys=group.keys,
        calls=group.calls,
        prompt_tokens=group.prompt_tokens,
        cached_prompt_tokens=group.cached_prompt_tokens,
        completion_tokens=group.completion_tokens,
        elapsed=_duration(group.elapsed),
        cost_micros=group.cost,
    )


def _entry(entry: Entry) -> usage_pb2.UsageEntry:
    return usage_pb2.UsageEntry(
        id=entry.id,
        occurred_at=_timestamp(entry.occurred_at),
        user_id=entry.user_id,
        key_id=entry.key_id,
        conversation_id=entry.conversation_id,
        ticket_id=entry.ticket_id,
        turn_id=entry.turn_id,
        step=entry.step,
        model=entry.model,
        prompt_tokens=entry.prompt_tokens,
        cached_prompt_tokens=entry.cached_prompt_tokens,
        completion_tokens=entry.completion_tokens,
        elapsed=_duration(entry.elapsed),
        reservation_id=entry.reservation_id,
        cost_micros=entry.cost,
        kind=_KINDS[entry.kind],
    )


def to_make(request: budget_service_pb2.CreateBudgetRequest, caller: Caller, key: IdempotencyKey) -> MakeBudget:
    """A budget to make."""
    return MakeBudget(
        caller.organization_id,
        key,
        _SCOPES[request.scope],
        request.subject,
        _PERIODS[request.period],
        request.limit_micros,
        tuple(request.member_ids),
    )


def to_change(request: budget_service_pb2.UpdateBudgetRequest, caller: Caller) -> ChangeBudget:
    """A limit to change."""
    members = tuple(request.member_ids)
    return ChangeBudget(caller.organization_id, request.budget_id, request.etag, request.limit_micros, members)


def to_list_budgets(request: budget_service_pb2.ListBudgetsRequest, caller: Caller) -> ListBudgets:
    """A page of budgets to list."""
    scope = _SCOPES.get(request.scope)
    return ListBudgets(caller.organization_id, scope, request.page_size, request.page_token)


def to_list_alerts(request: budget_service_pb2.ListBudgetAlertsRequest, caller: Caller) -> ListAlerts:
    """A page of alerts to list."""
    return ListAlerts(caller.organization_id, request.budget_id, request.page_size, request.page_token)


def budget(standing: Standing, currency: str) -> budget_pb2.Budget:
    """A budget and where it stands."""
    found = standing.budget
    return budget_pb2.Budget(
        id=found.id,
        scope=_SCOPE_NUMBERS[found.scope],
        subject=found.subject,
        period=_PERIOD_NUMBERS[found.period],
        limit_micros=found.limit,
        spent_micros=standing.account.spent,
        reserved_micros=standing.account.reserved,
        overshoot_bound_micros=standing.overshoot,
        currency=currency,
        period_start=_timestamp(standing.period_start),
        period_end=_timestamp(standing.period_end) if standing.period_end else None,
        etag=found.etag,
        created_at=_timestamp(found.created_at),
        updated_at=_timestamp(found.updated_at),
        member_ids=found.members,
    )


def budget_page(page: BudgetPage, currency: str) -> budget_service_pb2.ListBudgetsResponse:
    """A page of budgets."""
    return budget_service_pb2.ListBudgetsResponse(
        budgets=[budget(one, currency) for one in page.budgets], next_page_token=page.next_page_token
    )


def alert_page(page: AlertPage) -> budget_service_pb2.ListBudgetAlertsResponse:
    """A page of alerts."""
    return budget_service_pb2.ListBudgetAlertsResponse(
        alerts=[alert(one) for one in page.alerts], next_page_token=page.next_page_token
    )


def alert(found: Alert) -> budget_pb2.BudgetAlert:
    """An alert."""
    return budget_pb2.BudgetAlert(
        budget_id=found.budget.id,
        scope=_SCOPE_NUMBERS[found.budget.scope],
        subject=found.budget.subject,
        period_start=_timestamp(found.period_start),
        threshold_percent=found.threshold,
        spent_micros=found.spent,
        limit_micros=found.limit,
        occurred_at=_timestamp(found.occurred_at),
    )


def to_reserve(request: reservation_service_pb2.ReserveRequest, caller: Caller) -> Reserve:
    """Money to hold."""
    return Reserve(
        organization_id=caller.organization_id,
        reservation_id=request.reservation_id,
        model=request.model,
        operation=request.operation,
        user_id=caller.user_id,
        key_id=request.key_id,
        ticket_id=request.ticket_id,
        conversation_id=request.conversation_id,
        turn_id=request.turn_id,
        lease=request.lease.ToTimedelta(),
    )


def to_extend(request: reservation_service_pb2.ExtendReservationRequest, caller: Caller) -> Extend:
    """More money to hold."""
    return Extend(caller.organization_id, request.reservation_id, request.wanted_micros, request.lease.ToTimedelta())


def to_settle(request: reservation_service_pb2.SettleReservationRequest, caller: Caller) -> Settle:
    """The end of the work."""
    return Settle(caller.organization_id, request.reservation_id, to_entries(caller.organization_id, request.entries))


def reserved(reservation: Reservation, price: Price) -> reservation_service_pb2.ReserveResponse:
    """What is held, and what the model costs."""
    return reservation_service_pb2.ReserveResponse(
        granted_micros=reservation.granted,
        limited=reservation.limited,
        price=reservation_service_pb2.ModelPrice(
            prompt_micros_per_million=price.prompt,
            cached_prompt_micros_per_million=price.cached_prompt,
            completion_micros_per_million=price.completion,
            hour_micros=price.hour,
        ),
    )


def settled(result: Settled) -> reservation_service_pb2.SettleReservationResponse:
    """What the work cost."""
    return reservation_service_pb2.SettleReservationResponse(cost_micros=result.cost, settled_at=_timestamp(result.at))


def _datetime(stamp: Timestamp) -> datetime:
    from_epoch = timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    return _EPOCH + from_epoch


def _timestamp(at: datetime) -> Timestamp:
    proto = Timestamp()
    proto.FromDatetime(at)
    return proto


def _duration(length: timedelta) -> Duration:
    proto = Duration()
    proto.FromTimedelta(length)
    return proto

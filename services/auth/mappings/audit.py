"""The audit log between proto and domain."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import audit_event_pb2, audit_service_pb2
from services.auth.audit import AuditEvent, EventType
from services.auth.ports import AuditFilter
from services.auth.usecases.audit import AuditPage
from services.common.context import Caller

_TYPE_TO_PROTO: Mapping[EventType, Any] = {
    kind: audit_event_pb2.AuditEventType.Value(f"AUDIT_EVENT_TYPE_{kind}") for kind in EventType
}
_TYPE_FROM_PROTO = {number: kind for kind, number in _TYPE_TO_PROTO.items()}


def to_filter(request: audit_service_pb2.ListAuditEventsRequest, caller: Caller) -> AuditFilter:
    return AuditFilter(
        organization_id=caller.organization_id,
        types=tuple(_TYPE_FROM_PROTO[number] for number in request.types),
        actor_id=request.actor_id,
        subject_id=request.subject_id,
        since=_moment(request.since) if request.HasField("since") else None,
        until=_moment(request.until) if request.HasField("until") else None,
    )


def list_response(page: AuditPage) -> audit_service_pb2.ListAuditEventsResponse:
    return audit_service_pb2.ListAuditEventsResponse(
        events=[event(entry) for entry in page.events], next_page_token=page.next_page_token
    )


def event(entry: AuditEvent) -> audit_event_pb2.AuditEvent:
    occurred = Timestamp()
    occurred.FromDatetime(entry.occurred_at)
    return audit_event_pb2.AuditEvent(
        id=entry.id,
        type=_TYPE_TO_PROTO[entry.type],
        occurred_at=occurred,
        actor_id=entry.actor_id,
        workload=entry.workload,
        subject_id=entry.subject_id,
        source=entry.source,
        trace_id=entry.trace_id,
        details=entry.details,
    )


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)

"""Reading the audit log."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import audit_service_pb2 as audit
from deskmesh.auth.v1 import audit_service_pb2_grpc
from services.auth.mappings import audit as mapping
from services.auth.usecases.audit import Audit
from services.common.context import caller

Context = grpc.aio.ServicerContext[Any, Any]


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """What happened in the caller's organization."""

    def __init__(self, events: Audit) -> None:
        self._events = events

    async def ListAuditEvents(
        self, request: audit.ListAuditEventsRequest, context: Context
    ) -> audit.ListAuditEventsResponse:
        chosen = mapping.to_filter(request, caller())
        return mapping.list_response(await self._events.list(chosen, request.page_size, request.page_token))

"""Tickets of the tickets service."""

from datetime import UTC, datetime

import grpc.aio

from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2, ticket_service_pb2_grpc
from services.orchestrator.adapters.remote import translated
from services.orchestrator.errors import DependencyUnavailable
from services.orchestrator.ports import OpenedTicket

CALL_SECONDS = 5.0
SUBJECT_LENGTH = 200
DESCRIPTION_BYTES = 32 * 1024
_UNSOLVED = (
    ticket_pb2.TICKET_STATUS_NEW,
    ticket_pb2.TICKET_STATUS_OPEN,
    ticket_pb2.TICKET_STATUS_PENDING,
    ticket_pb2.TICKET_STATUS_ON_HOLD,
)


class TicketsClient:
    """Calls act for the person in the calling context."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ticket_service_pb2_grpc.TicketServiceStub(channel)

    async def open(
        self, request_id: str, conversation_id: str, subject: str, description: str, *, handoff: bool
    ) -> OpenedTicket:
        request = ticket_service_pb2.CreateTicketRequest(
            request_id=request_id,
            subject=subject[:SUBJECT_LENGTH],
            description=description.encode()[:DESCRIPTION_BYTES].decode(errors="ignore"),
            conversation_id=conversation_id,
            kind=ticket_pb2.TICKET_KIND_HANDOFF if handoff else ticket_pb2.TICKET_KIND_REQUEST,
        )
        with translated():
            ticket = (await self._stub.CreateTicket(request, timeout=CALL_SECONDS)).ticket
        return OpenedTicket(ticket.id, ticket.number, ticket.subject)

    async def due(self, conversation_id: str) -> datetime | None:
        request = ticket_service_pb2.ListTicketsRequest(
            conversation_id=conversation_id,
            statuses=_UNSOLVED,
            order=ticket_service_pb2.TICKET_ORDER_DUE_ASC,
            page_size=1,
        )
        try:
            found = (await self._stub.ListTickets(request, timeout=CALL_SECONDS)).tickets
        except grpc.aio.AioRpcError as error:
            # Whatever it is, such as a key that may not read tickets: a turn goes on without knowing.
            raise DependencyUnavailable from error
        return found[0].due_at.ToDatetime(UTC) if found and found[0].HasField("due_at") else None

"""Tickets of the tickets service."""

import grpc.aio

from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2, ticket_service_pb2_grpc
from services.orchestrator.adapters.remote import translated
from services.orchestrator.ports import OpenedTicket

CALL_SECONDS = 5.0
SUBJECT_LENGTH = 200
DESCRIPTION_BYTES = 32 * 1024


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

"""Tickets, in place of the tickets service."""

from typing import Any

from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2, ticket_service_pb2_grpc
from services.common.context import caller
from tests.integration.orchestrator.neighbours.faults import Faults


class TicketsDouble(ticket_service_pb2_grpc.TicketServiceServicer):
    """Tickets in memory."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.tickets: dict[str, ticket_pb2.Ticket] = {}

    async def CreateTicket(self, request: Any, context: Any) -> Any:
        await self.faults.meet("CreateTicket")
        if request.request_id not in self.tickets:
            number = len(self.tickets) + 1
            self.tickets[request.request_id] = ticket_pb2.Ticket(
                id=f"tkt_{number}",
                number=number,
                subject=request.subject,
                description=request.description,
                requester_id=caller().user_id,
                conversation_id=request.conversation_id,
                kind=request.kind,
                status=ticket_pb2.TICKET_STATUS_NEW,
            )
        return ticket_service_pb2.CreateTicketResponse(ticket=self.tickets[request.request_id])

    async def ListTickets(self, request: Any, context: Any) -> Any:
        await self.faults.meet("ListTickets")
        assert request.order == ticket_service_pb2.TICKET_ORDER_DUE_ASC
        found = [
            ticket
            for ticket in self.tickets.values()
            if ticket.conversation_id == request.conversation_id and ticket.status in request.statuses
        ]
        found.sort(key=lambda ticket: ticket.due_at.ToNanoseconds() if ticket.HasField("due_at") else 2**63)
        return ticket_service_pb2.ListTicketsResponse(tickets=found[: request.page_size])

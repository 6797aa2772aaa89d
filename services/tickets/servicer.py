"""TicketService on the wire."""

from typing import Any

import grpc.aio

from deskmesh.tickets.v1 import ticket_service_pb2 as pb
from deskmesh.tickets.v1 import ticket_service_pb2_grpc
from services.common.context import caller, idempotency
from services.tickets import mapping
from services.tickets.usecases.comments import Correspondence
from services.tickets.usecases.tickets import TicketDesk

Context = grpc.aio.ServicerContext[Any, Any]


class TicketServicer(ticket_service_pb2_grpc.TicketServiceServicer):
    """Maps requests to use cases; errors are left to the interceptors."""

    def __init__(self, desk: TicketDesk, correspondence: Correspondence) -> None:
        self._desk = desk
        self._correspondence = correspondence

    async def CreateTicket(self, request: pb.CreateTicketRequest, context: Context) -> pb.CreateTicketResponse:
        """Open a ticket."""
        command = mapping.to_open(request, caller(), idempotency())
        return pb.CreateTicketResponse(ticket=mapping.ticket(await self._desk.open(command)))

    async def GetTicket(self, request: pb.GetTicketRequest, context: Context) -> pb.GetTicketResponse:
        """Read one ticket."""
        ticket = await self._desk.get(mapping.reader(caller()), request.ticket_id)
        return pb.GetTicketResponse(ticket=mapping.ticket(ticket))

    async def ListTickets(self, request: pb.ListTicketsRequest, context: Context) -> pb.ListTicketsResponse:
        """List a page of tickets."""
        query = mapping.to_list(request, caller())
        return mapping.ticket_page(await self._desk.list(query))

    async def UpdateTicket(self, request: pb.UpdateTicketRequest, context: Context) -> pb.UpdateTicketResponse:
        """Change the fields that the mask names."""
        command = mapping.to_change(request, caller())
        return pb.UpdateTicketResponse(ticket=mapping.ticket(await self._desk.change(command)))

    async def AddComment(self, request: pb.AddCommentRequest, context: Context) -> pb.AddCommentResponse:
        """Write a comment."""
        command = mapping.to_comment(request, caller(), idempotency())
        comment, ticket = await self._correspondence.add(command)
        return pb.AddCommentResponse(comment=mapping.comment(comment), ticket=mapping.ticket(ticket))

    async def ListComments(self, request: pb.ListCommentsRequest, context: Context) -> pb.ListCommentsResponse:
        """List a page of comments."""
        query = mapping.to_page(request, caller())
        return mapping.comment_page(await self._correspondence.list(query))

    async def ListTicketEvents(
        self, request: pb.ListTicketEventsRequest, context: Context
    ) -> pb.ListTicketEventsResponse:
        """List a page of history."""
        query = mapping.to_page(request, caller())
        return mapping.event_page(await self._correspondence.list_events(query))

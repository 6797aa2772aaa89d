"""People at the edge of the running tickets service."""

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2_grpc
from deskmesh.tickets.v1 import ticket_service_pb2 as pb
from services.common.ids import new_id
from tests.integration.tickets.neighbours import Auth, Sessions
from tests.support.server import Headers, RunningService

if TYPE_CHECKING:
    from deskmesh.tickets.v1.ticket_service_pb2_grpc import TicketServiceAsyncStub


def due_text(ticket: ticket_pb2.Ticket) -> str:
    """The due time as the history writes it."""
    return ticket.due_at.ToDatetime(UTC).isoformat().replace("+00:00", "Z") if ticket.HasField("due_at") else ""


@dataclass
class Client:
    """One signed-in person at the edge."""

    service: RunningService
    organization_id: str
    user_id: str
    headers: Headers

    @property
    def stub(self) -> "TicketServiceAsyncStub":
        return ticket_service_pb2_grpc.TicketServiceStub(self.service.channel("edge"))

    async def create(self, *, request_id: str = "", **values: object) -> ticket_pb2.Ticket:
        fields = {"subject": "The tent leaks"} | values
        request = pb.CreateTicketRequest(request_id=request_id or new_id("req"), **fields)  # type: ignore[arg-type]
        return (await self.stub.CreateTicket(request, metadata=self.headers)).ticket

    async def get(self, ticket_id: str) -> ticket_pb2.Ticket:
        return (await self.stub.GetTicket(pb.GetTicketRequest(ticket_id=ticket_id), metadata=self.headers)).ticket

    async def list(self, **values: object) -> pb.ListTicketsResponse:
        return await self.stub.ListTickets(pb.ListTicketsRequest(**values), metadata=self.headers)  # type: ignore[arg-type]

    async def update(self, ticket: ticket_pb2.Ticket, **values: object) -> ticket_pb2.Ticket:
        """Change the fields that are given, as of the ticket's etag."""
        request = pb.UpdateTicketRequest(ticket_id=ticket.id, etag=ticket.etag, **values)  # type: ignore[arg-type]
        request.update_mask.paths.extend(values)
        return (await self.stub.UpdateTicket(request, metadata=self.headers)).ticket

    async def comment(
        self,
        ticket_id: str,
        text: str = "Hello",
        *,
        visibility: "ticket_pb2.CommentVisibility" = ticket_pb2.COMMENT_VISIBILITY_PUBLIC,
        request_id: str = "",
    ) -> pb.AddCommentResponse:
        request = pb.AddCommentRequest(
            request_id=request_id or new_id("req"), ticket_id=ticket_id, text=text, visibility=visibility
        )
        return await self.stub.AddComment(request, metadata=self.headers)

    async def comments(self, ticket_id: str, **values: object) -> pb.ListCommentsResponse:
        request = pb.ListCommentsRequest(ticket_id=ticket_id, **values)  # type: ignore[arg-type]
        return await self.stub.ListComments(request, metadata=self.headers)

    async def events(self, ticket_id: str, **values: object) -> pb.ListTicketEventsResponse:
        request = pb.ListTicketEventsRequest(ticket_id=ticket_id, **values)  # type: ignore[arg-type]
        return await self.stub.ListTicketEvents(request, metadata=self.headers)


@dataclass
class Desk:
    """The running service, its neighbours, and the people of an organization that this test alone uses."""

    service: RunningService
    sessions: Sessions
    auth: Auth
    organization_id: str

    def person(self, *roles: str, organization_id: str = "", user_id: str = "") -> Client:
        """A member with these roles; of this test's organization unless told."""
        organization_id = organization_id or self.organization_id
        user_id = user_id or new_id("usr")
        self.auth.roles[(organization_id, user_id)] = roles
        headers = self.service.person(organization_id, user_id, *roles)
        return Client(self.service, organization_id, user_id, headers)

    def conversation_of(self, customer: Client) -> str:
        """A conversation of the customer."""
        conversation_id = new_id("cnv")
        self.sessions.customers[(customer.organization_id, conversation_id)] = customer.user_id
        return conversation_id

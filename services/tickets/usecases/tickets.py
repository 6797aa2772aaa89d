"""Opening, reading, listing and changing tickets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from services.common import pagination
from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.errors import InvalidInput
from services.common.ids import new_id
from services.common.permissions import CUSTOMER, ROLES
from services.tickets.domain import Changes, Kind, Person, Priority, Terms, Ticket, must_be_allowed_to_open
from services.tickets.errors import AssigneeNotAgent, RequesterNotFound
from services.tickets.ports import Conversations, Members, Order, TicketFilter, UnitOfWorkFactory
from services.tickets.usecases.linking import Linker, link_of
from services.tickets.usecases.paging import cut, page_size, position, position_token

STAFF_ROLES = frozenset(ROLES) - {CUSTOMER}
# The call that opens a ticket tries to link it itself; the background takes over if that call never ends.
FIRST_LINK_GRACE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class OpenTicket:
    """A new ticket; an empty `requester_id` means the acting person."""

    by: Person
    key: IdempotencyKey
    subject: str
    description: str
    priority: Priority
    kind: Kind
    conversation_id: str
    requester_id: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangeTicket:
    """Changes to a ticket that was read as `etag`."""

    by: Person
    ticket_id: str
    etag: str
    changes: Changes


@dataclass(frozen=True, slots=True)
class ListTickets:
    """A page of tickets."""

    by: Person
    chosen: TicketFilter
    order: Order
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class TicketPage:
    """Tickets, and the token of what follows; empty at the end."""

    tickets: Sequence[Ticket]
    next_page_token: str


class TicketDesk:
    """The tickets' use cases."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        conversations: Conversations,
        members: Members,
        linker: Linker,
        clock: Clock,
        terms: Terms,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._conversations = conversations
        self._members = members
        self._linker = linker
        self._clock = clock
        self._terms = terms

    async def open(self, command: OpenTicket) -> Ticket:
        """Open a ticket; the same request_id gives the same ticket.

        Raises ConversationNotFound, RequesterNotFound, RequestIdReused, and InvalidInput for what customers may not do.
        """
        by = command.by
        requester_id = command.requester_id or by.user_id
        must_be_allowed_to_open(by, requester_id=requester_id, priority=command.priority)
        if opened := await self._opened_before(command):
            return opened
        await self._check_requester(by, requester_id)
        await self._check_conversation(command.conversation_id, requester_id)
        ticket_id = new_id("tkt")
        async with self._unit_of_work(by.organization_id) as work:
            if made_before := await work.requests.claim(command.key, ticket_id):
                return await work.tickets.get(made_before)
            now = self._clock()
            ticket = Ticket.opened(
                ticket_id=ticket_id,
                number=await work.tickets.next_number(),
                by=by,
                at=now,
                requester_id=requester_id,
                subject=command.subject,
                description=command.description,
                priority=command.priority,
                kind=command.kind,
                conversation_id=command.conversation_id,
                tags=command.tags,
                terms=self._terms,
            )
            await work.tickets.add(ticket)
            if ticket.conversation_id:
                await work.links.add(ticket, now + FIRST_LINK_GRACE)
            await work.outbox.ticket_created(ticket)
            await work.commit()
        if ticket.conversation_id:
            await self._linker.link(link_of(ticket))
        return ticket

    async def get(self, by: Person, ticket_id: str) -> Ticket:
        """One ticket. Raises TicketNotFound."""
        async with self._unit_of_work(by.organization_id) as work:
            ticket = await work.tickets.get(ticket_id)
        ticket.must_be_known_to(by)
        return ticket

    async def change(self, command: ChangeTicket) -> Ticket:
        """Change a ticket that is still as it was read.

        Raises TicketNotFound, StaleEtag, TransitionNotAllowed, TicketClosed, AssigneeNotAgent, and InvalidInput for
        what customers may not do.
        """
        by = command.by
        ticket = await self.get(by, command.ticket_id)
        ticket.must_match(command.etag)
        assignee_before = ticket.content.assignee_id
        ticket.change(command.changes, by=by, at=self._clock(), terms=self._terms)
        if not ticket.events:
            return ticket
        if ticket.content.assignee_id not in ("", assignee_before):
            await self._check_assignee(ticket.content.assignee_id)
        # No lock was held since the ticket was read: saving finds out whether it is still the same.
        async with self._unit_of_work(by.organization_id) as work:
            await work.tickets.save(ticket)
            await work.outbox.ticket_updated(ticket)
            await work.commit()
        return ticket

    async def list(self, query: ListTickets) -> TicketPage:
        """A page of tickets; a customer's own. Raises InvalidPageToken."""
        by, chosen = query.by, query.chosen
        filters = _token_filters(query)
        after = position(query.page_token, filters)
        if not by.is_agent:
            if chosen.requester_id not in (None, by.user_id):
                return TicketPage([], "")
            chosen = replace(chosen, requester_id=by.user_id)
        size = page_size(query.page_size)
        async with self._unit_of_work(by.organization_id) as work:
            found = await work.tickets.page(chosen, query.order, after, size + 1)
        tickets, more = cut(found, size, lambda ticket: len(ticket.content.description.encode()))
        return TicketPage(tickets, position_token(tickets[-1], filters) if more else "")

    async def _opened_before(self, command: OpenTicket) -> Ticket | None:
        """What the request_id made already, so that a repeat depends on no other service."""
        if not command.conversation_id and not command.requester_id:
            return None
        async with self._unit_of_work(command.by.organization_id) as work:
            made_before = await work.requests.claim(command.key, "")
            return await work.tickets.get(made_before) if made_before else None

    async def _check_requester(self, by: Person, requester_id: str) -> None:
        if requester_id != by.user_id and not await self._members.roles_of(requester_id):
            raise RequesterNotFound(resource_name=requester_id)

    async def _check_conversation(self, conversation_id: str, requester_id: str) -> None:
        # The conversation shows its customer every ticket that is linked to it.
        if conversation_id and await self._conversations.customer_of(conversation_id) != requester_id:
            raise InvalidInput(
                violations=[("conversation_id", "is a conversation of somebody else than the requester")]
            )

    async def _check_assignee(self, user_id: str) -> None:
        if not STAFF_ROLES & await self._members.roles_of(user_id):
            raise AssigneeNotAgent


def _token_filters(query: ListTickets) -> pagination.Filters:
    chosen = query.chosen
    # Named only when it is asked for: tokens of the version before go on being good.
    due = {"due_before": chosen.due_before.isoformat()} if chosen.due_before else {}
    return {
        "organization": query.by.organization_id,
        "only": "" if query.by.is_agent else query.by.user_id,
        "statuses": [*sorted(chosen.statuses)],
        "priorities": [*sorted(chosen.priorities)],
        "assignee": chosen.assignee_id,
        "requester": chosen.requester_id,
        "conversation": chosen.conversation_id,
        "tags": [*sorted(chosen.tags)],
        "order": query.order,
        **due,
    }

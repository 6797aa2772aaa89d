"""Protos ↔ domain."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.tickets.v1 import ticket_pb2, ticket_service_pb2
from services.common.context import Caller, IdempotencyKey
from services.common.errors import InvalidInput, Violation
from services.tickets.domain import (
    Changes,
    Comment,
    CommentAdded,
    Due,
    Event,
    FieldChanged,
    Kind,
    Opened,
    Person,
    Priority,
    Status,
    Ticket,
    Visibility,
)
from services.tickets.ports import Order, TicketFilter
from services.tickets.usecases.comments import AddComment, CommentPage, EventPage, OfTicket
from services.tickets.usecases.tickets import ChangeTicket, ListTickets, OpenTicket, TicketPage

# What the filter for tickets that nobody has says.
NOBODY = "none"

_STATUSES = {
    ticket_pb2.TICKET_STATUS_NEW: Status.NEW,
    ticket_pb2.TICKET_STATUS_OPEN: Status.OPEN,
    ticket_pb2.TICKET_STATUS_PENDING: Status.PENDING,
    ticket_pb2.TICKET_STATUS_ON_HOLD: Status.ON_HOLD,
    ticket_pb2.TICKET_STATUS_SOLVED: Status.SOLVED,
    ticket_pb2.TICKET_STATUS_CLOSED: Status.CLOSED,
}
_PRIORITIES = {
    ticket_pb2.TICKET_PRIORITY_LOW: Priority.LOW,
    ticket_pb2.TICKET_PRIORITY_NORMAL: Priority.NORMAL,
    ticket_pb2.TICKET_PRIORITY_HIGH: Priority.HIGH,
    ticket_pb2.TICKET_PRIORITY_URGENT: Priority.URGENT,
}
_KINDS = {
    ticket_pb2.TICKET_KIND_REQUEST: Kind.REQUEST,
    ticket_pb2.TICKET_KIND_HANDOFF: Kind.HANDOFF,
}
_VISIBILITIES = {
    ticket_pb2.COMMENT_VISIBILITY_PUBLIC: Visibility.PUBLIC,
    ticket_pb2.COMMENT_VISIBILITY_INTERNAL: Visibility.INTERNAL,
}
_ORDERS = {
    ticket_service_pb2.TICKET_ORDER_UPDATED_DESC: Order.UPDATED_DESC,
    ticket_service_pb2.TICKET_ORDER_CREATED_DESC: Order.CREATED_DESC,
    ticket_service_pb2.TICKET_ORDER_CREATED_ASC: Order.CREATED_ASC,
    ticket_service_pb2.TICKET_ORDER_PRIORITY_DESC: Order.PRIORITY_DESC,
    ticket_service_pb2.TICKET_ORDER_DUE_ASC: Order.DUE_ASC,
}

_STATUS_NUMBERS = {status: number for number, status in _STATUSES.items()}
_PRIORITY_NUMBERS = {priority: number for number, priority in _PRIORITIES.items()}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_VISIBILITY_NUMBERS = {visibility: number for number, visibility in _VISIBILITIES.items()}


def to_open(request: ticket_service_pb2.CreateTicketRequest, caller: Caller, key: IdempotencyKey) -> OpenTicket:
    """A ticket to open."""
    return OpenTicket(
        by=_person(caller, "tickets.create"),
        key=key,
        subject=request.subject,
        description=request.description,
        priority=_PRIORITIES.get(request.priority, Priority.NORMAL),
        kind=_KINDS.get(request.kind, Kind.REQUEST),
        conversation_id=request.conversation_id,
        requester_id=request.requester_id,
        tags=tuple(request.tags),
    )


def to_list(request: ticket_service_pb2.ListTicketsRequest, caller: Caller) -> ListTickets:
    """A page of tickets to list. Raises InvalidInput."""
    chosen = TicketFilter(
        statuses=tuple(_STATUSES[number] for number in request.statuses),
        priorities=tuple(_PRIORITIES[number] for number in request.priorities),
        assignee_id="" if request.assignee_id == NOBODY else request.assignee_id or None,
        requester_id=request.requester_id or None,
        conversation_id=request.conversation_id or None,
        tags=tuple(request.tags),
        due_before=_moment(request.due_before, "due_before") if request.HasField("due_before") else None,
    )
    return ListTickets(
        by=reader(caller),
        chosen=chosen,
        order=_ORDERS.get(request.order, Order.UPDATED_DESC),
        page_size=request.page_size,
        page_token=request.page_token,
    )


def to_change(request: ticket_service_pb2.UpdateTicketRequest, caller: Caller) -> ChangeTicket:
    """Changes of the fields that the mask names. Raises InvalidInput for one that must not be empty and is."""
    named = frozenset(request.update_mask.paths)
    violations: list[Violation] = []
    if "subject" in named and not request.subject.strip():
        violations.append(("subject", "must hold more than white space when update_mask names it"))
    if "status" in named and request.status not in _STATUSES:
        violations.append(("status", "must be given when update_mask names it"))
    if "priority" in named and request.priority not in _PRIORITIES:
        violations.append(("priority", "must be given when update_mask names it"))
    if violations:
        raise InvalidInput(violations=violations)
    changes = Changes(
        subject=request.subject if "subject" in named else None,
        description=request.description if "description" in named else None,
        status=_STATUSES[request.status] if "status" in named else None,
        priority=_PRIORITIES[request.priority] if "priority" in named else None,
        assignee_id=request.assignee_id if "assignee_id" in named else None,
        tags=tuple(request.tags) if "tags" in named else None,
        due=_due(request) if "due_at" in named else None,
    )
    return ChangeTicket(_person(caller, "tickets.update"), request.ticket_id, request.etag, changes)


def to_comment(request: ticket_service_pb2.AddCommentRequest, caller: Caller, key: IdempotencyKey) -> AddComment:
    """A comment to write."""
    visibility = _VISIBILITIES[request.visibility]
    return AddComment(_person(caller, "tickets.comment"), key, request.ticket_id, request.text, visibility)


def to_page(
    request: ticket_service_pb2.ListCommentsRequest | ticket_service_pb2.ListTicketEventsRequest, caller: Caller
) -> OfTicket:
    """A page of a ticket's comments or history to list."""
    return OfTicket(reader(caller), request.ticket_id, request.page_size, request.page_token)


def reader(caller: Caller) -> Person:
    """Who reads tickets."""
    return _person(caller, "tickets.read")


def ticket_page(page: TicketPage) -> ticket_service_pb2.ListTicketsResponse:
    """A page of tickets."""
    return ticket_service_pb2.ListTicketsResponse(
        tickets=[ticket(each) for each in page.tickets], next_page_token=page.next_page_token
    )


def comment_page(page: CommentPage) -> ticket_service_pb2.ListCommentsResponse:
    """A page of comments."""
    return ticket_service_pb2.ListCommentsResponse(
        comments=[comment(each) for each in page.comments], next_page_token=page.next_page_token
    )


def event_page(page: EventPage) -> ticket_service_pb2.ListTicketEventsResponse:
    """A page of history."""
    return ticket_service_pb2.ListTicketEventsResponse(
        events=[event(each) for each in page.events], next_page_token=page.next_page_token
    )


def ticket(found: Ticket) -> ticket_pb2.Ticket:
    """A ticket."""
    content = found.content
    return ticket_pb2.Ticket(
        id=found.id,
        number=found.number,
        subject=content.subject,
        description=content.description,
        status=_STATUS_NUMBERS[content.status],
        priority=_PRIORITY_NUMBERS[content.priority],
        requester_id=found.requester_id,
        assignee_id=content.assignee_id,
        conversation_id=found.conversation_id,
        kind=_KIND_NUMBERS[found.kind],
        tags=content.tags,
        etag=found.etag,
        created_at=_timestamp(found.created_at),
        updated_at=_timestamp(found.updated_at),
        solved_at=_timestamp(found.solved_at),
        closed_at=_timestamp(found.closed_at),
        due_at=_timestamp(content.due_at),
    )


def comment(found: Comment) -> ticket_pb2.Comment:
    """A comment."""
    return ticket_pb2.Comment(
        id=found.id,
        ticket_id=found.ticket_id,
        author_id=found.author_id,
        text=found.text,
        visibility=_VISIBILITY_NUMBERS[found.visibility],
        created_at=_timestamp(found.created_at),
    )


def event(found: Event) -> ticket_pb2.TicketEvent:
    """An event of a ticket's history."""
    proto = ticket_pb2.TicketEvent(
        sequence=found.sequence, actor_id=found.actor_id, occurred_at=_timestamp(found.occurred_at)
    )
    match found.happening:
        case Opened(status, priority):
            proto.opened.status = _STATUS_NUMBERS[status]
            proto.opened.priority = _PRIORITY_NUMBERS[priority]
        case FieldChanged(name, before, after):
            proto.field_changed.field = name
            proto.field_changed.before = _field_text(name, before)
            proto.field_changed.after = _field_text(name, after)
        case CommentAdded(comment_id, visibility):
            proto.comment_added.comment_id = comment_id
            proto.comment_added.visibility = _VISIBILITY_NUMBERS[visibility]
    return proto


def _field_text(name: str, text: str) -> str:
    return f"TICKET_{name.upper()}_{text.upper()}" if name in ("status", "priority") else text


def _person(caller: Caller, permission: str) -> Person:
    return Person(caller.organization_id, caller.user_id, is_agent=caller.may(permission))


def _due(request: ticket_service_pb2.UpdateTicketRequest) -> Due:
    return Due(_moment(request.due_at, "due_at") if request.HasField("due_at") else None)


def _moment(timestamp: Timestamp, field: str) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except ValueError:
        raise InvalidInput(violations=[(field, "is no time that there is")]) from None


def _timestamp(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    proto = Timestamp()
    proto.FromDatetime(at)
    return proto

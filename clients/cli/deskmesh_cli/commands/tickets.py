"""`deskmesh tickets`: what customers are owed an answer on, and until when."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.markup import escape

from deskmesh.tickets.v1 import ticket_pb2
from deskmesh.tickets.v1 import ticket_service_pb2 as pb
from deskmesh_cli.commands.acting import AGENT, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person
from deskmesh_cli.console import fail, out
from deskmesh_cli.records import ask, table, when, word
from deskmesh_client import Client

app = typer.Typer(help="Tickets, and when they are due.", no_args_is_help=True)

STATUSES = ("new", "open", "pending", "on_hold", "solved", "closed")
UNSOLVED = STATUSES[:4]
PRIORITIES = ("low", "normal", "high", "urgent")
ORDERS = {
    "due": pb.TICKET_ORDER_DUE_ASC,
    "updated": pb.TICKET_ORDER_UPDATED_DESC,
    "newest": pb.TICKET_ORDER_CREATED_DESC,
    "oldest": pb.TICKET_ORDER_CREATED_ASC,
    "priority": pb.TICKET_ORDER_PRIORITY_DESC,
}
PAGE_SIZE = 200
NONE = "none"
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_RELATIVE = re.compile(r"\+(\d{1,5})([mhd])")

TicketId = Annotated[str, typer.Argument(help="Identifier of the ticket.")]


@app.command("list")
@acting
def list_tickets(
    status: Annotated[
        list[str], typer.Option(help=f"Only these: {', '.join(STATUSES)}; repeat. Those before solved unless said.")
    ] = [],  # noqa: B006 - typer copies it
    priority: Annotated[list[str], typer.Option(help=f"Only these: {', '.join(PRIORITIES)}; repeat.")] = [],  # noqa: B006
    assignee: Annotated[str, typer.Option(help=f"Only of this agent; `{NONE}` for those nobody has.")] = "",
    order: Annotated[str, typer.Option(help=f"What comes first: {', '.join(ORDERS)}.")] = "due",
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those that should have been solved by now.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most that are shown.")] = 50,
    person: Person = AGENT,
    as_json: Json = False,
) -> None:
    """Show tickets, those that are due first unless told."""
    if order not in ORDERS:
        raise fail("There is no such order.", f"Say one of {', '.join(ORDERS)}.")
    now = datetime.now(UTC)
    request = pb.ListTicketsRequest(
        statuses=[_status(name) for name in status or UNSOLVED],
        priorities=[_priority(name) for name in priority],
        assignee_id=assignee,
        order=ORDERS[order],
        due_before=_timestamp(now) if overdue else None,
    )
    ask(person, lambda client: _found(client, request, limit), lambda answer: _show(answer.tickets), as_json=as_json)


@app.command("show")
@acting
def show(ticket_id: TicketId, person: Person = AGENT, as_json: Json = False) -> None:
    """Show one ticket whole."""
    request = pb.GetTicketRequest(ticket_id=ticket_id)
    ask(person, lambda client: client.tickets.GetTicket(request), _show_whole, as_json=as_json)


@app.command("update")
@acting
def update(
    ticket_id: TicketId,
    status: Annotated[str, typer.Option(help=f"{', '.join(STATUSES)}.")] = "",
    priority: Annotated[str, typer.Option(help=f"{', '.join(PRIORITIES)}.")] = "",
    assignee: Annotated[str, typer.Option(help=f"Identifier of an agent; `{NONE}` takes it away.")] = "",
    due: Annotated[
        str, typer.Option(help=f"When it is due: +4h, +2d, 2026-03-01 or 2026-03-01T14:00; `{NONE}` for no time.")
    ] = "",
    person: Person = AGENT,
    as_json: Json = False,
) -> None:
    """Change a ticket."""
    wanted: dict[str, Any] = {}
    if status:
        wanted["status"] = _status(status)
    if priority:
        wanted["priority"] = _priority(priority)
    if assignee:
        wanted["assignee_id"] = "" if assignee == NONE else assignee
    if due:
        wanted["due_at"] = None if due == NONE else _timestamp(moment(due, datetime.now().astimezone()))
    if not wanted:
        raise fail("What shall change?", "Give --status, --priority, --assignee or --due.")
    ask(person, lambda client: _changed(client, ticket_id, wanted), _show_whole, as_json=as_json)


def moment(text: str, now: datetime) -> datetime:
    """A time as people say it, in the time zone of `now` unless it names one; a day means its end.

    Ends the command at what is none.
    """
    if relative := _RELATIVE.fullmatch(text):
        return now + timedelta(**{_UNITS[relative[2]]: int(relative[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise fail("When is that?", "Say +30m, +4h, +2d, 2026-03-01 or 2026-03-01T14:00.") from None
    if len(text) == len("2026-03-01"):
        found = found.replace(hour=23, minute=59)
    return found if found.tzinfo else found.replace(tzinfo=now.tzinfo)


def due_words(ticket: ticket_pb2.Ticket, now: datetime) -> str:
    """When it is due, for people, and whether that is over."""
    if not ticket.HasField("due_at"):
        return ""
    solved = ticket.status in (ticket_pb2.TICKET_STATUS_SOLVED, ticket_pb2.TICKET_STATUS_CLOSED)
    late = ticket.due_at.ToDatetime(UTC) < now and not solved
    return f"{when(ticket.due_at)}{' overdue' if late else ''}"


async def _found(client: Client, request: pb.ListTicketsRequest, limit: int) -> pb.ListTicketsResponse:
    found = pb.ListTicketsResponse()
    while len(found.tickets) < limit:
        request.page_size = min(PAGE_SIZE, limit - len(found.tickets))
        page = await client.tickets.ListTickets(request)
        found.tickets.extend(page.tickets)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    return found


async def _changed(client: Client, ticket_id: str, wanted: Mapping[str, Any]) -> pb.UpdateTicketResponse:
    ticket = (await client.tickets.GetTicket(pb.GetTicketRequest(ticket_id=ticket_id))).ticket
    request = pb.UpdateTicketRequest(ticket_id=ticket_id, etag=ticket.etag, **wanted)
    request.update_mask.paths.extend(wanted)
    return await client.tickets.UpdateTicket(request)


def _show(tickets: Sequence[ticket_pb2.Ticket]) -> None:
    now = datetime.now(UTC)
    rows = (
        (
            f"#{one.number}",
            one.id,
            _status_word(one),
            _priority_word(one),
            due_words(one, now),
            one.assignee_id or "nobody",
            escape(one.subject),
        )
        for one in tickets
    )
    table(("", "id", "status", "priority", "due", "assignee", "subject"), rows, empty="No such tickets.")


def _show_whole(answer: Any) -> None:
    ticket = answer.ticket
    facts = {
        "id": ticket.id,
        "status": _status_word(ticket),
        "priority": _priority_word(ticket),
        "due": due_words(ticket, datetime.now(UTC)) or "no time",
        "assignee": ticket.assignee_id or "nobody",
        "customer": ticket.requester_id,
        "conversation": ticket.conversation_id or "none",
        "tags": escape(", ".join(ticket.tags)),
        "opened": when(ticket.created_at),
        "changed": when(ticket.updated_at),
        "solved": when(ticket.solved_at),
        "closed": when(ticket.closed_at),
    }
    out.print(f"#{ticket.number} {ticket.subject}", markup=False)
    table(("", ""), ((name, value) for name, value in facts.items() if value), empty="")
    if ticket.description:
        out.print(f"\n{ticket.description}", markup=False)


def _status_word(ticket: ticket_pb2.Ticket) -> str:
    return word(ticket_pb2.TicketStatus.Name(ticket.status), "TICKET_STATUS_")


def _priority_word(ticket: ticket_pb2.Ticket) -> str:
    return word(ticket_pb2.TicketPriority.Name(ticket.priority), "TICKET_PRIORITY_")


def _status(name: str) -> Any:
    if name not in STATUSES:
        raise fail("There is no such status.", f"Say one of {', '.join(STATUSES)}.")
    return ticket_pb2.TicketStatus.Value(f"TICKET_STATUS_{name.upper()}")


def _priority(name: str) -> Any:
    if name not in PRIORITIES:
        raise fail("There is no such priority.", f"Say one of {', '.join(PRIORITIES)}.")
    return ticket_pb2.TicketPriority.Value(f"TICKET_PRIORITY_{name.upper()}")


def _timestamp(at: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(at)
    return found

"""Page tokens of the lists, and how much goes onto a page."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from services.common import pagination
from services.tickets.domain import Person, Priority, Ticket
from services.tickets.ports import Position

DEFAULT_PAGE_SIZE = 50
# Pages of long texts end early, so that an answer stays well below what gRPC clients accept.
MAXIMUM_PAGE_BYTES = 1024 * 1024

_LARGEST = 2**63 - 1

T = TypeVar("T")


def page_size(wanted: int) -> int:
    """The rows of a page; 0 asks for the default."""
    return wanted or DEFAULT_PAGE_SIZE


def cut(rows: Sequence[T], size: int, weigh: Callable[[T], int]) -> tuple[list[T], bool]:
    """The rows that go onto a page, and whether others follow. `rows` has one more than `size` if there are more."""
    page: list[T] = []
    weight = 0
    for row in rows[:size]:
        weight += weigh(row)
        if page and weight > MAXIMUM_PAGE_BYTES:
            break
        page.append(row)
    return page, len(page) < len(rows)


def position_token(ticket: Ticket, filters: pagination.Filters) -> str:
    """A token for what follows a ticket."""
    content = ticket.content
    cursor: pagination.Cursor = {
        "n": ticket.number,
        "u": ticket.updated_at.isoformat(),
        "p": int(content.priority),
        "d": content.due_at.isoformat() if content.due_at else "",
    }
    return pagination.encode(cursor, filters)


def position(token: str, filters: pagination.Filters) -> Position | None:
    """Where a page of tickets begins; None for the first. Raises InvalidPageToken."""
    if not token:
        return None
    cursor = pagination.decode(token, filters)
    try:
        priority = Priority(_number(cursor, "p"))
        # A token of the version before says nothing of due times.
        due_at = _moment(cursor, "d") if cursor.get("d") else None
        return Position(_number(cursor, "n"), _moment(cursor, "u"), priority, due_at)
    except (KeyError, ValueError):
        raise pagination.InvalidPageToken from None


def sequence_filters(name: str, ticket_id: str, person: Person) -> pagination.Filters:
    """What a token of a ticket's comments or events is bound to."""
    return {"list": name, "ticket": ticket_id, "agent": person.is_agent, "organization": person.organization_id}


def sequence_token(sequence: int, filters: pagination.Filters) -> str:
    """A token for what follows a place in a ticket's history."""
    return pagination.encode({"s": sequence}, filters)


def sequence(token: str, filters: pagination.Filters) -> int:
    """The place after which a page begins; 0 for the first. Raises InvalidPageToken."""
    return _number(pagination.decode(token, filters), "s") if token else 0


def _moment(cursor: pagination.Cursor, name: str) -> datetime:
    at = datetime.fromisoformat(str(cursor[name]))
    if at.tzinfo is None:
        raise pagination.InvalidPageToken
    return at


def _number(cursor: pagination.Cursor, name: str) -> int:
    value = cursor.get(name)
    # A token is not signed: whoever forges one must not get further than an error.
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise pagination.InvalidPageToken
    return value

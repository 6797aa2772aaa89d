"""Recording usage and reading it back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common import pagination
from services.common.clock import Clock
from services.usage.domain import Entry, Prices
from services.usage.ports import (
    Dimension,
    EntryFilter,
    EntryPosition,
    Group,
    SystemWorkFactory,
    UnitOfWorkFactory,
    UsageFilter,
)
from services.usage.usecases.recording import record

DEFAULT_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class GetUsage:
    """A page of groups to add up."""

    organization_id: str
    chosen: UsageFilter
    dimensions: tuple[Dimension, ...]
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class ListEntries:
    """A page of lines to list."""

    organization_id: str
    chosen: EntryFilter
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class GroupPage:
    """Groups, and the token of what follows; empty at the end."""

    groups: Sequence[Group]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Lines, and the token of what follows; empty at the end."""

    entries: Sequence[Entry]
    next_page_token: str


class UsageLedger:
    """The ledger's use cases."""

    def __init__(
        self, unit_of_work: UnitOfWorkFactory, system: SystemWorkFactory, prices: Prices, clock: Clock
    ) -> None:
        self._unit_of_work = unit_of_work
        self._system = system
        self._prices = prices
        self._clock = clock

    async def record(self, entries: Sequence[Entry]) -> int:
        """Write lines of any organizations down, each once; returns how many were new."""
        ids = {(entry.organization_id, entry.id) for entry in entries}
        async with self._system() as work:
            added = await record(work, self._prices, entries, self._clock())
            await work.commit()
        return sum((entry.organization_id, entry.id) in ids for entry in added)

    async def usage(self, query: GetUsage) -> GroupPage:
        """A page of groups. Raises InvalidPageToken."""
        chosen, size = query.chosen, query.page_size or DEFAULT_PAGE_SIZE
        filters: pagination.Filters = {
            "list": "usage",
            "organization": query.organization_id,
            "by": [dimension.value for dimension in query.dimensions],
            "model": chosen.model,
            "user": chosen.user_id,
            "conversation": chosen.conversation_id,
            "ticket": chosen.ticket_id,
        }
        after = _keys(query.page_token, filters, len(query.dimensions))
        async with self._unit_of_work(query.organization_id) as work:
            found = await work.ledger.groups(chosen, query.dimensions, after, size + 1)
        groups = found[:size]
        more = len(found) > size
        cursor = {str(place): key for place, key in enumerate(groups[-1].keys)} if more else {}
        return GroupPage(groups, pagination.encode(cursor, filters) if more else "")

    async def entries(self, query: ListEntries) -> EntryPage:
        """A page of lines, newest first. Raises InvalidPageToken."""
        chosen, size = query.chosen, query.page_size or DEFAULT_PAGE_SIZE
        filters: pagination.Filters = {
            "list": "entries",
            "organization": query.organization_id,
            "turn": chosen.turn_id,
            "conversation": chosen.conversation_id,
            "ticket": chosen.ticket_id,
        }
        after = entry_position(query.page_token, filters)
        async with self._unit_of_work(query.organization_id) as work:
            found = await work.ledger.page(chosen, after, size + 1)
        entries = found[:size]
        if len(found) <= size:
            return EntryPage(entries, "")
        last = entries[-1]
        cursor = {"a": last.occurred_at.isoformat(), "i": last.id}
        return EntryPage(entries, pagination.encode(cursor, filters))


def entry_position(token: str, filters: pagination.Filters) -> EntryPosition | None:
    """Where a page that is ordered by time and identifier begins; None for the first. Raises InvalidPageToken."""
    if not token:
        return None
    cursor = pagination.decode(token, filters)
    try:
        at = datetime.fromisoformat(str(cursor["a"]))
        one = cursor["i"]
    except (KeyError, ValueError):
        raise pagination.InvalidPageToken from None
    # A token is not signed: whoever forges one must not get further than an error.
    if at.tzinfo is None or not isinstance(one, str) or "\0" in one:
        raise pagination.InvalidPageToken
    return at, one


def _keys(token: str, filters: pagination.Filters, count: int) -> list[str] | None:
    if not token:
        return None
    cursor = pagination.decode(token, filters)
    keys = [cursor.get(str(place)) for place in range(count)]
    if not keys or not all(isinstance(key, str) and "\0" not in key for key in keys):
        raise pagination.InvalidPageToken
    return [str(key) for key in keys]

"""Reading the audit log of one organization."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.auth.audit import AuditEvent
from services.auth.ports import AuditFilter, WorkFactory
from services.common import pagination
from services.common.pagination import Filters, InvalidPageToken

DEFAULT_PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Events, the newest first, and the token of the page that follows; empty at the end."""

    events: Sequence[AuditEvent]
    next_page_token: str


class Audit:
    """What happened in an organization."""

    def __init__(self, work: WorkFactory) -> None:
        self._work = work

    async def list(self, chosen: AuditFilter, page_size: int, page_token: str) -> AuditPage:
        """Raises InvalidPageToken."""
        filters: Filters = {
            "organization": chosen.organization_id,
            "types": ",".join(sorted(chosen.types)),
            "actor": chosen.actor_id,
            "subject": chosen.subject_id,
            "since": chosen.since.isoformat() if chosen.since else "",
            "until": chosen.until.isoformat() if chosen.until else "",
        }
        before = ""
        if page_token:
            found_before = pagination.decode(page_token, filters).get("id")
            if not isinstance(found_before, str):
                raise InvalidPageToken
            before = found_before
        limit = page_size or DEFAULT_PAGE_SIZE
        async with self._work.tenant(chosen.organization_id) as work:
            found = await work.audit.list(chosen, before, limit + 1)
        events = found[:limit]
        if len(found) <= limit:
            return AuditPage(events, "")
        return AuditPage(events, pagination.encode({"id": events[-1].id}, filters))

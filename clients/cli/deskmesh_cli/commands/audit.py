"""`deskmesh audit`: what happened to the identities of an organization."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from deskmesh.auth.v1 import audit_event_pb2
from deskmesh.auth.v1 import audit_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person
from deskmesh_cli.console import fail
from deskmesh_cli.records import ask, table, when, word

PREFIX = "AUDIT_EVENT_TYPE_"
PAGE_SIZE = 200

Types = Annotated[list[str], typer.Option("--type", help="Only events of this type, such as sign_in_failed; repeat.")]
Actor = Annotated[str, typer.Option(help="Only events by this user, service account or key.")]
Subject = Annotated[str, typer.Option(help="Only events about this identifier.")]
Hours = Annotated[int, typer.Option(min=1, help="How far to look back.")]
Limit = Annotated[int, typer.Option(min=1, help="Most events to show.")]


@acting
def audit(
    types: Types = [],  # noqa: B006 - typer copies it
    actor: Actor = "",
    subject: Subject = "",
    hours: Hours = 24 * 30,
    limit: Limit = 50,
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Show sign-ins, changes of roles, keys and invitations, and what was refused; the newest first."""
    try:
        numbers: list[Any] = [audit_event_pb2.AuditEventType.Value(PREFIX + name.upper()) for name in types]
    except ValueError:
        known = ", ".join(word(name, PREFIX) for name in audit_event_pb2.AuditEventType.keys()[1:])
        raise fail("There is no such type of event.", f"Types: {known}.") from None

    async def call(client: Any) -> Any:
        found = pb.ListAuditEventsResponse()
        since = datetime.now(UTC) - timedelta(hours=hours)
        while True:
            request = pb.ListAuditEventsRequest(
                types=numbers,
                actor_id=actor,
                subject_id=subject,
                page_size=min(PAGE_SIZE, limit - len(found.events)),
                page_token=found.next_page_token,
            )
            request.since.FromDatetime(since)
            page = await client.audit.ListAuditEvents(request)
            found.events.extend(page.events)
            found.next_page_token = page.next_page_token
            if not page.next_page_token or len(found.events) >= limit:
                return found

    ask(person, call, _show, as_json=as_json)


def _show(answer: Any) -> None:
    rows = (
        (
            when(event.occurred_at),
            word(audit_event_pb2.AuditEventType.Name(event.type), PREFIX),
            event.actor_id or "nobody",
            event.subject_id,
            event.source,
            " ".join(f"{key}={value}" for key, value in sorted(event.details.items())),
        )
        for event in answer.events
    )
    table(("when", "what", "by", "about", "from", "details"), rows, empty="Nothing happened.")

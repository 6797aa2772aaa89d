"""`deskmesh usage`: what models were used for, and what that cost."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from deskmesh.usage.v1 import usage_pb2
from deskmesh.usage.v1 import usage_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person, connected, print_json, run
from deskmesh_cli.console import fail, out
from deskmesh_client.money import amount_of

DIMENSIONS = ("day", "model", "user", "key", "conversation", "ticket", "step")
MOST_DIMENSIONS = 3
PAGE_SIZE = 500
LONGEST_DAYS = 3_660

By = Annotated[list[str] | None, typer.Option(help=f"What to group by, at most three of {', '.join(DIMENSIONS)}.")]
Days = Annotated[int, typer.Option(min=1, max=LONGEST_DAYS, help="How many days back.")]
Model = Annotated[str, typer.Option(help="Only this model.")]
Conversation = Annotated[str, typer.Option(help="Only this conversation.")]
Ticket = Annotated[str, typer.Option(help="Only this ticket.")]


@acting
def usage(
    by: By = None,
    days: Days = 30,
    model: Model = "",
    conversation: Conversation = "",
    ticket: Ticket = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Add up what models were used for: calls, tokens, seconds and cost."""
    dimensions = by or ["model"]
    unknown = [name for name in dimensions if name not in DIMENSIONS]
    if unknown or len(dimensions) > MOST_DIMENSIONS or len(set(dimensions)) < len(dimensions):
        raise fail(
            "That cannot be grouped by.", f"Say --by at most three times, each another of {', '.join(DIMENSIONS)}."
        )

    async def work() -> int:
        request = pb.GetUsageRequest(
            group_by=[f"USAGE_DIMENSION_{name.upper()}" for name in dimensions],
            model=model,
            conversation_id=conversation,
            ticket_id=ticket,
            page_size=PAGE_SIZE,
        )
        now = datetime.now(UTC)
        request.until.FromDatetime(now)
        getattr(request, "from").FromDatetime(now - timedelta(days=days))
        groups: list[usage_pb2.UsageGroup] = []
        async with connected(person) as client:
            while True:
                page = await client.usage.GetUsage(request)
                groups += page.groups
                request.page_token = page.next_page_token
                if not page.next_page_token:
                    break
        if as_json:
            print_json({"currency": page.currency, "groups": [_group(dimensions, one) for one in groups]})
        else:
            _print(dimensions, groups, page.currency)
        return 0

    run(work, as_json=as_json)


def _group(dimensions: list[str], group: usage_pb2.UsageGroup) -> dict[str, object]:
    return {
        **dict(zip(dimensions, group.keys, strict=True)),
        "calls": group.calls,
        "prompt_tokens": group.prompt_tokens,
        "cached_prompt_tokens": group.cached_prompt_tokens,
        "completion_tokens": group.completion_tokens,
        "seconds": round(group.elapsed.ToTimedelta().total_seconds(), 3),
        "cost_micros": group.cost_micros,
    }


def _print(dimensions: list[str], groups: list[usage_pb2.UsageGroup], currency: str) -> None:
    if not groups:
        out.print("No model was used.")
        return
    table = Table(*dimensions, "calls", "read", "cached", "written", "seconds", currency, box=None, header_style="bold")
    for group in groups:
        numbers = (group.calls, group.prompt_tokens, group.cached_prompt_tokens, group.completion_tokens)
        seconds = f"{group.elapsed.ToTimedelta().total_seconds():.1f}"
        keys = (key or "–" for key in group.keys)
        table.add_row(*keys, *map(str, numbers), seconds, amount_of(group.cost_micros))
    out.print(table)

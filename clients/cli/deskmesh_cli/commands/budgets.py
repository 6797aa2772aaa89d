"""`deskmesh budgets`: how much may be spent on models."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from deskmesh.usage.v1 import budget_pb2
from deskmesh.usage.v1 import budget_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person, connected, print_json, run
from deskmesh_cli.console import fail, out
from deskmesh_client import Client
from deskmesh_client.money import amount_of, micros_of

ACTIONS = ("list", "create", "set", "delete", "alerts")
SCOPES = ("organization", "team", "user", "key", "model", "ticket")
PERIODS = ("day", "month", "all")
PAGE_SIZE = 200

Action = Annotated[str, typer.Argument(help="`list`, `create`, `set`, `delete` or `alerts`.")]
Identifier = Annotated[str, typer.Argument(help="The budget to set or delete, or whose alerts to list.")]
Limit = Annotated[str, typer.Option(help="Most that may be spent in a period, such as 12.50; for create and set.")]
ScopeName = Annotated[str, typer.Option("--scope", help=f"What it limits: {', '.join(SCOPES)}.")]
Subject = Annotated[str, typer.Option(help="Which user, key, model or ticket; a name for the team.")]
Members = Annotated[list[str], typer.Option("--member", help="A user or service account of the team; repeat.")]
PeriodName = Annotated[str, typer.Option("--period", help=f"When it begins anew: {', '.join(PERIODS)}.")]


@acting
def budgets(
    action: Action = "list",
    budget_id: Identifier = "",
    limit: Limit = "",
    scope: ScopeName = "organization",
    subject: Subject = "",
    period: PeriodName = "month",
    member: Members = [],  # noqa: B006 - typer copies it
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Show, make, change and remove budgets, and show the alerts at 50, 80 and 100 % of them."""
    if action not in ACTIONS:
        raise fail(f"There is no action {action}.", f"Say one of {', '.join(ACTIONS)}.")
    if scope not in SCOPES or period not in PERIODS:
        raise fail("There is no such scope or period.", f"Scopes: {', '.join(SCOPES)}. Periods: {', '.join(PERIODS)}.")
    if action in ("create", "set") and not limit:
        raise fail("How much may be spent?", "Say it as in --limit 12.50.")
    if action in ("set", "delete") and not budget_id:
        raise fail("Which budget?", "Give its identifier, as `deskmesh budgets` lists it.")
    if member and (action not in ("create", "set") or (action == "create" and scope != "team")):
        raise fail("Only teams have members.", "Say --scope team.")
    if action == "create" and scope == "team" and not member:
        raise fail("Who belongs to the team?", "Give at least one --member.")
    try:
        micros = micros_of(limit) if limit else 0
    except ValueError as error:
        raise fail(f"{error}.") from None

    async def work() -> int:
        async with connected(person) as client:
            if action == "alerts":
                _print_alerts(await _alerts(client, budget_id), as_json=as_json)
            elif action == "create":
                _print_budgets([await _create(client, scope, subject, period, micros, member)], as_json=as_json)
            elif action == "set":
                _print_budgets([await _set(client, budget_id, micros, member)], as_json=as_json)
            elif action == "delete":
                await _delete(client, budget_id)
                _print_budgets([], as_json=as_json)
            else:
                _print_budgets(await _list(client), as_json=as_json)
        return 0

    run(work, as_json=as_json)


async def _list(client: Client) -> list[budget_pb2.Budget]:
    found: list[budget_pb2.Budget] = []
    token = ""
    while True:
        page = await client.budgets.ListBudgets(pb.ListBudgetsRequest(page_size=PAGE_SIZE, page_token=token))
        found += page.budgets
        token = page.next_page_token
        if not token:
            return found


async def _create(
    client: Client, scope: str, subject: str, period: str, micros: int, members: Sequence[str] = ()
) -> budget_pb2.Budget:
    request = pb.CreateBudgetRequest(
        request_id=uuid.uuid4().hex,
        scope=f"BUDGET_SCOPE_{scope.upper()}",
        subject=subject,
        period=f"BUDGET_PERIOD_{period.upper()}",
        limit_micros=micros,
        member_ids=members,
    )
    return (await client.budgets.CreateBudget(request)).budget


async def _set(client: Client, budget_id: str, micros: int, members: Sequence[str] = ()) -> budget_pb2.Budget:
    found = (await client.budgets.GetBudget(pb.GetBudgetRequest(budget_id=budget_id))).budget
    request = pb.UpdateBudgetRequest(budget_id=budget_id, etag=found.etag, limit_micros=micros, member_ids=members)
    return (await client.budgets.UpdateBudget(request)).budget


async def _delete(client: Client, budget_id: str) -> None:
    found = (await client.budgets.GetBudget(pb.GetBudgetRequest(budget_id=budget_id))).budget
    await client.budgets.DeleteBudget(pb.DeleteBudgetRequest(budget_id=budget_id, etag=found.etag))


async def _alerts(client: Client, budget_id: str) -> list[budget_pb2.BudgetAlert]:
    request = pb.ListBudgetAlertsRequest(budget_id=budget_id, page_size=PAGE_SIZE)
    return list((await client.budgets.ListBudgetAlerts(request)).alerts)


def _print_budgets(found: Sequence[budget_pb2.Budget], *, as_json: bool) -> None:
    if as_json:
        print_json({"budgets": [_budget(one) for one in found]})
        return
    if not found:
        out.print("No budgets.")
        return
    table = Table(
        Column("id", no_wrap=True), "limits", "period", "limit", "spent", "held", "", box=None, header_style="bold"
    )
    for one in found:
        shown = _budget(one)
        limits = f"{shown['scope']} {shown['subject']}".strip()
        share = f"{one.spent_micros * 100 // one.limit_micros} %" if one.limit_micros else ""
        amounts = (f"{amount_of(one.limit_micros)} {one.currency}", amount_of(one.spent_micros))
        table.add_row(one.id, limits, shown["period"], *amounts, amount_of(one.reserved_micros), share)
    out.print(table)


def _print_alerts(found: Sequence[budget_pb2.BudgetAlert], *, as_json: bool) -> None:
    if as_json:
        alerts = [
            {
                "budget_id": one.budget_id,
                "scope": _scope(one.scope),
                "subject": one.subject,
                "threshold_percent": one.threshold_percent,
                "spent_micros": one.spent_micros,
                "limit_micros": one.limit_micros,
                "period_start": one.period_start.ToJsonString(),
                "occurred_at": one.occurred_at.ToJsonString(),
            }
            for one in found
        ]
        print_json({"alerts": alerts})
        return
    if not found:
        out.print("No alerts.")
        return
    table = Table(
        "when", Column("budget", no_wrap=True), "limits", "reached", "spent", "limit", box=None, header_style="bold"
    )
    for one in found:
        limits = f"{_scope(one.scope)} {one.subject}".strip()
        when, reached = f"{one.occurred_at.ToDatetime():%Y-%m-%d %H:%M} UTC", f"{one.threshold_percent} %"
        table.add_row(when, one.budget_id, limits, reached, amount_of(one.spent_micros), amount_of(one.limit_micros))
    out.print(table)


def _budget(one: budget_pb2.Budget) -> dict[str, Any]:
    return {
        "id": one.id,
        "scope": _scope(one.scope),
        "subject": one.subject,
        "period": budget_pb2.BudgetPeriod.Name(one.period).removeprefix("BUDGET_PERIOD_").lower(),
        "limit_micros": one.limit_micros,
        "spent_micros": one.spent_micros,
        "reserved_micros": one.reserved_micros,
        "overshoot_bound_micros": one.overshoot_bound_micros,
        "currency": one.currency,
        "period_start": one.period_start.ToJsonString(),
        "period_end": one.period_end.ToJsonString() if one.HasField("period_end") else None,
        "etag": one.etag,
        "member_ids": list(one.member_ids),
    }


def _scope(number: "budget_pb2.BudgetScope") -> str:
    return budget_pb2.BudgetScope.Name(number).removeprefix("BUDGET_SCOPE_").lower()

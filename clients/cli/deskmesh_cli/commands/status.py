"""status, restart: the processes of the stack."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deskmesh_cli.commands.options import Json
from deskmesh_cli.console import fail, out, print_json, size
from laptop.control import Control, NotRunning
from laptop.settings import StackSettings

STATE_COLOURS = {"ready": "green", "done": "green", "failed": "bold red", "backoff": "red"}


def status(*, as_json: Json = False) -> None:
    """Show every process with its memory, processor time and listeners."""
    settings = StackSettings()
    try:
        found = Control(settings.paths).status()
    except NotRunning:
        found = {"processes": [], "ready": False}
    if as_json:
        print_json(found)
    elif not found["processes"]:
        out.print("Nothing runs; `deskmesh up` starts it.")
    else:
        _show(found)


def restart(
    name: Annotated[str, typer.Argument(help="A process, as `status` names it.")], *, as_json: Json = False
) -> None:
    """Stop and start one process and wait until it is ready."""
    try:
        answer = Control(StackSettings().paths).restart(name)
    except NotRunning:
        raise fail("The stack does not run.", "`deskmesh up` starts it.") from None
    if as_json:
        print_json(answer)
    elif "error" in answer:
        raise fail(answer["error"], "`deskmesh status` lists the processes.")
    else:
        out.print(f"{name}: {_state(answer)}")
    if answer.get("state") not in ("ready", "done"):
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column, justify in (("process", "left"), ("state", "left"), ("pid", "right"), ("restarts", "right")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for column in ("memory", "cpu"):
        table.add_column(column, justify="right")
    table.add_column("listens on")
    for one in found["processes"]:
        table.add_row(
            one["name"],
            _state(one),
            str(one["pid"] or ""),
            str(one["restarts"]),
            size(one["rss_bytes"]),
            f"{one['cpu_seconds']:.1f} s",
            "\n".join(_listener(listener) for listener in one["listeners"]),
        )
    out.print(table)
    steps = ", ".join(f"{step['name']} {_state(step)}" for step in found["steps"])
    out.print(f"\nSteps: {steps}\n{'[green]Ready[/]' if found['ready'] else '[yellow]Not ready[/]'}")


def _state(one: dict[str, Any]) -> str:
    state = one["state"]
    colour = STATE_COLOURS.get(state, "yellow")
    return f"[{colour}]{state}[/]" + (f" ({one['problem']})" if one["problem"] and state != "ready" else "")


def _listener(listener: dict[str, Any]) -> str:
    address = Path(listener["address"]).name if listener["address"].startswith("/") else listener["address"]
    return f"{address} [dim]{'mTLS' if listener['mtls'] else 'TLS' if listener['tls'] else ''}[/]"

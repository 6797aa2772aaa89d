"""up, down, restart, status, logs."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deskmesh_cli import welcome
from deskmesh_cli.commands.doctor import refuse_on_problems
from deskmesh_cli.commands.options import Json
from deskmesh_cli.console import err, fail, out, print_json, size
from deskmesh_cli.progress import StartProgress, StopProgress
from laptop import logfiles, loglines
from laptop.control import Control, NotRunning
from laptop.launch import CannotStart, launch, shut_down
from laptop.settings import StackSettings

POLL_SECONDS = 0.25
LINES = 20
STATE_COLOURS = {"ready": "green", "done": "green", "failed": "bold red", "backoff": "red"}


def up(*, as_json: Json = False) -> None:
    """Start everything, wait until every part is ready and say where to look."""
    settings = StackSettings()
    control = Control(settings.paths)
    try:
        control.status()
        already = True
    except NotRunning:
        already = False
        refuse_on_problems(settings)
    if already and not as_json:
        out.print("The stack is up already; waiting until every part is ready.")
    began = time.monotonic()
    try:
        launch(settings)
        with StartProgress(quiet=as_json, resumed=already) as progress:
            last = _last(progress.follow(control.up()))
    except CannotStart as error:
        raise fail(str(error)) from None
    except NotRunning:
        raise fail("The supervisor ended.", f"Its last words are in {settings.paths.log('supervisor')}.") from None
    if not last.get("ready"):
        _explain_failure(settings, last)
        raise typer.Exit(1)
    if as_json:
        print_json(welcome.as_json(settings, seconds=time.monotonic() - began))
    else:
        welcome.show(settings, seconds=time.monotonic() - began)


def down(*, as_json: Json = False) -> None:
    """End everything; nothing of the stack is left running."""
    settings = StackSettings()
    with StopProgress(quiet=as_json) as progress:
        ended = shut_down(settings, progress.show)
    if as_json:
        print_json({"was_running": ended})
    else:
        out.print("Everything has ended." if ended else "Nothing was running.")


def restart(
    name: Annotated[str, typer.Argument(help="A process, as `status` names it.")], *, as_json: Json = False
) -> None:
    """Stop and start one process and wait until it is ready."""
    try:
        answer = Control(StackSettings().paths).restart(name)
    except NotRunning:
        raise _not_running() from None
    if as_json:
        print_json(answer)
    elif "error" in answer:
        raise fail(answer["error"], "`deskmesh status` lists the processes.")
    else:
        out.print(f"{name}: {_state(answer)}")
    if answer.get("state") not in ("ready", "done"):
        raise typer.Exit(1)


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


def logs(
    name: Annotated[str | None, typer.Argument(help="A process; all of them if left out.")] = None,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as new lines come.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", help="Lines of each log to begin with.")] = LINES,
    as_json: Json = False,
) -> None:
    """Show the newest log lines."""
    folder = StackSettings().paths.logs
    files = [folder / f"{name}.log"] if name else sorted(folder.glob("*.log"))
    if name and not files[0].exists():
        known = ", ".join(file.stem for file in sorted(folder.glob("*.log"))) or "none yet"
        raise fail(f"There is no log of {name}.", f"There are: {known}.")
    for file in files:
        for line in logfiles.tail(file, lines):
            _print_line(file.stem, line, alone=bool(name), as_json=as_json)
    if follow:
        _follow(files, alone=bool(name), as_json=as_json)


def _follow(files: list[Path], *, alone: bool, as_json: bool) -> None:
    positions = {file: file.stat().st_size for file in files}
    try:
        while True:
            for file in files:
                for line in _new_lines(file, positions):
                    _print_line(file.stem, line, alone=alone, as_json=as_json)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return


def _new_lines(file: Path, positions: dict[Path, int]) -> Iterator[str]:
    """Whole lines since the position; a file that shrank was rotated and begins anew."""
    length = file.stat().st_size
    start = positions[file] if length >= positions[file] else 0
    with file.open("rb") as stream:
        stream.seek(start)
        text, newline, _ = stream.read(length - start).rpartition(b"\n")
    positions[file] = start + len(text) + len(newline)
    if newline:
        yield from text.decode(errors="replace").split("\n")


def _print_line(name: str, line: str, *, alone: bool, as_json: bool) -> None:
    entry = loglines.entry_of(name, line)
    if as_json:
        print_json(entry)
    else:
        typer.echo(loglines.legible(entry, alone=alone))


def _last(statuses: Iterator[dict[str, Any]]) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for one in statuses:
        last = one
    return last


def _explain_failure(settings: StackSettings, last: dict[str, Any]) -> None:
    failed = [one for one in (*last.get("steps", ()), *last.get("processes", ())) if one["state"] == "failed"]
    if not failed:
        err.print("[bold red]✗[/] The supervisor stopped before every part was ready.")
    for one in failed:
        err.print(f"[bold red]✗[/] {one['name']} {one['problem']}. The end of its log:")
        for line in logfiles.tail(settings.paths.log(one["name"]), LINES):
            err.print(f"    {loglines.legible(loglines.entry_of(one['name'], line), alone=True)}", markup=False)
        err.print(f"  All of it: `deskmesh logs {one['name']} -n 1000`. After mending it: `deskmesh up`.")


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


def _not_running() -> typer.Exit:
    return fail("The stack does not run.", "`deskmesh up` starts it.")

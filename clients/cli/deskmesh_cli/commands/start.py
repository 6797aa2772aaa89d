"""up, down: the start and the end of the stack."""

import time
from collections.abc import Iterator
from typing import Any

import typer

from deskmesh_cli import welcome
from deskmesh_cli.commands.doctor import refuse_on_problems
from deskmesh_cli.commands.options import Json
from deskmesh_cli.console import err, fail, out, print_json
from deskmesh_cli.progress import StartProgress, StopProgress
from laptop import logfiles, loglines
from laptop.control import Control, NotRunning
from laptop.launch import CannotStart, launch, shut_down
from laptop.settings import StackSettings

LAST_LINES = 20


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
        for line in logfiles.tail(settings.paths.log(one["name"]), LAST_LINES):
            err.print(f"    {loglines.legible(loglines.entry_of(one['name'], line), alone=True)}", markup=False)
        err.print(f"  All of it: `deskmesh logs {one['name']} -n 1000`. After mending it: `deskmesh up`.")

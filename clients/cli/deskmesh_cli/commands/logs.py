"""logs: what the processes said."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from deskmesh_cli.commands.options import Json
from deskmesh_cli.console import fail, print_json
from laptop import logfiles, loglines
from laptop.settings import StackSettings

POLL_SECONDS = 0.25
LINES = 20


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

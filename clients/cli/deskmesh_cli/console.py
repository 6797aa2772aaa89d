"""Output that all commands share: JSON for programs, text for people."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(data: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def fail(message: str, advice: str = "") -> typer.Exit:
    """Say what went wrong and what to do; raise the result."""
    err.print(f"[bold red]✗[/] {message}")
    if advice:
        err.print(f"  {advice}")
    return typer.Exit(1)


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"

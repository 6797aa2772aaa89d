"""doctor: what would keep the stack from running, and what to do about it."""

from dataclasses import asdict

import typer

from deskmesh_cli.commands.options import Json
from deskmesh_cli.console import err, out, print_json
from laptop.doctor import Finding, Verdict, examine, obstacles, problems
from laptop.settings import StackSettings

SIGNS = {Verdict.OK: "[green]✓[/]", Verdict.WARNING: "[yellow]![/]", Verdict.PROBLEM: "[bold red]✗[/]"}


def doctor(*, as_json: Json = False) -> None:
    """Check this machine and the state folder; exit code 1 if something keeps the stack from running."""
    findings = examine(StackSettings())
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings], "ok": not problems(findings)})
    else:
        for finding in findings:
            out.print(_text(finding))
    if problems(findings):
        raise typer.Exit(1)


def refuse_on_problems(settings: StackSettings) -> None:
    """Print what keeps the stack from starting, and exit, if anything does."""
    found = obstacles(settings)
    for finding in found:
        err.print(_text(finding))
    if found:
        raise typer.Exit(1)


def _text(finding: Finding) -> str:
    text = f"{SIGNS[finding.verdict]} {finding.name}: {finding.detail}"
    return f"{text}\n  → {finding.advice}" if finding.advice else text

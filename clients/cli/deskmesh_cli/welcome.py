"""What `deskmesh up` says in the end: where to look, how to sign in, what to try."""

import json
from typing import Any

from deskmesh_cli.console import out
from laptop.settings import StackSettings

THINGS_TO_TRY = (
    "Open the address in a browser, sign in as the customer and ask: How long do I have to return something?",
    'Ask from the terminal: .venv/bin/deskmesh chat --once "Can I change my delivery address?" --json',
    'In the chat, say "I want to talk to a person", then sign in as the agent and find the ticket.',
)


def address(settings: StackSettings) -> str:
    """Where the web app and the APIs are."""
    return f"https://localhost:{settings.edge_port}"


def sign_ins(settings: StackSettings) -> list[dict[str, Any]]:
    """The demo people; none before the demo organization was made."""
    try:
        people: list[dict[str, Any]] = json.loads(settings.paths.demo_secrets.read_text())["users"]
    except FileNotFoundError:
        return []
    return people


def as_json(settings: StackSettings, *, seconds: float) -> dict[str, Any]:
    """The same for programs."""
    return {
        "ready": True,
        "address": address(settings),
        "ca_certificate": str(settings.paths.ca_certificate),
        "sign_ins": sign_ins(settings),
        "seconds": round(seconds, 1),
    }


def show(settings: StackSettings, *, seconds: float) -> None:
    """Print it."""
    out.print(f"\n[bold]Deskmesh is up[/] [dim]after {seconds:.0f} s[/]\n")
    out.print(f"  Address      [bold]{address(settings)}[/]")
    out.print(
        f"  Certificate  {settings.paths.ca_certificate} [dim](trust it, or accept the warning)[/]", soft_wrap=True
    )
    for person in sign_ins(settings):
        out.print(f"  {person['role']:<12} {person['email']}  {person['password']}", markup=False)
    out.print("\nThings to try")
    for number, thing in enumerate(THINGS_TO_TRY, start=1):
        out.print(f"  {number}. {thing}", markup=False, soft_wrap=True)
    out.print("\n[dim]deskmesh status · deskmesh logs -f · deskmesh down[/]")

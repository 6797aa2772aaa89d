"""trace: the spans of one trace, from the click to the token."""

from typing import Annotated

import typer
from rich.tree import Tree

from deskmesh_cli.commands.options import Json
from deskmesh_cli.console import fail, out, print_json
from laptop import traces
from laptop.settings import StackSettings


def trace(
    trace_id: Annotated[str, typer.Argument(help="A trace ID, or its beginning, from a log or an error.")],
    *,
    as_json: Json = False,
) -> None:
    """Show what one call did, service by service."""
    spans = traces.find(StackSettings().paths.traces, trace_id)
    if not spans:
        raise fail(f"No spans of trace {trace_id}.", "They arrive a few seconds after the call; old ones are removed.")
    roots = traces.tree(spans)
    if as_json:
        print_json([root.as_json() for root in roots])
        return
    began = spans[0]["start_ns"]
    shown = Tree(f"[bold]{spans[0]['trace_id']}[/]", hide_root=False)
    for root in roots:
        _add(shown, root, began)
    out.print(shown)


def _add(parent: Tree, node: traces.Node, began: int) -> None:
    span = node.span
    offset = (span["start_ns"] - began) / 1e6
    failed = f" [red]✗ {span['error'] if isinstance(span['error'], str) else ''}[/]" if span["error"] else ""
    times = f"[dim]+{offset:.1f} ms[/] {span['duration_ms']:.1f} ms"
    branch = parent.add(f"[cyan]{span['service']}[/] {span['name']} {times}{failed}")
    for child in node.children:
        _add(branch, child, began)

"""`deskmesh chat`: talk to the assistant from a terminal."""

import sys
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration
from rich.console import Console

from deskmesh.orchestrator.v1 import turn_pb2
from deskmesh_cli.commands.acting import CUSTOMER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person, connected, print_json, run
from deskmesh_client import Client, Delta, DeskmeshError, Finished

console = Console(highlight=False)


def milliseconds(duration: Duration) -> float:
    return round(duration.ToTimedelta().total_seconds() * 1000, 1)


def as_data(turn: turn_pb2.Turn) -> dict[str, object]:
    """A turn as the object that `chat --once --json` prints. Times are in milliseconds from the message on."""
    timings = {"first_token": milliseconds(turn.first_token), "total": milliseconds(turn.total)}
    for step in turn.steps:
        timings[step.name] = timings.get(step.name, 0.0) + milliseconds(step.elapsed)
    return {
        "answer": turn.answer,
        "citations": [
            {"article_id": c.article_id, "title": c.title, "passage": c.passage, "url": c.url} for c in turn.citations
        ],
        "decision": turn_pb2.Decision.Name(turn.decision).removeprefix("DECISION_").lower(),
        "conversation_id": turn.conversation_id,
        "turn_id": turn.id,
        "model": turn.model,
        "usage": {
            "prompt_tokens": turn.usage.prompt_tokens,
            "completion_tokens": turn.usage.completion_tokens,
        },
        "timings_ms": timings,
        "trace_id": turn.trace_id,
    }


@acting
def chat(
    once: Annotated[str, typer.Option(help="Ask this, print the answer and end.")] = "",
    conversation: Annotated[str, typer.Option(help="Go on with this conversation.")] = "",
    person: Person = CUSTOMER,
    as_json: Json = False,
) -> None:
    """Talk to the assistant."""

    async def work() -> int:
        async with connected(person) as client:
            conversation_id = conversation or (await client.start_conversation()).id
            if once:
                await answer(client, conversation_id, once, as_json=as_json)
                return 0
            return await talk(client, conversation_id)

    run(work, as_json=as_json)


async def answer(client: Client, conversation_id: str, text: str, *, as_json: bool) -> None:
    """Ask and print: pieces as they come, then what the answer rests on; or one object at the end."""
    async for frame in client.run_turn(conversation_id, text):
        if isinstance(frame, Finished):
            if as_json:
                print_json(as_data(frame.turn))
            else:
                print_sources(frame.turn)
        elif isinstance(frame, Delta) and not as_json:
            console.print(frame.text, end="", markup=False, soft_wrap=True)


def print_sources(turn: turn_pb2.Turn) -> None:
    console.print()
    for number, citation in enumerate(turn.citations, 1):
        console.print(f"[dim][{number}] {citation.title} — {citation.heading}  {citation.url}[/dim]", markup=True)
    if turn.HasField("proposal"):
        console.print(f"[dim]Open a ticket “{turn.proposal.ticket_subject}”? Answer yes or no.[/dim]")
    took = milliseconds(turn.total) / 1000
    console.print(f"[dim]{as_data(turn)['decision']} · {took:.1f} s · {turn.model or 'no model'}[/dim]")


async def talk(client: Client, conversation_id: str) -> int:
    """Read questions until the end of input."""
    interactive = sys.stdin.isatty()
    if interactive:
        console.print("Ask anything; an empty line or Ctrl-D ends.", style="dim")
    while True:
        try:
            text = console.input("[bold]> [/bold]" if interactive else "").strip()
        except EOFError:
            return 0
        if not text:
            return 0
        try:
            await answer(client, conversation_id, text, as_json=False)
        except DeskmeshError as error:
            console.print(str(error), style="red", markup=False)

"""Records of the contract as lines for people or as JSON, and the frame of commands that fetch them."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

from deskmesh_cli.connection import Person, confirmed, connected, print_json, run
from deskmesh_cli.console import out
from deskmesh_client import Client

PIPE_WIDTH = 1000


def data(message: Message) -> dict[str, Any]:
    """A record as JSON has it; empty fields included, so that programs find them."""
    found: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def when(moment: Timestamp) -> str:
    """A time for people; empty without one."""
    if not moment.seconds:
        return ""
    return moment.ToDatetime(UTC).astimezone(datetime.now().astimezone().tzinfo).strftime("%Y-%m-%d %H:%M")


def word(name: str, prefix: str) -> str:
    """A value of an enum for people: "ROLE_ML_ENGINEER" is "ml_engineer"."""
    return name.removeprefix(prefix).lower()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Lines for people; in a pipe as long as they are, because half an identifier is of no use."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    if shown.row_count:
        (out if out.is_terminal else Console(width=PIPE_WIDTH)).print(shown)
    else:
        out.print(empty)


def ask(
    person: Person,
    call: Callable[[Client], Awaitable[Message]],
    show: Callable[[Any], None],
    *,
    as_json: bool,
) -> None:
    """Call as a person, and show the answer to people or print it as JSON.

    What wants a fresh proof of who is there gets one, with a code asked for if the person has a second factor.
    """

    async def work() -> int:
        async with connected(person) as client:
            answer = await confirmed(client, person, call)
        if as_json:
            print_json(data(answer))
        else:
            show(answer)
        return 0

    run(work, as_json=as_json)

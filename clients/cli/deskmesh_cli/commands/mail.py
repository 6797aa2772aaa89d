"""`deskmesh mail`: the letters that a stack on this machine would have sent."""

from typing import Annotated

import typer
from rich.table import Table

from deskmesh_cli.commands.options import Json
from deskmesh_cli.console import fail, out, print_json
from laptop.mailbox import Letter, read
from laptop.settings import StackSettings


def mail(
    letter_id: Annotated[str, typer.Argument(metavar="[ID]", help="Show this letter, or the newest by `last`.")] = "",
    to: Annotated[str, typer.Option(help="Only letters to this address.")] = "",
    as_json: Json = False,
) -> None:
    """List the letters of this stack, or show one. They hold links that are secrets of whom they are to."""
    letters = [one for one in read(StackSettings().paths.mail) if to in ("", one.to)]
    if letter_id:
        _show(letters, letter_id, as_json=as_json)
    elif as_json:
        print_json([_data(one) for one in letters])
    elif not letters:
        out.print("No letters yet.")
    else:
        table = Table("id", "sent", "to", "subject", box=None, header_style="bold")
        for one in letters:
            table.add_row(one.id, f"{one.sent_at.astimezone():%Y-%m-%d %H:%M:%S}", one.to, one.subject)
        out.print(table)


def _show(letters: list[Letter], letter_id: str, *, as_json: bool) -> None:
    found = letters[:1] if letter_id == "last" else [one for one in letters if one.id.startswith(letter_id)]
    if len(found) != 1:
        raise fail(f"There is no one letter {letter_id}.", "`deskmesh mail` lists them.")
    (letter,) = found
    if as_json:
        print_json(_data(letter) | {"text": letter.text})
    else:
        out.print(f"To: {letter.to}\nSubject: {letter.subject}\n", markup=False)
        typer.echo(letter.text.rstrip())


def _data(letter: Letter) -> dict[str, object]:
    return {"id": letter.id, "to": letter.to, "subject": letter.subject, "sent_at": letter.sent_at.isoformat()}

"""Options that several commands share."""

from typing import Annotated

import typer

_AS = "Role of the demo person to act as: customer, agent or owner; or `me`, who signed in by `deskmesh login`."
As = Annotated[str, typer.Option("--as", help=_AS)]
Email = Annotated[str, typer.Option(help="Act as this person instead.", envvar="DESKMESH_EMAIL")]
Password = Annotated[str, typer.Option(help="Password of --email.", envvar="DESKMESH_PASSWORD")]
Organization = Annotated[str, typer.Option(help="Slug of the organization of --email; the oldest if empty.")]
Json = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]

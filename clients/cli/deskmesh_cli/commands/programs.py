"""`deskmesh programs`: which programs somebody has let in, and putting them out."""

from typing import Annotated

import typer

from deskmesh.auth.v1 import consent_service_pb2 as pb
from deskmesh_cli.commands.acting import CUSTOMER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person
from deskmesh_cli.console import out
from deskmesh_cli.records import ask, table, when

app = typer.Typer(help="Programs that you have let in.", no_args_is_help=True)

ClientId = Annotated[str, typer.Argument(help="Identifier of the program.")]


@app.command("list")
@acting
def list_programs(person: Person = CUSTOMER, as_json: Json = False) -> None:
    """Show the programs that can act as you."""

    def show(answer: pb.ListProgramsResponse) -> None:
        rows = (
            (one.client_id, one.client_name, ", ".join(one.scopes), str(one.sign_ins), when(one.let_in_at))
            for one in answer.programs
        )
        table(("id", "name", "may", "sign-ins", "let in"), rows, empty="No programs.")

    ask(person, lambda client: client.consents.ListPrograms(pb.ListProgramsRequest()), show, as_json=as_json)


@app.command("revoke")
@acting
def revoke(client_id: ClientId, person: Person = CUSTOMER, as_json: Json = False) -> None:
    """End every sign-in of a program as you, within five seconds."""
    request = pb.RevokeProgramRequest(client_id=client_id)
    ask(
        person,
        lambda client: client.consents.RevokeProgram(request),
        lambda answer: out.print(f"Ended {answer.ended_sign_ins} of its sign-ins."),
        as_json=as_json,
    )

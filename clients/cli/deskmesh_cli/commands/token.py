"""`deskmesh token`: an access token for other tools, such as grpcurl."""

import typer

from deskmesh_cli.commands.acting import CUSTOMER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person, connected, print_json, run


@acting
def token(person: Person = CUSTOMER, as_json: Json = False) -> None:
    """Print an access token of at most ten minutes. It is a secret: whoever has it acts as that person."""

    async def work() -> int:
        async with connected(person) as client:
            access_token = await client.access_token()
        if as_json:
            print_json({"access_token": access_token})
        else:
            typer.echo(access_token)
        return 0

    run(work, as_json=as_json)

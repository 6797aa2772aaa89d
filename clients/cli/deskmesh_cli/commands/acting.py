"""Whom a command acts as."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from deskmesh_cli.connection import Person

_AS = "Role of the demo person to act as: customer, agent or owner; or `me`, who signed in by `deskmesh login`."
As = Annotated[str, typer.Option("--as", help=_AS)]
Email = Annotated[str, typer.Option(help="Act as this person instead.", envvar="DESKMESH_EMAIL")]
Password = Annotated[str, typer.Option(help="Password of --email.", envvar="DESKMESH_PASSWORD")]
Organization = Annotated[str, typer.Option(help="Slug of the organization of --email; the oldest if empty.")]

CUSTOMER = Person("customer")
AGENT = Person("agent")
OWNER = Person("owner")


def acting(command: Callable[..., None]) -> Callable[..., None]:
    """Put the options that say whom to act as in place of a command's parameter `person`; its role is the default."""
    declared = inspect.signature(command, eval_str=True)
    role = declared.parameters["person"].default.role
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, default, option in (
            ("role", role, As),
            ("email", "", Email),
            ("password", "", Password),
            ("organization", "", Organization),
        )
    ]
    parameters: list[inspect.Parameter] = []
    for parameter in declared.parameters.values():
        # All are given by name, so that the order of those with and without a default does not matter.
        taken = options if parameter.name == "person" else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        parameters += taken

    @functools.wraps(command)
    def run(role: str, email: str, password: str, organization: str, **given: Any) -> None:
        command(person=Person(role, email, password, organization), **given)

    run.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run

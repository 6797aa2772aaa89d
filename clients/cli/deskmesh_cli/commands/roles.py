"""`deskmesh roles`: an organization's own roles, and the permissions they are made of."""

import uuid
from typing import Annotated, Any

import typer

from deskmesh.auth.v1 import role_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.members import role_names
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person
from deskmesh_cli.console import out
from deskmesh_cli.records import ask, table

app = typer.Typer(help="An organization's own roles.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the role.")]
RoleId = Annotated[str, typer.Argument(help="Identifier of the role.")]
Permissions = Annotated[
    list[str], typer.Option("--permission", help="What it allows, as `deskmesh roles permissions` lists it; repeat.")
]
Description = Annotated[str, typer.Option(help="What it is for.")]


@app.command("permissions")
@acting
def permissions(person: Person = OWNER, as_json: Json = False) -> None:
    """Show every permission, and the built-in roles that hold it."""

    def show(answer: Any) -> None:
        rows = ((one.name, role_names(one.held_by, ())) for one in answer.permissions)
        table(("permission", "held by"), rows, empty="None.")

    request = pb.ListPermissionsRequest()
    ask(person, lambda client: client.roles.ListPermissions(request), show, as_json=as_json)


@app.command("list")
@acting
def list_roles(person: Person = OWNER, as_json: Json = False) -> None:
    """Show the organization's own roles."""
    request = pb.ListRolesRequest()
    ask(person, lambda client: client.roles.ListRoles(request), lambda answer: _show(answer.roles), as_json=as_json)


@app.command("create")
@acting
def create(
    name: Name,
    permission: Permissions = [],  # noqa: B006 - typer copies it
    description: Description = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Make a role."""
    request = pb.CreateRoleRequest(
        request_id=uuid.uuid4().hex, name=name, description=description, permissions=permission
    )
    ask(person, lambda client: client.roles.CreateRole(request), lambda answer: _show([answer.role]), as_json=as_json)


@app.command("update")
@acting
def update(
    role_id: RoleId,
    name: Name,
    permission: Permissions = [],  # noqa: B006 - typer copies it
    description: Description = "",
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Replace name, description and permissions of a role."""
    request = pb.UpdateRoleRequest(role_id=role_id, name=name, description=description, permissions=permission)
    ask(person, lambda client: client.roles.UpdateRole(request), lambda answer: _show([answer.role]), as_json=as_json)


@app.command("delete")
@acting
def delete(role_id: RoleId, person: Person = OWNER, as_json: Json = False) -> None:
    """Delete a role that nobody holds."""
    request = pb.DeleteRoleRequest(role_id=role_id)
    ask(person, lambda client: client.roles.DeleteRole(request), lambda _: out.print("Deleted."), as_json=as_json)


def _show(roles: Any) -> None:
    rows = ((one.id, one.name, ", ".join(one.permissions), one.description) for one in roles)
    table(("id", "name", "permissions", "for"), rows, empty="No roles of its own.")

"""`deskmesh members` and `deskmesh orgs`: who belongs to an organization, and where somebody belongs."""

from typing import Annotated, Any

import typer

from deskmesh.auth.v1 import membership_service_pb2, organization_service_pb2, user_pb2
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person
from deskmesh_cli.console import fail, out
from deskmesh_cli.records import ask, table, when, word

app = typer.Typer(help="The people of an organization.", no_args_is_help=True)

Held = Annotated[list[str], typer.Option("--role", help="A built-in role, or the identifier of a custom one; repeat.")]
UserId = Annotated[str, typer.Argument(help="Identifier of the person.")]
CUSTOM_ROLE = "rol_"


def split_roles(names: list[str]) -> tuple[list[Any], list[str]]:
    """Built-in roles and identifiers of custom ones. Ends the command at a name that is neither."""
    custom = [name for name in names if name.startswith(CUSTOM_ROLE)]
    try:
        built_in = [user_pb2.Role.Value(f"ROLE_{name.upper()}") for name in names if name not in custom]
    except ValueError:
        known = ", ".join(word(name, "ROLE_") for name in user_pb2.Role.keys()[1:])
        raise fail("There is no such role.", f"Built-in roles: {known}. Others: `deskmesh roles list`.") from None
    if not names:
        raise fail("Which role?", "Give at least one --role.")
    return built_in, custom


def role_names(numbers: Any, custom: Any) -> str:
    """Roles for people."""
    return ", ".join([*(word(user_pb2.Role.Name(number), "ROLE_") for number in numbers), *custom])


@app.command("list")
@acting
def list_members(person: Person = OWNER, as_json: Json = False) -> None:
    """Show the members and their roles."""

    async def call(client: Any) -> Any:
        found = organization_service_pb2.ListMembersResponse()
        token = ""
        while True:
            request = organization_service_pb2.ListMembersRequest(page_size=200, page_token=token)
            page = await client.members.ListMembers(request)
            found.members.extend(page.members)
            token = page.next_page_token
            if not token:
                return found

    def show(answer: Any) -> None:
        rows = (
            (one.user.id, one.user.display_name, one.user.email, role_names(one.roles, one.custom_role_ids))
            for one in answer.members
        )
        table(("id", "name", "e-mail", "roles"), rows, empty="No members.")

    ask(person, call, show, as_json=as_json)


@app.command("set-roles")
@acting
def set_roles(
    user_id: UserId,
    held: Held = [],  # noqa: B006 - typer copies it
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Replace the roles of a member."""
    built_in, custom = split_roles(held)
    request = organization_service_pb2.SetMemberRolesRequest(user_id=user_id, roles=built_in, custom_role_ids=custom)

    def show(answer: Any) -> None:
        out.print(
            f"{answer.member.user.display_name}: {role_names(answer.member.roles, answer.member.custom_role_ids)}"
        )

    ask(person, lambda client: client.members.SetMemberRoles(request), show, as_json=as_json)


@app.command("remove")
@acting
def remove(user_id: UserId, person: Person = OWNER, as_json: Json = False) -> None:
    """End a membership; the person is signed out of the organization within seconds."""
    request = organization_service_pb2.RemoveMemberRequest(user_id=user_id)
    ask(
        person,
        lambda client: client.members.RemoveMember(request),
        lambda _: out.print("No member any more."),
        as_json=as_json,
    )


@acting
def organizations(person: Person = OWNER, as_json: Json = False) -> None:
    """Show the organizations that a person belongs to; --organization of other commands chooses among them."""

    def show(answer: Any) -> None:
        rows = (
            (
                one.organization.slug,
                one.organization.name,
                role_names(one.roles, one.custom_role_ids),
                when(one.organization.created_at),
            )
            for one in answer.organizations
        )
        table(("slug", "name", "roles", "made"), rows, empty="None.")

    request = membership_service_pb2.ListMyOrganizationsRequest()
    ask(person, lambda client: client.organizations.ListMyOrganizations(request), show, as_json=as_json)

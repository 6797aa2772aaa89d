"""`deskmesh sso`: signing in to an organization by an OpenID provider of its own."""

import sys
from typing import Annotated, Any

import typer

from deskmesh.auth.v1 import identity_provider_pb2
from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.members import role_names, split_roles
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person
from deskmesh_cli.console import fail, out
from deskmesh_cli.records import ask, table, when

app = typer.Typer(help="Signing in by a provider of the organization's own.", no_args_is_help=True)

ROLES = ("customer", "agent", "supervisor", "admin")

Name = Annotated[str, typer.Argument(help="Name that the button shows.")]
Issuer = Annotated[str, typer.Argument(help="Issuer, such as https://id.acme.example.")]
ClientId = Annotated[str, typer.Argument(help="What Deskmesh is called there.")]
Subject = Annotated[str, typer.Argument(help="The person's identifier there.")]
UserId = Annotated[str, typer.Argument(help="Identifier of the member.")]
Domains = Annotated[list[str], typer.Option("--domain", help="Domain of addresses to let in; repeat.")]
Hosts = Annotated[list[str], typer.Option("--host", help="Another host where its endpoints stand; repeat.")]
Creates = Annotated[bool, typer.Option("--create-users", help="Make accounts for who comes for the first time.")]
RoleName = Annotated[str, typer.Option("--role", help=f"Role of those: {', '.join(ROLES)}.")]
GroupRoles = Annotated[
    list[str],
    typer.Option("--group", help="GROUP=ROLE: a role, built-in or custom, for who is in a group there; repeat."),
]
Claim = Annotated[str, typer.Option("--groups-claim", help="Claim that names a person's groups.")]
_HIDDEN = (
    "Read the secret that goes with the client ID from the standard input; the one that is known stays without it."
)
Secret = Annotated[bool, typer.Option("--secret", help=_HIDDEN)]


@app.command("show")
@acting
def show(person: Person = OWNER, as_json: Json = False) -> None:
    """Show the provider; never its secret."""
    request = pb.GetIdentityProviderRequest()
    ask(person, lambda client: client.identity_providers.GetIdentityProvider(request), _show, as_json=as_json)


@app.command("set")
@acting
def set_provider(
    name: Name,
    issuer: Issuer,
    client_id: ClientId,
    domain: Domains = [],  # noqa: B006 - typer copies it
    host: Hosts = [],  # noqa: B006 - typer copies it
    create_users: Creates = False,
    newcomers: RoleName = "customer",
    group: GroupRoles = [],  # noqa: B006 - typer copies it
    groups_claim: Claim = "groups",
    secret: Secret = False,
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Set up the provider, or replace its settings, once it has answered as one."""
    if newcomers not in ROLES:
        raise fail(f"There is no role {newcomers} to give.", f"Say one of {', '.join(ROLES)}.")
    if not domain:
        raise fail("Whose addresses are let in?", "Name at least one --domain.")
    request = pb.SetIdentityProviderRequest(
        name=name,
        issuer=issuer,
        client_id=client_id,
        client_secret=_secret() if secret else "",
        email_domains=domain,
        hosts=host,
        creates_users=create_users,
        role=f"ROLE_{newcomers.upper()}",
        groups_claim=groups_claim,
        group_roles=[_group_role(one) for one in group],
    )
    ask(person, lambda client: client.identity_providers.SetIdentityProvider(request), _show, as_json=as_json)


@app.command("remove")
@acting
def remove(person: Person = OWNER, as_json: Json = False) -> None:
    """Remove the provider, and end the sign-ins by it."""
    request = pb.RemoveIdentityProviderRequest()
    ask(
        person,
        lambda client: client.identity_providers.RemoveIdentityProvider(request),
        lambda answer: out.print(f"Removed; {answer.ended_sign_ins} sign-ins ended."),
        as_json=as_json,
    )


@app.command("links")
@acting
def links(person: Person = OWNER, as_json: Json = False) -> None:
    """Show by which identities one signs in to the organization."""
    ask(
        person,
        lambda client: client.identity_providers.ListIdentityLinks(pb.ListIdentityLinksRequest()),
        lambda answer: table(
            ("issuer", "subject", "counts", "linked"),
            (
                (one.issuer, one.subject, "yes" if one.active else "no", when(one.linked_at))
                for one in answer.identity_links
            ),
            empty="None.",
        ),
        as_json=as_json,
    )


@app.command("unlink")
@acting
def unlink(issuer: Issuer, subject: Subject, person: Person = OWNER, as_json: Json = False) -> None:
    """Sign in by one of these identities no more."""
    request = pb.RemoveIdentityLinkRequest(issuer=issuer, subject=subject)
    ask(
        person,
        lambda client: client.identity_providers.RemoveIdentityLink(request),
        lambda answer: out.print(f"Not linked any more; {answer.ended_sign_ins} sign-ins ended."),
        as_json=as_json,
    )


@app.command("unlink-member")
@acting
def unlink_member(user_id: UserId, person: Person = OWNER, as_json: Json = False) -> None:
    """Let a member sign in by no identity any more, until they link one anew."""
    request = pb.RemoveMemberIdentityLinksRequest(user_id=user_id)
    ask(
        person,
        lambda client: client.identity_providers.RemoveMemberIdentityLinks(request),
        lambda answer: out.print(f"{answer.removed} identities removed; {answer.ended_sign_ins} sign-ins ended."),
        as_json=as_json,
    )


def _group_role(said: str) -> identity_provider_pb2.GroupRole:
    # Names of groups may hold "=", as those of directories do; roles do not.
    group, _, name = said.rpartition("=")
    if not group or name == "owner":
        raise fail(f"{said} gives nobody a role.", "Say GROUP=ROLE; owners are not made like this.")
    built_in, custom = split_roles([name])
    if custom:
        return identity_provider_pb2.GroupRole(group=group, custom_role_id=custom[0])
    return identity_provider_pb2.GroupRole(group=group, role=built_in[0])


def _given(one: Any) -> str:
    built_in = one.WhichOneof("held") == "role"
    return f"{one.group} → {role_names([one.role], ()) if built_in else one.custom_role_id}"


def _secret() -> str:
    # Not an option: it would stay in the shell's history and in the list of processes.
    if sys.stdin.isatty():
        typed: str = typer.prompt("Client secret", hide_input=True, err=True)
        return typed
    return sys.stdin.readline().strip()


def _show(answer: Any) -> None:
    found = answer.identity_provider
    first = f"get an account as {role_names([found.role], ())}" if found.creates_users else "are not let in"
    lines = {
        "name": found.name,
        "issuer": found.issuer,
        "client ID": found.client_id,
        "addresses of": ", ".join(found.email_domains),
        "other hosts": ", ".join(found.hosts) or "none",
        "newcomers": first,
        "groups": f"by the claim {found.groups_claim}" if found.group_roles else "give no roles",
        "redirect URI": found.redirect_uri,
        "logout URI": found.backchannel_logout_uri,
        "since": when(found.updated_at),
    }
    for what, value in lines.items():
        out.print(f"{what:13} {value}", markup=False, highlight=False)
        for one in found.group_roles if what == "groups" else ():
            out.print(f"{'':13} {_given(one)}", markup=False, highlight=False)

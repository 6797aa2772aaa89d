"""`deskmesh invitations`: people asked by e-mail to become members."""

import uuid
from typing import Annotated, Any

import typer

from deskmesh.auth.v1 import invitation_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.members import Held, role_names, split_roles
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person
from deskmesh_cli.console import out
from deskmesh_cli.records import ask, table, when

app = typer.Typer(help="People asked by e-mail to become members.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(help="E-mail address to invite.")]
InvitationId = Annotated[str, typer.Argument(help="Identifier of the invitation.")]


@app.command("list")
@acting
def list_invitations(person: Person = OWNER, as_json: Json = False) -> None:
    """Show the open invitations."""
    request = pb.ListInvitationsRequest()
    ask(
        person,
        lambda client: client.invitations.ListInvitations(request),
        lambda answer: _show(answer.invitations),
        as_json=as_json,
    )


@app.command("create")
@acting
def create(
    address: Address,
    held: Held = [],  # noqa: B006 - typer copies it
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Send somebody a link that makes them a member."""
    built_in, custom = split_roles(held)
    request = pb.CreateInvitationRequest(
        request_id=uuid.uuid4().hex, email=address, roles=built_in, custom_role_ids=custom
    )
    ask(
        person,
        lambda client: client.invitations.CreateInvitation(request),
        lambda answer: _show([answer.invitation]),
        as_json=as_json,
    )


@app.command("resend")
@acting
def resend(invitation_id: InvitationId, person: Person = OWNER, as_json: Json = False) -> None:
    """Send an invitation again; the link sent before holds no longer."""
    request = pb.ResendInvitationRequest(invitation_id=invitation_id)
    ask(
        person,
        lambda client: client.invitations.ResendInvitation(request),
        lambda answer: _show([answer.invitation]),
        as_json=as_json,
    )


@app.command("revoke")
@acting
def revoke(invitation_id: InvitationId, person: Person = OWNER, as_json: Json = False) -> None:
    """Withdraw an invitation."""
    request = pb.RevokeInvitationRequest(invitation_id=invitation_id)
    ask(
        person,
        lambda client: client.invitations.RevokeInvitation(request),
        lambda _: out.print("Withdrawn."),
        as_json=as_json,
    )


def _show(invitations: Any) -> None:
    rows = (
        (one.id, one.email, role_names(one.roles, one.custom_role_ids), when(one.expires_at)) for one in invitations
    )
    table(("id", "e-mail", "roles", "until"), rows, empty="No open invitations.")

"""`deskmesh api-keys`: how programs get in, as a person or as a service account."""

import uuid
from datetime import timedelta
from typing import Annotated, Any

import typer

from deskmesh.auth.v1 import api_key_service_pb2 as pb
from deskmesh_cli.commands.acting import OWNER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person
from deskmesh_cli.console import out
from deskmesh_cli.records import ask, table, when

app = typer.Typer(help="Keys for programs, and the service accounts they act as.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name to tell it by.")]
KeyId = Annotated[str, typer.Argument(help="Identifier of the key.")]
AccountId = Annotated[str, typer.Argument(help="Identifier of the service account.")]
Account = Annotated[str, typer.Option(help="Service account it acts as; you if empty.")]
Scopes = Annotated[list[str], typer.Option("--scope", help="A permission it holds; repeat.")]
Networks = Annotated[list[str], typer.Option("--from", help="Network it may be used from, such as 203.0.113.0/24.")]
Days = Annotated[int, typer.Option(min=1, max=730, help="How long it holds.")]
Overlap = Annotated[int, typer.Option(min=0, max=168, help="Hours that the old key goes on.")]
Ended = Annotated[bool, typer.Option("--all", help="Keys that have ended, too.")]


@app.command("list")
@acting
def list_keys(account: Account = "", ended: Ended = False, person: Person = OWNER, as_json: Json = False) -> None:
    """Show keys; never their secrets."""

    async def call(client: Any) -> Any:
        found = pb.ListApiKeysResponse()
        token = ""
        while True:
            page = await client.api_keys.ListApiKeys(
                pb.ListApiKeysRequest(service_account_id=account, include_ended=ended, page_size=200, page_token=token)
            )
            found.api_keys.extend(page.api_keys)
            token = page.next_page_token
            if not token:
                return found

    ask(person, call, lambda answer: _show(answer.api_keys), as_json=as_json)


@app.command("create")
@acting
def create(
    name: Name,
    scope: Scopes = [],  # noqa: B006 - typer copies it
    account: Account = "",
    networks: Networks = [],  # noqa: B006 - typer copies it
    days: Days = 90,
    person: Person = OWNER,
    as_json: Json = False,
) -> None:
    """Make a key and show its secret, this once."""
    request = pb.CreateApiKeyRequest(name=name, scopes=scope, service_account_id=account, allowed_networks=networks)
    request.lifetime.FromTimedelta(timedelta(days=days))
    ask(person, lambda client: client.api_keys.CreateApiKey(request), _show_secret, as_json=as_json)


@app.command("rotate")
@acting
def rotate(key_id: KeyId, overlap_hours: Overlap = 0, person: Person = OWNER, as_json: Json = False) -> None:
    """Replace a key by a new one like it, and show the new one's secret, this once."""
    request = pb.RotateApiKeyRequest(api_key_id=key_id)
    request.overlap.FromTimedelta(timedelta(hours=overlap_hours))
    ask(person, lambda client: client.api_keys.RotateApiKey(request), _show_secret, as_json=as_json)


@app.command("revoke")
@acting
def revoke(key_id: KeyId, person: Person = OWNER, as_json: Json = False) -> None:
    """End a key, everywhere within five seconds."""
    request = pb.RevokeApiKeyRequest(api_key_id=key_id)
    ask(
        person,
        lambda client: client.api_keys.RevokeApiKey(request),
        lambda answer: _show([answer.api_key]),
        as_json=as_json,
    )


@app.command("accounts")
@acting
def accounts(person: Person = OWNER, as_json: Json = False) -> None:
    """Show the service accounts."""
    request = pb.ListServiceAccountsRequest()
    ask(
        person,
        lambda client: client.api_keys.ListServiceAccounts(request),
        lambda answer: _show_accounts(answer.service_accounts),
        as_json=as_json,
    )


@app.command("create-account")
@acting
def create_account(name: Name, person: Person = OWNER, as_json: Json = False) -> None:
    """Make a service account."""
    request = pb.CreateServiceAccountRequest(request_id=uuid.uuid4().hex, name=name)
    ask(
        person,
        lambda client: client.api_keys.CreateServiceAccount(request),
        lambda answer: _show_accounts([answer.service_account]),
        as_json=as_json,
    )


@app.command("delete-account")
@acting
def delete_account(account_id: AccountId, person: Person = OWNER, as_json: Json = False) -> None:
    """Delete a service account and revoke its keys."""
    request = pb.DeleteServiceAccountRequest(service_account_id=account_id)
    ask(
        person,
        lambda client: client.api_keys.DeleteServiceAccount(request),
        lambda _: out.print("Deleted, and its keys revoked."),
        as_json=as_json,
    )


def _show_secret(answer: Any) -> None:
    _show([answer.api_key])
    out.print("\nThe secret, which is shown this once:")
    # Apart from Rich, which would break a long line.
    typer.echo(answer.secret)


def _show(keys: Any) -> None:
    rows = (
        (
            one.id,
            one.prefix + "…",
            one.name,
            one.service_account_id or one.user_id,
            ", ".join(one.scopes),
            f"revoked {when(one.revoked_at)}" if one.HasField("revoked_at") else when(one.expires_at),
            when(one.last_used_at) or "never",
        )
        for one in keys
    )
    table(("id", "begins", "name", "acts as", "scopes", "until", "last used"), rows, empty="No keys.")


def _show_accounts(accounts: Any) -> None:
    rows = ((one.id, one.name, when(one.created_at)) for one in accounts)
    table(("id", "name", "made"), rows, empty="No service accounts.")

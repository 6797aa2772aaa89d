"""`deskmesh account`: how an account is secured, and ending all its sign-ins."""

from typing import Annotated

import typer

from deskmesh.auth.v1 import account_service_pb2
from deskmesh_cli.commands.options import As, Email, Json, Organization, Password
from deskmesh_cli.connection import Person, connected, print_json, run
from deskmesh_cli.console import fail, out


def account(
    action: Annotated[
        str, typer.Argument(help="`show`, `verify` to send the link again, or `sign-out` everywhere.")
    ] = "show",
    role: As = "customer",
    email: Email = "",
    password: Password = "",
    organization: Organization = "",
    as_json: Json = False,
) -> None:
    """Show how an account is secured, or end every sign-in of it within five seconds."""
    if action not in ("show", "verify", "sign-out"):
        raise fail(f"There is no action {action}.", "Say `show`, `verify` or `sign-out`.")
    person = Person(role, email, password, organization)

    async def work() -> int:
        async with connected(person) as client:
            if action == "sign-out":
                await client.sign_out_everywhere()
                _say("Signed out everywhere.", {"signed_out": True}, as_json=as_json)
                return 0
            if action == "verify":
                await client.accounts.SendVerification(account_service_pb2.SendVerificationRequest())
                _say("The link is on its way; `deskmesh mail` shows it.", {"sent": True}, as_json=as_json)
                return 0
            found = await client.accounts.GetAccount(account_service_pb2.GetAccountRequest())
        verified = found.HasField("email_verified_at")
        data: dict[str, object] = {"email_verified": verified}
        _say(f"E-mail address {'verified' if verified else 'not verified'}.", data, as_json=as_json)
        return 0

    run(work, as_json=as_json)


def _say(text: str, data: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        out.print(text)

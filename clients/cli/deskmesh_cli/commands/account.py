"""`deskmesh account`: how an account is secured, its second factor, and ending all its sign-ins."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from deskmesh.auth.v1 import account_service_pb2, mfa_service_pb2
from deskmesh_cli.commands.acting import CUSTOMER, acting
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import Person, ask_code, confirmed, connected, print_json, run
from deskmesh_cli.console import fail, out
from deskmesh_client import Client

Told = tuple[str, dict[str, object]]

_HELP = """What to do: `show`; `verify` to send the link again; `sign-out` everywhere; `totp` to set up an authenticator
app, `no-totp` to remove it, `codes` for new recovery codes."""


@acting
def account(
    action: Annotated[str, typer.Argument(help=_HELP)] = "show", person: Person = CUSTOMER, as_json: Json = False
) -> None:
    """Show or change how an account is secured."""
    if action not in ACTIONS:
        raise fail(f"There is no action {action}.", f"Say one of {', '.join(ACTIONS)}.")

    async def work() -> int:
        async with connected(person) as client:
            text, data = await confirmed(client, person, ACTIONS[action])
        if as_json:
            print_json(data)
        else:
            out.print(text, markup=False)
        return 0

    run(work, as_json=as_json)


async def _show(client: Client) -> Told:
    found = await client.accounts.GetAccount(account_service_pb2.GetAccountRequest())
    verified, left = found.HasField("email_verified_at"), found.recovery_codes_left
    factor = f"authenticator app, {left} recovery codes left" if found.totp_enabled else "none"
    text = f"E-mail address: {'verified' if verified else 'not verified'}\nSecond factor:  {factor}"
    return text, {"email_verified": verified, "totp_enabled": found.totp_enabled, "recovery_codes_left": left}


async def _verify(client: Client) -> Told:
    await client.accounts.SendVerification(account_service_pb2.SendVerificationRequest())
    return "The link is on its way; `deskmesh mail last` shows it.", {"sent": True}


async def _sign_out(client: Client) -> Told:
    await client.sign_out_everywhere()
    return "Signed out everywhere.", {"signed_out": True}


async def _totp(client: Client) -> Told:
    begun = await client.mfa.BeginTotp(mfa_service_pb2.BeginTotpRequest())
    typer.echo(f"Add this to your authenticator app:\n  {begun.secret}\n  {begun.uri}", err=True)
    code = ask_code()
    confirmed = await client.mfa.ConfirmTotp(mfa_service_pb2.ConfirmTotpRequest(code=code.strip()))
    return _told(list(confirmed.recovery_codes))


async def _no_totp(client: Client) -> Told:
    await client.mfa.DisableTotp(mfa_service_pb2.DisableTotpRequest())
    return "The authenticator app is removed.", {"totp_enabled": False}


async def _codes(client: Client) -> Told:
    replaced = await client.mfa.ReplaceRecoveryCodes(mfa_service_pb2.ReplaceRecoveryCodesRequest())
    return _told(list(replaced.recovery_codes))


def _told(codes: list[str]) -> Told:
    return "Keep these recovery codes; each works once:\n  " + "\n  ".join(codes), {"recovery_codes": codes}


ACTIONS: dict[str, Callable[[Client], Awaitable[Told]]] = {
    "show": _show,
    "verify": _verify,
    "sign-out": _sign_out,
    "totp": _totp,
    "no-totp": _no_totp,
    "codes": _codes,
}

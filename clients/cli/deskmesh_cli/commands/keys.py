"""`deskmesh keys`: the keys that sign access tokens, as whoever runs this stack."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import grpc
import grpc.aio
import typer
from rich.table import Table

from deskmesh.auth.v1 import signing_key_service_pb2 as signing
from deskmesh.auth.v1.signing_key_service_pb2_grpc import SigningKeyServiceStub
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import NoSignIn, print_json, run
from deskmesh_cli.console import fail, out
from deskmesh_client.errors import from_rpc_error
from laptop.settings import StackSettings
from laptop.stack import SERVICES

DEADLINE_SECONDS = 15.0


def keys(
    action: Annotated[str, typer.Argument(help="`list`, or `rotate` to make a new key.")] = "list",
    as_json: Json = False,
) -> None:
    """Show the keys that sign access tokens, or replace the one in use; no call fails meanwhile."""
    if action not in ("list", "rotate"):
        raise fail(f"There is no action {action}.", "Say `deskmesh keys list` or `deskmesh keys rotate`.")

    async def work() -> int:
        async with operator("auth") as channel:
            stub = SigningKeyServiceStub(channel)
            try:
                found = await (
                    stub.RotateSigningKeys(signing.RotateSigningKeysRequest(), timeout=DEADLINE_SECONDS)
                    if action == "rotate"
                    else stub.ListSigningKeys(signing.ListSigningKeysRequest(), timeout=DEADLINE_SECONDS)
                )
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from None
        _print(found.keys, as_json=as_json)
        return 0

    run(work, as_json=as_json)


@asynccontextmanager
async def operator(service: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel straight to a service of this machine's stack, by the operator's certificate. Raises NoSignIn."""
    settings = StackSettings()
    folder = settings.paths.pki / "laptop"
    try:
        ca, key, certificate = ((folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    except FileNotFoundError:
        raise NoSignIn("The stack has not been started here yet: run `deskmesh up`.") from None
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    options = [("grpc.ssl_target_name_override", service)]
    address = f"127.0.0.1:{settings.base_port + SERVICES[service]}"
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        yield channel


def _print(found: Sequence[signing.SigningKey], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "id": key.id,
                    "created_at": key.created_at.ToJsonString(),
                    "signs_from": key.signs_from.ToJsonString(),
                    "signing": key.signing,
                }
                for key in found
            ]
        )
        return
    table = Table("id", "made", "signs from", "", box=None, header_style="bold")
    for key in found:
        made, signs = (f"{moment.ToDatetime():%Y-%m-%d %H:%M:%S} UTC" for moment in (key.created_at, key.signs_from))
        table.add_row(key.id, made, signs, "signs now" if key.signing else "")
    out.print(table)

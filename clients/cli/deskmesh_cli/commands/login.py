"""`deskmesh login` and `deskmesh logout`: signing in without typing a password here."""

import ssl
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import typer

from deskmesh.auth.v1 import auth_service_pb2
from deskmesh_cli.commands.options import Json
from deskmesh_cli.connection import ME, NoSignIn, Person, connected, own_session, print_json, run
from deskmesh_cli.device import Post, Shown, let_in
from deskmesh_client.session import Tokens
from laptop.settings import StackSettings

TIMEOUT_SECONDS = 20.0


def login(as_json: Json = False) -> None:
    """Sign in by a code that you enter in a browser; then `--as me` makes other commands act as you."""

    async def work() -> int:
        settings = StackSettings()
        if not settings.paths.ca_certificate.exists():
            raise NoSignIn("The stack has not been started here yet: run `deskmesh up`.")
        trust = ssl.create_default_context(cafile=str(settings.paths.ca_certificate))
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=trust)) as http:
            granted = await let_in(poster(http, f"https://localhost:{settings.edge_port}"), _show)
        tokens = Tokens(granted.access_token, time.time() + granted.lifetime_seconds, granted.refresh_token)
        own_session(settings).save(tokens)
        async with connected(Person(role=ME)) as client:
            me = (await client.auth.WhoAmI(auth_service_pb2.WhoAmIRequest())).principal
        if as_json:
            print_json({"user_id": me.user.id, "email": me.user.email, "organization": me.organization.slug})
        else:
            typer.echo(f"You are {me.user.display_name} at {me.organization.name}. Add `--as me` to other commands.")
        return 0

    run(work, as_json=as_json)


def logout(as_json: Json = False) -> None:
    """End the sign-in of `deskmesh login`."""

    async def work() -> int:
        session = own_session(StackSettings())
        if session.load() is not None:
            async with connected(Person(role=ME)) as client:
                await client.sign_out()
        if as_json:
            print_json({"signed_out": True})
        else:
            typer.echo("Signed out.")
        return 0

    run(work, as_json=as_json)


def _show(shown: Shown) -> None:
    typer.echo(f"Open {shown.page}\nand enter the code {shown.code}\n\nOr open {shown.whole}\n", err=True)


def poster(http: aiohttp.ClientSession, edge: str) -> Post:
    """Posts to the edge, which stands at an address such as `https://localhost:8443`."""

    async def post(path: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            async with http.post(f"{edge}{path}", data=form) as answer:
                document: dict[str, Any] = await answer.json()
                return answer.status, document
        except (aiohttp.ClientError, TimeoutError, ValueError):
            raise NoSignIn("The stack does not answer; look at `deskmesh status`.") from None

    return post

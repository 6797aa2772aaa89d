"""How commands that call the platform find it and sign in."""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import BaseModel, TypeAdapter

from deskmesh.auth.v1 import account_service_pb2
from deskmesh_client import Client, DeskmeshError, FileSession
from deskmesh_client.errors import SecondFactorRequired, StepUpRequired
from laptop.settings import StackSettings

T = TypeVar("T")

ME = "me"


class SignIn(BaseModel):
    """Somebody to sign in as."""

    role: str
    email: str
    password: str
    display_name: str = ""


class DemoSignIns(BaseModel):
    """What the first start of a stack writes for people who try it."""

    organization: str
    users: list[SignIn]


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a command acts as; an empty e-mail address means the demo organization's person of this role.

    The role `ME` means whoever signed in by `deskmesh login`.
    """

    role: str = "customer"
    email: str = ""
    password: str = ""
    organization: str = ""


class NoSignIn(Exception):
    """Nobody to sign in as; the text says what to do."""


def sign_in_of(person: Person, secrets: Path) -> tuple[SignIn, str]:
    """The e-mail and password to use, with the organization's slug. Raises NoSignIn."""
    if person.email:
        return SignIn(role="", email=person.email, password=person.password), person.organization
    try:
        demo = TypeAdapter(DemoSignIns).validate_json((secrets / "demo.json").read_bytes())
    except FileNotFoundError:
        raise NoSignIn("There are no demo sign-ins yet: run `deskmesh up`, or give --email and --password.") from None
    for user in demo.users:
        if user.role == person.role:
            return user, demo.organization
    raise NoSignIn(f"The demo organization has nobody with the role {person.role!r}.")


@asynccontextmanager
async def connected(person: Person) -> AsyncIterator[Client]:
    """A client that is signed in; the session is kept in the state folder, so that the next command need not sign in.

    Raises NoSignIn or DeskmeshError.
    """
    settings = StackSettings()
    if person.role == ME and not person.email:
        async with _connected_as_me(settings) as client:
            yield client
        return
    sign_in, organization = sign_in_of(person, settings.paths.secrets)
    if not settings.paths.ca_certificate.exists():
        raise NoSignIn("The stack has not been started here yet: run `deskmesh up`.")
    key = hashlib.sha256(f"{sign_in.email} {sign_in.password} {organization}".encode()).hexdigest()[:16]
    session = FileSession(settings.paths.secrets / "sessions" / f"{key}.json")
    address = f"localhost:{settings.edge_port}"
    async with Client(address, ca_file=settings.paths.ca_certificate, session=session) as client:
        try:
            await client.access_token()
        except DeskmeshError as error:
            if error.code.name != "UNAUTHENTICATED":
                raise
            try:
                await client.sign_in(sign_in.email, sign_in.password, organization)
            except SecondFactorRequired as challenge:
                await client.complete_sign_in(challenge.challenge_token, ask_code())
        yield client


@asynccontextmanager
async def _connected_as_me(settings: StackSettings) -> AsyncIterator[Client]:
    session = own_session(settings)
    if session.load() is None:
        raise NoSignIn("Nobody has signed in here: run `deskmesh login`.")
    address = f"localhost:{settings.edge_port}"
    async with Client(address, ca_file=settings.paths.ca_certificate, session=session) as client:
        try:
            await client.access_token()
        except DeskmeshError as error:
            if error.code.name != "UNAUTHENTICATED":
                raise
            session.save(None)
            raise NoSignIn("Your sign-in has ended: run `deskmesh login`.") from None
        yield client


def own_session(settings: StackSettings) -> FileSession:
    """Where the sign-in of `deskmesh login` is kept."""
    return FileSession(settings.paths.secrets / "sessions" / f"{ME}.json")


async def confirmed(client: Client, person: Person, call: Callable[[Client], Awaitable[T]]) -> T:
    """What the call answers; where it wants a fresh proof of who is there, it is made once more after that.

    Raises NoSignIn when a code is needed and nobody is there to type it.
    """
    try:
        return await call(client)
    except StepUpRequired:
        password = password_of(person)
        found = await client.accounts.GetAccount(account_service_pb2.GetAccountRequest())
        await client.step_up(password, ask_code() if found.totp_enabled else "")
        return await call(client)


def password_of(person: Person) -> str:
    """The password at hand, or typed by whoever signed in without one. Raises NoSignIn without anybody to type it."""
    if person.role != ME or person.email:
        return sign_in_of(person, StackSettings().paths.secrets)[0].password
    if not sys.stdin.isatty():
        raise NoSignIn("This needs your password; call it from a terminal, where it can be typed.")
    password: str = typer.prompt("Your password", hide_input=True, err=True)
    return password


def ask_code() -> str:
    """A code of the second factor, typed by whoever sits there. Raises NoSignIn without anybody."""
    if not sys.stdin.isatty():
        raise NoSignIn("This account has a second factor; sign in from a terminal, where its code can be typed.")
    code: str = typer.prompt("Code of the authenticator app, or a recovery code", err=True)
    return code


def run(work: Callable[[], Coroutine[Any, Any, int]], *, as_json: bool) -> None:
    """Run a command to its exit code; a failure is told in one line, or as JSON, and ends with 1."""
    try:
        code = asyncio.run(work())
    except (DeskmeshError, NoSignIn) as error:
        if as_json:
            print_json({"error": failure(error)})
        else:
            typer.echo(f"{error}", err=True)
            if isinstance(error, DeskmeshError) and error.trace_id:
                typer.echo(f"Trace: {error.trace_id}", err=True)
        code = 1
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


def failure(error: DeskmeshError | NoSignIn) -> dict[str, object]:
    """A failure as data."""
    if isinstance(error, NoSignIn):
        return {"reason": "NO_SIGN_IN", "message": str(error)}
    return {
        "reason": error.reason,
        "message": error.message,
        "code": error.code.name,
        "retry_after_seconds": error.retry_after_seconds,
        "violations": [{"field": v.field, "description": v.description} for v in error.violations],
        "trace_id": error.trace_id,
    }


def print_json(value: object) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")

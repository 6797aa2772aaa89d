"""Accounts through the public interface of the whole stack: letters, resets, signing out everywhere, signing keys."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import jwt
import pytest

from deskmesh.auth.v1 import account_service_pb2, auth_service_pb2
from deskmesh.knowledge.v1 import article_service_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2
from deskmesh.sessions.v1 import conversation_service_pb2
from deskmesh.tickets.v1 import ticket_service_pb2
from deskmesh_client import Client, DeskmeshError
from deskmesh_client.errors import CredentialsInvalid
from deskmesh_client.session import Tokens
from laptop import mailbox
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

PASSWORD, NEW = "a long enough phrase", "another long enough phrase"

# A call of each service that every signed-in person may make; what it finds does not matter.
CALLS: dict[str, Callable[[Client, str], Awaitable[object]]] = {
    "auth": lambda client, _: client.auth.WhoAmI(auth_service_pb2.WhoAmIRequest()),
    "sessions": lambda client, _: client.conversations.ListConversations(
        conversation_service_pb2.ListConversationsRequest()
    ),
    "tickets": lambda client, _: client.tickets.ListTickets(ticket_service_pb2.ListTicketsRequest()),
    "knowledge": lambda client, _: client.articles.ListArticles(article_service_pb2.ListArticlesRequest()),
    "orchestrator": lambda client, turn: client.orchestrator.GetTurn(
        orchestrator_service_pb2.GetTurnRequest(turn_id=turn)
    ),
}


async def signed_up(client: Client, stack: Stack) -> str:
    """A new customer of the demo organization; returns the address."""
    email = f"{uuid.uuid4().hex}@example.org"
    await client.sign_up_customer(email, PASSWORD, "New Customer", stack.demo().organization)
    return email


async def letter(stack: Stack, email: str, subject: str) -> str:
    """The token of the link in a letter, as `deskmesh mail` shows it."""
    async with asyncio.timeout(15):
        while not (found := [one for one in _sent(stack, email) if one.subject == subject]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    shown = await asyncio.to_thread(stack.deskmesh_json, "mail", found[0].id)
    return str(shown["text"].partition("#")[2].split()[0])


def _sent(stack: Stack, email: str) -> list[mailbox.Letter]:
    return [one for one in mailbox.read(stack.home / "mail") if one.to == email]


@pytest.mark.parametrize("role", ["owner", "agent", "customer"])
async def test_the_demo_people_have_verified_addresses(whole_stack: Stack, role: str) -> None:
    shown = await asyncio.to_thread(whole_stack.deskmesh_json, "account", "show", "--as", role)
    assert shown["email_verified"] is True


async def test_an_address_is_verified_and_a_password_reset_by_letter(whole_stack: Stack) -> None:
    async with whole_stack.client() as client:
        email = await signed_up(client, whole_stack)
        token = await letter(whole_stack, email, "Verify your e-mail address")
        await client.accounts.VerifyEmail(account_service_pb2.VerifyEmailRequest(token=token))
        got = await client.accounts.GetAccount(account_service_pb2.GetAccountRequest())
        assert got.HasField("email_verified_at")
        async with whole_stack.client() as stranger:
            await stranger.accounts.RequestPasswordReset(account_service_pb2.RequestPasswordResetRequest(email=email))
            token = await letter(whole_stack, email, "Choose a new password")
            request = account_service_pb2.ResetPasswordRequest(token=token, new_password=NEW)
            await stranger.accounts.ResetPassword(request)
            with pytest.raises(CredentialsInvalid):
                await stranger.sign_in(email, PASSWORD)
            await stranger.sign_in(email, NEW)


async def test_signing_out_everywhere_ends_access_on_every_service_within_five_seconds(whole_stack: Stack) -> None:
    async with whole_stack.client() as client:
        await signed_up(client, whole_stack)
        token = await client.access_token()

        async def reason(name: str) -> str:
            # A client that knows nothing but the access token: it cannot renew it.
            async with whole_stack.client() as bare:
                bare._session.save(_tokens(token))
                try:
                    await CALLS[name](bare, "trn_unknown")
                except DeskmeshError as error:
                    return error.reason
                return ""

        assert {name: await reason(name) for name in CALLS} == {
            "auth": "",
            "sessions": "",
            "tickets": "",
            "knowledge": "",
            "orchestrator": "TURN_NOT_FOUND",
        }
        await client.sign_out_everywhere()
        began = time.monotonic()
        left = set(CALLS)
        while left:
            assert time.monotonic() - began < 5, f"still let in: {left}"
            left = {name for name in left if await reason(name) not in ("TOKEN_REVOKED", "REFRESH_TOKEN_INVALID")}


def _tokens(access_token: str) -> Tokens:

    return Tokens(access_token, time.time() + 300, "no refresh token")


async def test_a_new_signing_key_is_made_on_command_and_nothing_fails(whole_stack: Stack) -> None:
    async with whole_stack.client("customer") as client:
        before = await asyncio.to_thread(whole_stack.deskmesh_json, "keys", "list")
        stop = asyncio.Event()

        async def calls() -> int:
            made = 0
            while not stop.is_set():
                await CALLS["auth"](client, "")
                made += 1
            return made

        load = asyncio.create_task(calls())
        after = await asyncio.to_thread(whole_stack.deskmesh_json, "keys", "rotate")
        stop.set()
        assert await load
        assert [key["id"] for key in after[:-1]] == [key["id"] for key in before]
        # The new one does not sign before everybody knows it.
        assert [key["id"] for key in after if key["signing"]] == [key["id"] for key in before if key["signing"]]
        async with whole_stack.client("customer") as another:
            kid = jwt.get_unverified_header(await another.access_token())["kid"]
        assert kid in [key["id"] for key in before]

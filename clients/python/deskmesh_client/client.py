"""The client: one connection, one signed-in person, every service."""

import pathlib
import time
import uuid
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import grpc

from deskmesh.auth.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    api_key_service_pb2_grpc,
    audit_service_pb2_grpc,
    auth_service_pb2,
    auth_service_pb2_grpc,
    consent_service_pb2_grpc,
    identity_provider_service_pb2_grpc,
    invitation_service_pb2_grpc,
    membership_service_pb2_grpc,
    mfa_service_pb2,
    mfa_service_pb2_grpc,
    organization_service_pb2_grpc,
    passkey_service_pb2_grpc,
    role_service_pb2_grpc,
)
from deskmesh.auth.v1.auth_service_pb2 import Principal
from deskmesh.knowledge.v1 import (
    article_service_pb2_grpc,
    ingest_service_pb2_grpc,
    search_service_pb2_grpc,
)
from deskmesh.knowledge.v1.ingest_service_pb2 import DocumentResult
from deskmesh.orchestrator.v1 import orchestrator_service_pb2_grpc
from deskmesh.orchestrator.v1.turn_pb2 import Turn
from deskmesh.sessions.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from deskmesh.sessions.v1.conversation_pb2 import Conversation
from deskmesh.sessions.v1.event_pb2 import ConversationEvent
from deskmesh.tickets.v1 import ticket_service_pb2_grpc
from deskmesh.usage.v1 import budget_service_pb2_grpc, usage_service_pb2_grpc
from deskmesh_client import articles, conversations
from deskmesh_client.conversations import Finished, Frame
from deskmesh_client.errors import DeskmeshError, SecondFactorRequired, SignInRequired
from deskmesh_client.interceptors import Caller, StreamInterceptor, UnaryInterceptor
from deskmesh_client.session import MemorySession, Session, Tokens

CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 8 << 20),
)


class Client:
    """Calls Deskmesh through its edge.

    The stubs (`conversations`, `tickets`, …) are the generated ones, so the contract types every call. The channel
    adds the token (renewed in time), a deadline of 30 s for unary calls, a trace context, retries where the contract
    says that a repeat is safe, and errors of `deskmesh_client.errors`. Many tasks of one event loop may use it.
    """

    def __init__(
        self,
        edge: str = "localhost:8443",
        *,
        ca_file: pathlib.Path | str | None = None,
        session: Session | None = None,
        api_key: str = "",
    ) -> None:
        """`edge` is host:port. `ca_file` holds the certificates to trust, the system's if None.

        With an `api_key` there is nobody to sign in: it goes with every call.
        """
        self._session = session or MemorySession()
        self._api_key = api_key
        root = pathlib.Path(ca_file).read_bytes() if ca_file is not None else None
        caller = Caller(self._token)
        self._channel = grpc.aio.secure_channel(
            edge,
            grpc.ssl_channel_credentials(root),
            options=CHANNEL_OPTIONS,
            interceptors=[UnaryInterceptor(caller), StreamInterceptor(caller)],
        )
        channel = self._channel
        self.auth = auth_service_pb2_grpc.AuthServiceStub(channel)
        self.passkeys = passkey_service_pb2_grpc.PasskeyServiceStub(channel)
        self.mfa = mfa_service_pb2_grpc.MfaServiceStub(channel)
        self.identity_providers = identity_provider_service_pb2_grpc.IdentityProviderServiceStub(channel)
        self.consents = consent_service_pb2_grpc.ConsentServiceStub(channel)
        self.accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        self.organizations = membership_service_pb2_grpc.MembershipServiceStub(channel)
        self.invitations = invitation_service_pb2_grpc.InvitationServiceStub(channel)
        self.roles = role_service_pb2_grpc.RoleServiceStub(channel)
        self.api_keys = api_key_service_pb2_grpc.ApiKeyServiceStub(channel)
        self.audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        self.members = organization_service_pb2_grpc.OrganizationServiceStub(channel)
        self.conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        self.tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)
        self.articles = article_service_pb2_grpc.ArticleServiceStub(channel)
        self.ingest = ingest_service_pb2_grpc.IngestServiceStub(channel)
        self.search = search_service_pb2_grpc.SearchServiceStub(channel)
        self.orchestrator = orchestrator_service_pb2_grpc.OrchestratorServiceStub(channel)
        self.usage = usage_service_pb2_grpc.UsageServiceStub(channel)
        self.budgets = budget_service_pb2_grpc.BudgetServiceStub(channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; open calls end as cancelled."""
        await self._channel.close(None)

    async def sign_in(self, email: str, password: str, organization: str = "") -> Principal:
        """Sign in; `organization` is a slug, the oldest membership if empty.

        Raises CredentialsInvalid, Busy, or SecondFactorRequired, whose token goes to `complete_sign_in`.
        """
        request = auth_service_pb2.SignInRequest(email=email, password=password, organization_slug=organization)
        response = await self.auth.SignIn(request)
        if response.HasField("challenge"):
            raise SecondFactorRequired(response.challenge.token)
        self._keep(response.tokens)
        return response.principal

    async def complete_sign_in(self, challenge_token: str, code: str) -> Principal:
        """Answer a challenge with six digits of the authenticator app, or a recovery code. Raises SignInRequired."""
        request = mfa_service_pb2.CompleteSignInRequest(challenge_token=challenge_token, code=code_of(code))
        response = await self.mfa.CompleteSignIn(request)
        self._keep(response.tokens)
        return response.principal

    async def step_up(self, password: str, code: str = "") -> None:
        """Prove anew who is signed in, for calls that fail with STEP_UP_REQUIRED; `code` if there is a second factor.

        Raises CredentialsInvalid, SignInRequired or Busy.
        """
        request = mfa_service_pb2.StepUpRequest(password=password, code=code_of(code) if code else None)
        proved = (await self.mfa.StepUp(request)).access_token
        tokens = self._session.load()
        if tokens is not None:
            expires_at = time.time() + proved.lifetime.ToTimedelta().total_seconds()
            self._session.save(Tokens(proved.value, expires_at, tokens.refresh_token))

    async def sign_up_customer(self, email: str, password: str, display_name: str, organization: str) -> Principal:
        """Make a customer of an organization, named by its slug, and sign in. Raises AlreadyExists or NotFound."""
        response = await self.auth.SignUp(
            auth_service_pb2.SignUpRequest(
                email=email, password=password, display_name=display_name, join_organization_slug=organization
            )
        )
        self._keep(response.tokens)
        return response.principal

    async def sign_out(self) -> None:
        """Revoke the session's tokens and forget them."""
        tokens = self._session.load()
        if tokens is not None:
            await self.auth.SignOut(auth_service_pb2.SignOutRequest(refresh_token=tokens.refresh_token))
        self._session.save(None)

    async def sign_out_everywhere(self) -> None:
        """End every sign-in of the person, everywhere, and forget this one's tokens."""
        await self.accounts.SignOutEverywhere(account_service_pb2.SignOutEverywhereRequest())
        self._session.save(None)

    async def change_password(self, current: str, new: str) -> None:
        """Set a new password and end every other sign-in. Raises CredentialsInvalid, InvalidRequest or Busy."""
        request = account_service_pb2.ChangePasswordRequest(current_password=current, new_password=new)
        self._keep((await self.accounts.ChangePassword(request)).tokens)

    async def access_token(self) -> str:
        """An access token that holds for a while. Raises SignInRequired."""
        token = await self._token(renew=False)
        if token is None:
            raise SignInRequired(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "Sign in first.")
        return token

    async def start_conversation(self, title: str = "") -> Conversation:
        """Begin a conversation."""
        request = conversation_service_pb2.CreateConversationRequest(request_id=uuid.uuid4().hex, title=title)
        return (await self.conversations.CreateConversation(request)).conversation

    def run_turn(self, conversation_id: str, text: str, *, traceparent: str = "") -> AsyncIterator[Frame]:
        """Send a message and yield the frames of its answer; see `conversations.run_turn`."""
        metadata = (("traceparent", traceparent),) if traceparent else ()
        return conversations.run_turn(self.orchestrator, conversation_id, text, metadata=metadata)

    async def ask(self, text: str, conversation_id: str = "") -> Turn:
        """Send a message, in a new conversation unless one is named, and wait for the whole answer."""
        conversation_id = conversation_id or (await self.start_conversation()).id
        async for frame in self.run_turn(conversation_id, text):
            if isinstance(frame, Finished):
                return frame.turn
        raise AssertionError("a turn ends with its last frame or an error")

    def watch(self, conversation_id: str, from_offset: int = 0) -> AsyncIterator[ConversationEvent]:
        """Yield a conversation's events for ever, resuming by itself; see `conversations.watch`."""
        return conversations.watch(self.conversations, conversation_id, from_offset)

    def import_folder(self, folder: pathlib.Path) -> AsyncIterator[DocumentResult]:
        """Import a folder of Markdown; see `articles.import_folder`."""
        return articles.import_folder(self.ingest, folder)

    async def _token(self, renew: bool) -> str | None:
        if self._api_key:
            return self._api_key
        tokens = self._session.load()
        if tokens is None:
            return None
        if tokens.fresh() and not renew:
            return tokens.access_token
        async with self._session.exclusive():
            latest = self._session.load()
            if latest is not None and latest != tokens and latest.fresh():
                return latest.access_token  # somebody else renewed them meanwhile
            if latest is None:
                return None
            try:
                response = await self.auth.RefreshToken(
                    auth_service_pb2.RefreshTokenRequest(refresh_token=latest.refresh_token)
                )
            except DeskmeshError as error:
                if error.reason == "REFRESH_TOKEN_INVALID":
                    self._session.save(None)
                raise
            return self._keep(response.tokens).access_token

    def _keep(self, tokens: auth_service_pb2.Tokens) -> Tokens:
        kept = Tokens(
            tokens.access_token,
            time.time() + tokens.access_token_lifetime.ToTimedelta().total_seconds(),
            tokens.refresh_token,
        )
        self._session.save(kept)
        return kept


def code_of(text: str) -> mfa_service_pb2.Code:
    """Six digits are of the authenticator app, anything else is a recovery code."""
    plain = text.strip()
    return mfa_service_pb2.Code(totp=plain) if len(plain) == 6 else mfa_service_pb2.Code(recovery=plain)

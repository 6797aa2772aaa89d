"""The auth service, served as in production but for cheaper password hashes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1.account_service_pb2_grpc import AccountServiceStub
from deskmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from deskmesh.auth.v1.mfa_service_pb2_grpc import MfaServiceStub
from deskmesh.auth.v1.organization_service_pb2_grpc import OrganizationServiceStub
from deskmesh.auth.v1.passkey_service_pb2_grpc import PasskeyServiceStub
from deskmesh.auth.v1.signing_key_service_pb2_grpc import SigningKeyServiceStub
from services.auth.app import wire
from services.auth.settings import AuthSettings
from services.common.ids import new_id
from tests.support.mailbox import Mailbox
from tests.support.server import Headers, RunningService, TestStack

PASSWORD = "a long enough phrase"


@dataclass
class Person:
    """Somebody who is signed in."""

    email: str
    user_id: str
    organization_id: str
    slug: str
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> Headers:
        return (("authorization", f"Bearer {self.access_token}"),)


@dataclass
class AuthClient:
    """Stubs to the running service, as from the edge, and short ways to people."""

    service: RunningService

    def __post_init__(self) -> None:
        channel = self.service.channel("edge")
        self.auth = AuthServiceStub(channel)
        self.organizations = OrganizationServiceStub(channel)
        self.accounts = AccountServiceStub(channel)
        self.passkeys = PasskeyServiceStub(channel)
        self.mfa = MfaServiceStub(channel)
        self.signing_keys = SigningKeyServiceStub(self.service.channel("laptop"))
        self.mailbox = Mailbox(self.service.stack.folder / "mail")

    async def founder(self) -> Person:
        """The owner of a new organization."""
        slug = new_id("o").replace("_", "-")
        founds = auth.NewOrganization(slug=slug, name="A shop")
        return await self._sign_up(slug, new_organization=founds)

    async def customer(self, slug: str) -> Person:
        """A new customer of an organization."""
        return await self._sign_up(slug, join_organization_slug=slug)

    async def sign_in(self, person: Person, password: str = PASSWORD) -> Person:
        """The same person with new tokens."""
        request = auth.SignInRequest(email=person.email, password=password, organization_slug=person.slug)
        tokens = (await self.auth.SignIn(request)).tokens
        return replace(person, access_token=tokens.access_token, refresh_token=tokens.refresh_token)

    async def _sign_up(self, slug: str, **membership: Any) -> Person:
        email = f"{new_id('p')}@example.com"
        request = auth.SignUpRequest(email=email, password=PASSWORD, display_name="Some Body", **membership)
        # From a place of its own, so that tests do not use up each other's limit.
        response = await self.auth.SignUp(request, metadata=(("x-forwarded-for", new_id("place")),))
        return Person(
            email=email,
            user_id=response.principal.user.id,
            organization_id=response.principal.organization.id,
            slug=slug,
            access_token=response.tokens.access_token,
            refresh_token=response.tokens.refresh_token,
        )


@asynccontextmanager
async def serve(stack: TestStack, name: str, **changes: Any) -> AsyncIterator[AuthClient]:
    """The service beside others, told apart by `name`."""
    values: dict[str, Any] = {
        "secrets_folder": stack.folder / "secrets",
        "password_memory_kib": 64,
        "password_passes": 1,
        "sign_ups_per_hour": 100_000,
    }
    ops = stack.folder / f"auth-{name}.sock"
    values |= {"ops_socket": ops, "jwks_socket": ops} | changes
    async with stack.service("auth", AuthSettings, wire, **values) as service:
        yield AuthClient(service)

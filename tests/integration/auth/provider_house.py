"""An organization whose people sign in by a provider of its own, and how they do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from deskmesh.auth.v1 import user_pb2
from deskmesh.auth.v1.identity_provider_service_pb2_grpc import IdentityProviderServiceStub
from services.common.ids import new_id
from tests.integration.auth.acme import CLIENT_ID, SECRET, Acme
from tests.integration.auth.people import AuthClient, Person
from tests.support.server import Headers, refused

PUBLIC = "https://desk.example"
CALLBACK = f"{PUBLIC}/sign-in/callback"


@dataclass
class House:
    """An organization that signs in by Acme."""

    auth: AuthClient
    acme: Acme
    owner: Person
    # Where auth speaks HTTP.
    socket: Path
    # Whether its provider is not as most tests want it.
    changed: bool = True

    def __post_init__(self) -> None:
        self.stub = IdentityProviderServiceStub(self.auth.service.channel("edge"))

    async def set_up(self, **changes: Any) -> Any:
        values: dict[str, Any] = {
            "name": "Acme",
            "issuer": self.acme.issuer,
            "client_id": CLIENT_ID,
            "client_secret": SECRET,
            "email_domains": ["acme.example"],
            "creates_users": True,
            "role": user_pb2.ROLE_AGENT,
        }
        request = pb.SetIdentityProviderRequest(**values | changes)
        self.changed = True
        return (await self.stub.SetIdentityProvider(request, metadata=self.owner.headers)).identity_provider

    def newcomer(self, **claims: Any) -> str:
        """Somebody at Acme; returns their name there."""
        name = new_id("p")
        self.acme.people[name] = {"email": f"{name}@acme.example", "email_verified": True, "name": "Eve"} | claims
        return name

    async def begin(self) -> tuple[str, str]:
        request = pb.BeginProviderSignInRequest(organization_slug=self.owner.slug)
        began = await self.stub.BeginProviderSignIn(request)
        return began.authorization_url, began.attempt_token

    async def finish(self, token: str, answer: str) -> Any:
        request = pb.FinishProviderSignInRequest(attempt_token=token, answer=answer)
        return await self.stub.FinishProviderSignIn(request)

    async def enter(self, person: str) -> Any:
        url, token = await self.begin()
        return await self.finish(token, self.acme.approve(url, person))

    async def refusal(self, person: str) -> str:
        async with refused() as refusal:
            await self.enter(person)
        return refusal.error.reason


def bearer(signed_in: Any) -> Headers:
    return (("authorization", f"Bearer {signed_in.tokens.access_token}"),)

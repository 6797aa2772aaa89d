"""What signing in by another provider needs from outside, in the domain's words."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.auth.identity_providers import Assertion, Handshake, Identity, IdentityProvider, SignedOut


class IdentityProviders(Protocol):
    """The providers of organizations, one each, and the identities they vouch for."""

    async def find(self, organization_id: str) -> IdentityProvider | None:
        """The provider of an organization."""

    async def of_issuer(self, issuer: str) -> Sequence[IdentityProvider]:
        """Those of all organizations that sign in by an issuer; at most 100. For a unit of work of the system."""

    async def put(self, provider: IdentityProvider) -> None:
        """Keep it in place of what was there."""

    async def remove(self, organization_id: str) -> None:
        """Forget it. Identities stay: should it come back, they are who they were."""

    async def identity(self, organization_id: str, issuer: str, subject: str) -> Identity | None:
        """Whom a person at a provider stands for."""

    async def link(self, identity: Identity) -> None:
        """Keep it; raises IdentityNotAllowed if it stands for somebody already."""

    async def identities_of(self, organization_id: str, user_id: str) -> Sequence[Identity]:
        """Who signs in to an organization as somebody, the oldest first; at most 100."""

    async def unlink(self, identity: Identity) -> None:
        """Forget it."""


class ExternalProviders(Protocol):
    """Speaks with providers. Each call raises IdentityProviderUnavailable when one does not answer as it should."""

    async def check(self, provider: IdentityProvider) -> None:
        """Raises IdentityProviderInvalid unless it is one that can be used."""

    async def authorization_url(self, provider: IdentityProvider, redirect_uri: str, handshake: Handshake) -> str:
        """Where to send the browser."""

    async def assertion(
        self,
        provider: IdentityProvider,
        secret: str,
        redirect_uri: str,
        handshake: Handshake,
        answer: Mapping[str, str],
    ) -> Assertion:
        """Who came back. Raises ProviderSignInInvalid or ProviderSignInRefused."""

    def issuer_of(self, token: str) -> str:
        """Whose logout token it says it is. Raises ProviderSignInInvalid."""

    async def signed_out(self, provider: IdentityProvider, token: str) -> SignedOut:
        """Who signed out there. Raises ProviderSignInInvalid unless the logout token holds."""

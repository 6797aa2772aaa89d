"""The ports of signing in by another provider, in memory."""

from collections.abc import Mapping, Sequence

from services.auth.identity_providers import Assertion, Handshake, Identity, IdentityProvider, SignedOut
from services.auth.provider_errors import IdentityNotAllowed, ProviderSignInInvalid
from services.common.errors import DomainError
from tests.unit.auth.store_fakes import FakeStore


class FakeIdentityProviders:
    """See `provider_ports.IdentityProviders`; a tenant sees its own."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    async def find(self, organization_id: str) -> IdentityProvider | None:
        return self._store.providers.get(organization_id) if self._tenant in (None, organization_id) else None

    async def of_issuer(self, issuer: str) -> Sequence[IdentityProvider]:
        return [one for one in self._store.providers.values() if one.issuer == issuer]

    async def put(self, provider: IdentityProvider) -> None:
        self._store.providers[provider.organization_id] = provider

    async def remove(self, organization_id: str) -> None:
        self._store.providers.pop(organization_id, None)

    async def identity(self, organization_id: str, issuer: str, subject: str) -> Identity | None:
        return self._store.identities.get((organization_id, issuer, subject))

    async def link(self, identity: Identity) -> None:
        key = identity.organization_id, identity.issuer, identity.subject
        if key in self._store.identities:
            raise IdentityNotAllowed
        self._store.identities[key] = identity

    async def identities_of(self, organization_id: str, user_id: str) -> Sequence[Identity]:
        found = (one for one in self._store.identities.values() if one.organization_id == organization_id)
        return sorted((one for one in found if one.user_id == user_id), key=lambda one: (one.created_at, one.subject))

    async def unlink(self, identity: Identity) -> None:
        self._store.identities.pop((identity.organization_id, identity.issuer, identity.subject), None)


class FakeExternal:
    """See `provider_ports.ExternalProviders`: says what it was told to, to whoever shows the right state."""

    def __init__(self) -> None:
        self.says: Assertion | DomainError = Assertion("sub-1", "eve@acme.example", email_verified=True, name="Eve")
        self.checked: list[str] = []
        self.secrets: list[str] = []
        # Organization → what its provider's logout tokens are taken to say.
        self.sign_outs: dict[str, SignedOut] = {}

    async def check(self, provider: IdentityProvider) -> None:
        self.checked.append(provider.issuer)

    async def authorization_url(self, provider: IdentityProvider, redirect_uri: str, handshake: Handshake) -> str:
        return f"{provider.issuer}/authorize?state={handshake.state}"

    async def assertion(
        self,
        provider: IdentityProvider,
        secret: str,
        redirect_uri: str,
        handshake: Handshake,
        answer: Mapping[str, str],
    ) -> Assertion:
        assert answer["state"] == handshake.state
        self.secrets.append(secret)
        if isinstance(self.says, DomainError):
            raise self.says
        return self.says

    def issuer_of(self, token: str) -> str:
        if not token:
            raise ProviderSignInInvalid
        return token

    async def signed_out(self, provider: IdentityProvider, token: str) -> SignedOut:
        if (said := self.sign_outs.get(provider.organization_id)) is None:
            raise ProviderSignInInvalid
        return said

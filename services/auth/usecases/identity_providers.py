"""Which provider an organization signs in by: set up, shown and removed."""

from dataclasses import dataclass, replace

from services.auth.account_ports import Announcer
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Role
from services.auth.factor_ports import Envelope
from services.auth.groups import GROUPS_CLAIM, GroupRole
from services.auth.identity_providers import IdentityProvider
from services.auth.ports import Work, WorkFactory
from services.auth.provider_errors import IdentityProviderNotFound
from services.auth.provider_ports import ExternalProviders
from services.auth.roles import Granter
from services.auth.usecases.ending import end_families
from services.auth.usecases.group_roles import take_back
from services.auth.usecases.members import custom_permissions
from services.common.clock import Clock
from services.common.errors import InvalidInput
from services.common.permissions import permissions_of


@dataclass(frozen=True, slots=True)
class Settings:
    """What an owner says of the provider; an empty secret leaves the one that is known."""

    name: str
    issuer: str
    client_id: str
    client_secret: str
    email_domains: tuple[str, ...]
    hosts: tuple[str, ...]
    creates_users: bool
    role: Role
    # An empty one is `groups`.
    groups_claim: str = ""
    group_roles: tuple[GroupRole, ...] = ()


class IdentityProviders:
    """The providers of organizations. `envelope` seals their secrets."""

    def __init__(
        self,
        work: WorkFactory,
        external: ExternalProviders,
        envelope: Envelope,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._work = work
        self._external = external
        self._envelope = envelope
        self._announcer = announcer
        self._clock = clock

    async def get(self, organization_id: str) -> IdentityProvider:
        """Raises IdentityProviderNotFound."""
        async with self._work.tenant(organization_id) as work:
            found = await work.identity_providers.find(organization_id)
        if found is None:
            raise IdentityProviderNotFound
        return found

    async def set(self, organization_id: str, settings: Settings, by: Granter) -> IdentityProvider:
        """Keep it once it answers; `by` is who asks, who gives by it what others will hold.

        Raises InvalidInput, RoleNotFound, PermissionNotHeld, IdentityProviderInvalid or IdentityProviderUnavailable.
        """
        provider = IdentityProvider(
            organization_id,
            " ".join(settings.name.split()),
            settings.issuer,
            settings.client_id,
            b"",
            settings.email_domains,
            settings.hosts,
            settings.creates_users,
            settings.role,
            self._clock(),
            (settings.groups_claim or GROUPS_CLAIM) if settings.group_roles else "",
            tuple(dict.fromkeys(settings.group_roles)),
        )
        provider.check()
        async with self._work.tenant(organization_id) as work:
            before = await work.identity_providers.find(organization_id)
            await _may_give(work, provider, before, by)
        if settings.client_secret:
            sealed = self._envelope.seal(organization_id, settings.client_secret.encode())
        elif before is not None and (before.issuer, before.client_id) == (provider.issuer, provider.client_id):
            sealed = before.sealed_secret
        else:
            # The secret of one provider is never shown to another.
            raise InvalidInput(violations=[("client_secret", "is needed for another issuer or client_id")])
        await self._external.check(provider)
        provider = replace(provider, sealed_secret=sealed)
        async with self._work.tenant(organization_id) as work:
            await work.organizations.lock(organization_id)
            # A role may have gone, and rules may have come, while the provider was asked.
            before = await work.identity_providers.find(organization_id)
            await _may_give(work, provider, before, by)
            await work.identity_providers.put(provider)
            left = provider.group_roles if before and before.issuer == provider.issuer else ()
            outdated = await take_back(work, organization_id, left, provider.issuer, self._clock)
            await work.audit.add(self._event(EventType.IDENTITY_PROVIDER_SET, provider))
            await work.commit()
        await self._announcer.announce(outdated)
        return provider

    async def remove(self, organization_id: str) -> int:
        """Forget it, end the sign-ins by it, and take back what its groups gave; how many sign-ins.

        Raises IdentityProviderNotFound.
        """
        async with self._work.system() as work:
            await work.organizations.lock(organization_id)
            provider = await work.identity_providers.find(organization_id)
            if provider is None:
                raise IdentityProviderNotFound
            await work.identity_providers.remove(organization_id)
            by_it = await work.refresh_tokens.federated_families(organization_id)
            ended = await end_families(work, by_it, self._clock)
            outdated = await take_back(work, organization_id, (), provider.issuer, self._clock)
            await work.audit.add(self._event(EventType.IDENTITY_PROVIDER_REMOVED, provider))
            await work.commit()
        await self._announcer.announce(ended + outdated)
        return len(ended)

    def _event(self, kind: EventType, provider: IdentityProvider) -> AuditEvent:
        details = {"issuer": provider.issuer, "creates_users": str(provider.creates_users), "role": str(provider.role)}
        if provider.group_roles:
            # Names of groups are the organization's words; what is given is what counts.
            held = {one.held: None for one in provider.group_roles}
            details |= {"groups_claim": provider.groups_claim, "group_roles": ",".join(held)}
        return AuditEvent.of(kind, provider.organization_id, at=self._clock(), details=details)


async def _may_give(work: Work, provider: IdentityProvider, before: IdentityProvider | None, by: Granter) -> None:
    """Raises RoleNotFound, and PermissionNotHeld for what people would get by it who did not before."""
    known = before if before is not None and before.issuer == provider.issuer else None
    custom = await custom_permissions(work, {one.custom_role_id: None for one in provider.group_roles if not one.role})
    given: set[str] = set()
    for one in provider.group_roles:
        if known is None or one not in known.group_roles or known.groups_claim != provider.groups_claim:
            given |= permissions_of((str(one.role),)) if one.role else custom[one.custom_role_id]
    if provider.creates_users and (known is None or (known.creates_users, known.role) != (True, provider.role)):
        given |= permissions_of((str(provider.role),))
    by.may_grant(given)

"""The identities that sign in as somebody: seen and removed by their holder, removed by who administers members."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.auth.account_ports import Announcer
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import may_change_owners
from services.auth.errors import UserNotFound
from services.auth.identity_providers import Identity
from services.auth.ports import Work, WorkFactory
from services.auth.usecases.ending import end_families
from services.auth.usecases.group_roles import bring_in_line
from services.common.clock import Clock
from services.common.revocations import Revocation


@dataclass(frozen=True, slots=True)
class Linked:
    """An identity, and whether the organization's provider is the one that vouches for it."""

    identity: Identity
    active: bool


@dataclass(frozen=True, slots=True)
class Unlinked:
    """How many identities were removed, and how many sign-ins that rested on the provider's word alone were ended."""

    identities: int
    sign_ins: int


class IdentityLinks:
    """Whom a provider's word stands for. What is removed has to be linked anew by its holder."""

    def __init__(self, work: WorkFactory, announcer: Announcer, clock: Clock) -> None:
        self._work = work
        self._announcer = announcer
        self._clock = clock

    async def of(self, organization_id: str, user_id: str) -> Sequence[Linked]:
        """The oldest first."""
        async with self._work.tenant(organization_id) as work:
            provider = await work.identity_providers.find(organization_id)
            found = await work.identity_providers.identities_of(organization_id, user_id)
        issuer = provider.issuer if provider else ""
        return [Linked(identity, identity.issuer == issuer) for identity in found]

    async def remove(self, organization_id: str, user_id: str, issuer: str, subject: str) -> Unlinked:
        """Remove one's own, after a proof of one's own, which stays a way to sign in; nothing if it is not linked."""
        async with self._work.system() as work:
            await work.organizations.lock(organization_id)
            found = await work.identity_providers.identities_of(organization_id, user_id)
            chosen = [identity for identity in found if (identity.issuer, identity.subject) == (issuer, subject)]
            unlinked, ended = await self._unlink(work, organization_id, user_id, chosen)
            await work.commit()
        await self._announcer.announce(ended)
        return unlinked

    async def remove_all(self, organization_id: str, user_id: str, by: Sequence[str]) -> Unlinked:
        """Remove a member's; `by` are the roles of who asks. Raises UserNotFound or OnlyOwners."""
        async with self._work.system() as work:
            await work.organizations.lock(organization_id)
            member = await work.memberships.find(organization_id, user_id)
            if member is None:
                raise UserNotFound(resource_name=user_id)
            if member.is_owner:
                may_change_owners(by)
            found = await work.identity_providers.identities_of(organization_id, user_id)
            unlinked, ended = await self._unlink(work, organization_id, user_id, found)
            await work.commit()
        await self._announcer.announce(ended)
        return unlinked

    async def _unlink(
        self, work: Work, organization_id: str, user_id: str, chosen: Sequence[Identity]
    ) -> tuple[Unlinked, list[Revocation]]:
        """What was done, and what to announce once it is committed."""
        now = self._clock()
        for identity in chosen:
            await work.identity_providers.unlink(identity)
            details = {"issuer": identity.issuer}
            await work.audit.add(
                AuditEvent.of(EventType.IDENTITY_UNLINKED, organization_id, at=now, subject_id=user_id, details=details)
            )
        families = await work.refresh_tokens.federated_families(organization_id) if chosen else ()
        ended = await end_families(work, [family for family in families if family.user_id == user_id], self._clock)
        unlinked = Unlinked(len(chosen), len(ended))
        provider = await work.identity_providers.find(organization_id)
        member = await work.memberships.find(organization_id, user_id)
        if provider and member and any(identity.issuer == provider.issuer for identity in chosen):
            # Nobody vouches for the groups any more; by another link they come back at the next sign-in.
            ended += await bring_in_line(work, member, (), provider.issuer, self._clock)
        return unlinked, ended

"""The roles that an organization makes for itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.auth.account_ports import Announcer
from services.auth.audit import AuditEvent, EventType
from services.auth.errors import QuotaReached, RoleInUse
from services.auth.ports import Work, WorkFactory
from services.auth.roles import MAXIMUM_ROLES, CustomRole, Granter, check_known
from services.auth.usecases.ending import end_access
from services.common.clock import Clock
from services.common.context import IdempotencyKey

# Of more holders than this the tokens run out by themselves, within minutes.
MAXIMUM_HOLDERS = 1000


@dataclass(frozen=True, slots=True)
class RoleContent:
    """What a role is made of."""

    name: str
    description: str
    permissions: tuple[str, ...]


class Roles:
    """Custom roles; `catalogue` is every permission there is, by the built-in roles that hold it."""

    def __init__(
        self, work: WorkFactory, announcer: Announcer, clock: Clock, catalogue: Mapping[str, Sequence[str]]
    ) -> None:
        self._work = work
        self._announcer = announcer
        self._clock = clock
        self._catalogue = catalogue
        self._known = frozenset(catalogue)

    def permissions(self) -> Mapping[str, Sequence[str]]:
        """Every permission, and the built-in roles that hold it."""
        return self._catalogue

    async def list(self, organization_id: str) -> Sequence[CustomRole]:
        """By name."""
        async with self._work.tenant(organization_id) as work:
            return await work.roles.list()

    async def create(
        self, organization_id: str, content: RoleContent, by: Granter, idempotency: IdempotencyKey
    ) -> CustomRole:
        """Raises InvalidInput, PermissionNotHeld, RoleNameTaken, QuotaReached or RequestIdReused."""
        check_known(content.permissions, self._known)
        by.may_grant(content.permissions)
        now = self._clock()
        role = CustomRole.new(organization_id, content.name, content.description, content.permissions, at=now)
        async with self._work.tenant(organization_id) as work:
            if made := await work.requests.claim(idempotency, role.id):
                return await work.roles.get(made)
            await work.organizations.lock(organization_id)
            if len(await work.roles.list()) >= MAXIMUM_ROLES:
                raise QuotaReached(metadata={"maximum": str(MAXIMUM_ROLES)})
            await work.roles.add(role)
            await self._log(work, EventType.ROLE_CREATED, role)
            await work.commit()
        return role

    async def update(self, organization_id: str, role_id: str, content: RoleContent, by: Granter) -> CustomRole:
        """Raises InvalidInput, RoleNotFound, PermissionNotHeld or RoleNameTaken."""
        check_known(content.permissions, self._known)
        async with self._work.tenant(organization_id) as work:
            await work.organizations.lock(organization_id)
            role = await work.roles.get(role_id)
            # What it allows already somebody else gave; only what is added must be held.
            by.may_grant(frozenset(content.permissions) - role.permissions)
            changed = role.changed(content.name, content.description, content.permissions, at=self._clock())
            await work.roles.update(changed)
            outdated = []
            if changed.permissions != role.permissions:
                holders = await work.roles.holders(role_id, MAXIMUM_HOLDERS)
                outdated = [await end_access(work, organization_id, holder, self._clock) for holder in holders]
            await self._log(work, EventType.ROLE_UPDATED, changed, before=role)
            await work.commit()
        await self._announcer.announce(outdated)
        return changed

    async def delete(self, organization_id: str, role_id: str) -> None:
        """Raises RoleNotFound or RoleInUse."""
        async with self._work.tenant(organization_id) as work:
            await work.organizations.lock(organization_id)
            role = await work.roles.get(role_id)
            invited = await work.invitations.list_open(self._clock())
            if await work.roles.holders(role_id, 1) or any(role_id in one.custom_role_ids for one in invited):
                raise RoleInUse
            provider = await work.identity_providers.find(organization_id)
            if provider is not None and any(role_id == one.custom_role_id for one in provider.group_roles):
                raise RoleInUse
            await work.roles.delete(role_id)
            await self._log(work, EventType.ROLE_DELETED, role)
            await work.commit()

    async def _log(self, work: Work, kind: EventType, role: CustomRole, *, before: CustomRole | None = None) -> None:
        details = {"permissions": ",".join(sorted(role.permissions))}
        if before is not None:
            details["before"] = ",".join(sorted(before.permissions))
        event = AuditEvent.of(kind, role.organization_id, at=self._clock(), subject_id=role.id, details=details)
        await work.audit.add(event)

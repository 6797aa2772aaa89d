"""The people of one organization."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.auth.account_ports import Announcer
from services.auth.accounts import Letter, MailJob
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership, Role, User, may_change_owners, ordered
from services.auth.errors import UserNotFound
from services.auth.passwords import check_password
from services.auth.ports import Passwords, Work, WorkFactory
from services.auth.roles import Granter
from services.auth.usecases.ending import end_access
from services.common import pagination
from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.pagination import Filters, InvalidPageToken
from services.common.permissions import permissions_of

DEFAULT_PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Members, and the token of the page that follows; empty at the end."""

    members: Sequence[Membership]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class AddMember:
    """A new person with a first password, who becomes a member."""

    organization_id: str
    email: str
    display_name: str
    password: str
    roles: tuple[Role, ...]
    custom_role_ids: tuple[str, ...]
    by: Granter
    idempotency: IdempotencyKey


class Members:
    """Who belongs to an organization, and as what. `by` is who asks."""

    def __init__(self, work: WorkFactory, passwords: Passwords, announcer: Announcer, clock: Clock) -> None:
        self._work = work
        self._passwords = passwords
        self._announcer = announcer
        self._clock = clock

    async def list(self, organization_id: str, role: Role | None, page_size: int, page_token: str) -> Page:
        """Members by display name. Raises InvalidPageToken."""
        filters: Filters = {"organization": organization_id, "role": role}
        after = None
        if page_token:
            cursor = pagination.decode(page_token, filters)
            after = _text(cursor.get("name")), _text(cursor.get("id"))
        limit = page_size or DEFAULT_PAGE_SIZE
        async with self._work.tenant(organization_id) as work:
            found = await work.memberships.list(organization_id, role, after, limit + 1)
        members = found[:limit]
        if len(found) <= limit:
            return Page(members, "")
        last = members[-1].user
        return Page(members, pagination.encode({"name": last.display_name, "id": last.id}, filters))

    async def batch_get(self, organization_id: str, user_ids: Sequence[str]) -> Sequence[Membership]:
        """The members among these users."""
        async with self._work.tenant(organization_id) as work:
            return await work.memberships.batch(organization_id, user_ids)

    async def add(self, command: AddMember) -> Membership:
        """Raises PasswordWeak, EmailTaken, OnlyOwners, RoleNotFound, PermissionNotHeld or RequestIdReused."""
        await asyncio.to_thread(check_password, command.password, command.email, command.display_name)
        if Role.OWNER in command.roles:
            may_change_owners(command.by.roles)
        password_hash = await self._passwords.hash(command.password)
        now = self._clock()
        user = User.new(command.email, command.display_name, password_hash, at=now)
        async with self._work.tenant(command.organization_id) as work:
            if made := await work.requests.claim(command.idempotency, user.id):
                return await _get(work, command.organization_id, made)
            custom = await custom_permissions(work, command.custom_role_ids)
            membership = Membership(
                user,
                command.organization_id,
                ordered(command.roles),
                now,
                tuple(sorted(custom)),
                frozenset().union(*custom.values()),
            )
            command.by.may_grant(permissions_of(membership.grants))
            await work.users.add(user)
            await work.memberships.add(membership)
            await work.mail_jobs.add(MailJob.new(Letter.VERIFY_EMAIL, user.email, at=now))
            details = {"roles": role_names(membership)}
            await work.audit.add(
                AuditEvent.of(
                    EventType.MEMBER_ADDED, command.organization_id, at=now, subject_id=user.id, details=details
                )
            )
            await work.commit()
        return membership

    async def set_roles(
        self,
        organization_id: str,
        user_id: str,
        roles: Sequence[Role],
        custom_role_ids: Sequence[str],
        by: Granter,
    ) -> Membership:
        """Raises UserNotFound, RoleNotFound, PermissionNotHeld, OnlyOwners or LastOwner."""
        async with self._work.tenant(organization_id) as work:
            membership, others = await self._locked(work, organization_id, user_id)
            custom = await custom_permissions(work, custom_role_ids)
            changed = membership.with_roles(roles, custom, by=by.roles, other_owners=others)
            by.may_grant(permissions_of(changed.grants) - permissions_of(membership.grants))
            await work.memberships.set_roles(changed)
            outdated = await end_access(work, organization_id, user_id, self._clock)
            details = {"before": role_names(membership), "after": role_names(changed)}
            await work.audit.add(
                AuditEvent.of(
                    EventType.MEMBER_ROLES_CHANGED,
                    organization_id,
                    at=self._clock(),
                    subject_id=user_id,
                    details=details,
                )
            )
            await work.commit()
        await self._announcer.announce([outdated])
        return changed

    async def remove(self, organization_id: str, user_id: str, by: Granter) -> None:
        """End a membership and its sign-ins. Raises UserNotFound, OnlyOwners or LastOwner."""
        async with self._work.tenant(organization_id) as work:
            membership, others = await self._locked(work, organization_id, user_id)
            membership.may_end(by=by.roles, other_owners=others)
            now = self._clock()
            await work.refresh_tokens.revoke_member(organization_id, user_id, at=now)
            await work.memberships.remove(organization_id, user_id)
            ended = await end_access(work, organization_id, user_id, self._clock)
            removed = AuditEvent.of(EventType.MEMBER_REMOVED, organization_id, at=now, subject_id=user_id)
            await work.audit.add(removed)
            await work.commit()
        await self._announcer.announce([ended])

    async def _locked(self, work: Work, organization_id: str, user_id: str) -> tuple[Membership, int]:
        """The membership and how many others own the organization, both fixed until the work ends."""
        await work.organizations.lock(organization_id)
        membership = await _get(work, organization_id, user_id)
        owners = await work.memberships.count_owners(organization_id)
        return membership, owners - membership.is_owner


async def custom_permissions(work: Work, role_ids: Iterable[str]) -> dict[str, frozenset[str]]:
    """What each of these custom roles holds. Raises RoleNotFound."""
    return {role_id: (await work.roles.get(role_id)).permissions for role_id in role_ids}


def role_names(membership: Membership) -> str:
    """Its roles, as an entry of the audit log names them."""
    return ",".join((*membership.roles, *membership.custom_role_ids))


async def _get(work: Work, organization_id: str, user_id: str) -> Membership:
    membership = await work.memberships.find(organization_id, user_id)
    if membership is None:
        raise UserNotFound(resource_name=user_id)
    return membership


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidPageToken
    return value

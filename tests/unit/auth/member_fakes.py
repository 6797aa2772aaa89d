"""People, organizations, memberships, invitations and roles in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.auth.domain import Membership, Organization, Role, User
from services.auth.errors import EmailTaken, OrganizationNotFound, RoleNameTaken, RoleNotFound, SlugTaken, UserNotFound
from services.auth.invitation_errors import InvitationNotFound
from services.auth.invitations import Invitation
from services.auth.roles import CustomRole
from tests.unit.auth.store_fakes import FakeStore


class FakeUsers:
    """See `ports.Users`; a tenant sees its members."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    def _visible(self, user: User) -> bool:
        return self._tenant is None or (self._tenant, user.id) in self._store.memberships

    async def find_by_email(self, email: str) -> User | None:
        found = (user for user in self._store.users.values() if user.email == email and self._visible(user))
        return next(found, None)

    async def get(self, user_id: str) -> User:
        user = self._store.users.get(user_id)
        if user is None or not self._visible(user):
            raise UserNotFound(resource_name=user_id)
        return user

    async def get_held(self, user_id: str) -> User:
        return await self.get(user_id)

    async def add(self, user: User) -> None:
        if any(known.email == user.email for known in self._store.users.values()):
            raise EmailTaken
        self._store.users[user.id] = user

    async def set_password_hash(self, user_id: str, password_hash: str) -> None:
        self._store.users[user_id] = replace(self._store.users[user_id], password_hash=password_hash)


class FakeOrganizations:
    """See `ports.Organizations`; a tenant sees itself."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    async def get(self, organization_id: str) -> Organization:
        found = self._store.organizations.get(organization_id)
        if found is None or self._tenant not in (None, organization_id):
            raise OrganizationNotFound
        return found

    async def get_by_slug(self, slug: str) -> Organization:
        for organization in self._store.organizations.values():
            if organization.slug == slug:
                return await self.get(organization.id)
        raise OrganizationNotFound

    async def add(self, organization: Organization) -> None:
        if any(known.slug == organization.slug for known in self._store.organizations.values()):
            raise SlugTaken
        self._store.organizations[organization.id] = organization

    async def lock(self, organization_id: str) -> None:
        return None


class FakeMemberships:
    """See `ports.Memberships`; a tenant sees its own."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    def _of(self, organization_id: str) -> list[Membership]:
        if self._tenant not in (None, organization_id):
            return []
        found = [place for place in self._store.memberships.values() if place.organization_id == organization_id]
        return [self._whole(place) for place in found]

    def _whole(self, place: Membership) -> Membership:
        held = (self._store.roles[role_id].permissions for role_id in place.custom_role_ids)
        return replace(place, user=self._store.users[place.user.id], custom_permissions=frozenset().union(*held))

    async def add(self, membership: Membership) -> None:
        self._store.memberships[membership.organization_id, membership.user.id] = membership

    async def find(self, organization_id: str, user_id: str) -> Membership | None:
        return next((place for place in self._of(organization_id) if place.user.id == user_id), None)

    async def find_held(self, organization_id: str, user_id: str) -> Membership | None:
        return await self.find(organization_id, user_id)

    async def oldest_of(self, user_id: str) -> Membership | None:
        places = [self._whole(place) for place in self._store.memberships.values() if place.user.id == user_id]
        return min(places, key=_age, default=None)

    async def list_of(self, user_id: str, limit: int) -> Sequence[Membership]:
        places = [self._whole(place) for place in self._store.memberships.values() if place.user.id == user_id]
        return sorted(places, key=_age)[:limit]

    async def list(
        self, organization_id: str, role: Role | None, after: tuple[str, str] | None, limit: int
    ) -> Sequence[Membership]:
        def key(place: Membership) -> tuple[str, str]:
            return place.user.display_name, place.user.id

        places = sorted(self._of(organization_id), key=key)
        chosen = [place for place in places if role is None or role in place.roles]
        return [place for place in chosen if after is None or key(place) > after][:limit]

    async def batch(self, organization_id: str, user_ids: Sequence[str]) -> Sequence[Membership]:
        return [place for place in self._of(organization_id) if place.user.id in user_ids]

    async def count_owners(self, organization_id: str) -> int:
        return sum(place.is_owner for place in self._of(organization_id))

    async def by_groups(self, organization_id: str) -> Sequence[Membership]:
        return [place for place in self._of(organization_id) if place.group_roles or place.group_custom_role_ids]

    async def set_roles(self, membership: Membership) -> None:
        self._store.memberships[membership.organization_id, membership.user.id] = membership

    async def remove(self, organization_id: str, user_id: str) -> None:
        del self._store.memberships[organization_id, user_id]


def _age(place: Membership) -> tuple[datetime, str]:
    return place.created_at, place.organization_id


class FakeInvitations:
    """See `ports.Invitations`."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    def _own(self) -> list[Invitation]:
        return [one for one in self._store.invitations.values() if self._tenant in (None, one.organization_id)]

    async def put(self, invitation: Invitation) -> None:
        self._store.invitations[invitation.id] = invitation

    async def get(self, invitation_id: str) -> Invitation:
        for invitation in self._own():
            if invitation.id == invitation_id:
                return invitation
        raise InvitationNotFound(resource_name=invitation_id)

    async def find_locked(self, token_hash: bytes) -> Invitation | None:
        return next((one for one in self._own() if one.token_hash == token_hash), None)

    async def list_open(self, now: datetime) -> Sequence[Invitation]:
        return sorted((one for one in self._own() if one.is_open(now)), key=lambda one: one.id, reverse=True)


class FakeRoles:
    """See `ports.Roles`."""

    def __init__(self, store: FakeStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def add(self, role: CustomRole) -> None:
        if any(known.name.lower() == role.name.lower() and known.id != role.id for known in await self.list()):
            raise RoleNameTaken
        self._store.roles[role.id] = role

    async def get(self, role_id: str) -> CustomRole:
        role = self._store.roles.get(role_id)
        if role is None or role.organization_id != self._tenant:
            raise RoleNotFound(resource_name=role_id)
        return role

    async def list(self) -> Sequence[CustomRole]:
        own = [role for role in self._store.roles.values() if role.organization_id == self._tenant]
        return sorted(own, key=lambda role: (role.name, role.id))

    async def update(self, role: CustomRole) -> None:
        await self.add(role)

    async def delete(self, role_id: str) -> None:
        del self._store.roles[role_id]

    async def holders(self, role_id: str, limit: int) -> Sequence[str]:
        places = self._store.memberships.values()
        return [place.user.id for place in places if role_id in place.custom_role_ids][:limit]

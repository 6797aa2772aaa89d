"""Users, organizations, memberships and refresh tokens in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, exists, func, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth import tables
from services.auth.adapters.accounts import SqlAccounts, SqlLinks, SqlMailJobs, SqlRevocationLog
from services.auth.adapters.api_keys import SqlApiKeys
from services.auth.adapters.audit import SqlAuditLog
from services.auth.adapters.factors import SqlChallenges, SqlFactors
from services.auth.adapters.identity_providers import SqlIdentityProviders
from services.auth.adapters.invitations import SqlInvitations
from services.auth.adapters.oauth_grants import SqlGrants
from services.auth.adapters.passkeys import SqlPasskeys
from services.auth.adapters.roles import SqlRoles
from services.auth.domain import Membership, Organization, RefreshFamily, Role, StoredRefreshToken, User
from services.auth.errors import EmailTaken, OrganizationNotFound, SlugTaken, UserNotFound
from services.auth.identity_providers import FEDERATED
from services.common.db import IdempotencyRecords, SqlUnitOfWork


class SqlUsers:
    """See `ports.Users`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find_by_email(self, email: str) -> User | None:
        row = (await self._session.execute(select(tables.users).where(tables.users.c.email == email))).first()
        return _user(row) if row else None

    async def get(self, user_id: str) -> User:
        return await self._one(user_id, select(tables.users))

    async def get_held(self, user_id: str) -> User:
        return await self._one(user_id, select(tables.users).with_for_update(key_share=True))

    async def add(self, user: User) -> None:
        values = {name: getattr(user, name) for name in tables.users.c.keys()}  # noqa: SIM118 - columns, not a dict
        try:
            await self._session.execute(insert(tables.users).values(values))
        except IntegrityError:
            raise EmailTaken from None

    async def set_password_hash(self, user_id: str, password_hash: str) -> None:
        statement = update(tables.users).where(tables.users.c.id == user_id)
        await self._session.execute(statement.values(password_hash=password_hash))

    async def _one(self, user_id: str, users: Select[Any]) -> User:
        row = (await self._session.execute(users.where(tables.users.c.id == user_id))).first()
        if row is None:
            raise UserNotFound(resource_name=user_id)
        return _user(row)


class SqlOrganizations:
    """See `ports.Organizations`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, organization_id: str) -> Organization:
        return await self._one(select(tables.organizations).where(tables.organizations.c.id == organization_id))

    async def get_by_slug(self, slug: str) -> Organization:
        return await self._one(select(tables.organizations).where(tables.organizations.c.slug == slug))

    async def add(self, organization: Organization) -> None:
        values = {
            "id": organization.id,
            "slug": organization.slug,
            "name": organization.name,
            "created_at": organization.created_at,
        }
        try:
            await self._session.execute(insert(tables.organizations).values(values))
        except IntegrityError:
            raise SlugTaken from None

    async def lock(self, organization_id: str) -> None:
        chosen = select(tables.organizations.c.id).where(tables.organizations.c.id == organization_id)
        await self._session.execute(chosen.with_for_update())

    async def _one(self, statement: Select[Any]) -> Organization:
        row = (await self._session.execute(statement)).first()
        if row is None:
            raise OrganizationNotFound
        return Organization(row.id, row.slug, row.name, row.created_at)


_HELD = select(
    tables.roles.c.organization_id, tables.roles.c.id, func.unnest(tables.roles.c.permissions).label("permission")
).subquery()
# What the custom roles of a membership hold together.
_CUSTOM_PERMISSIONS = (
    select(func.array_agg(func.distinct(_HELD.c.permission)))
    .select_from(_HELD)
    .where(
        _HELD.c.organization_id == tables.memberships.c.organization_id,
        _HELD.c.id == func.any(tables.memberships.c.custom_role_ids),
    )
    .correlate(tables.memberships)
    .scalar_subquery()
)


class SqlMemberships:
    """See `ports.Memberships`."""

    _columns = (
        tables.users,
        tables.memberships.c.organization_id,
        tables.memberships.c.roles,
        tables.memberships.c.custom_role_ids,
        tables.memberships.c.group_roles,
        tables.memberships.c.group_custom_role_ids,
        _CUSTOM_PERMISSIONS.label("custom_permissions"),
        tables.memberships.c.created_at.label("joined_at"),
    )

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, membership: Membership) -> None:
        values = {
            "organization_id": membership.organization_id,
            "user_id": membership.user.id,
            "created_at": membership.created_at,
            **_held(membership),
        }
        await self._session.execute(insert(tables.memberships).values(values))

    async def find(self, organization_id: str, user_id: str) -> Membership | None:
        statement = self._of(organization_id).where(tables.memberships.c.user_id == user_id)
        row = (await self._session.execute(statement)).first()
        return _membership(row) if row else None

    async def find_held(self, organization_id: str, user_id: str) -> Membership | None:
        # As many as like hold it beside each other. Only a statement that starts after it is held sees what others did.
        places, roles = tables.memberships, tables.roles
        place = select(places.c.custom_role_ids).where(
            places.c.organization_id == organization_id, places.c.user_id == user_id
        )
        if custom := await self._session.scalar(place.with_for_update(read=True)):
            held = select(roles.c.id).where(roles.c.organization_id == organization_id, roles.c.id.in_(custom))
            await self._session.execute(held.order_by(roles.c.id).with_for_update(read=True))
        return await self.find(organization_id, user_id)

    async def oldest_of(self, user_id: str) -> Membership | None:
        return next(iter(await self.list_of(user_id, 1)), None)

    async def list_of(self, user_id: str, limit: int) -> Sequence[Membership]:
        places = tables.memberships
        statement = self._joined().where(places.c.user_id == user_id)
        statement = statement.order_by(places.c.created_at, places.c.organization_id).limit(limit)
        return [_membership(row) for row in await self._session.execute(statement)]

    async def list(
        self, organization_id: str, role: Role | None, after: tuple[str, str] | None, limit: int
    ) -> Sequence[Membership]:
        order = tuple_(tables.users.c.display_name, tables.users.c.id)
        statement = self._of(organization_id).order_by(tables.users.c.display_name, tables.users.c.id).limit(limit)
        if role is not None:
            statement = statement.where(tables.memberships.c.roles.contains([str(role)]))
        if after is not None:
            statement = statement.where(order > tuple_(*after))
        return [_membership(row) for row in await self._session.execute(statement)]

    async def batch(self, organization_id: str, user_ids: Sequence[str]) -> Sequence[Membership]:
        statement = self._of(organization_id).where(tables.memberships.c.user_id.in_(user_ids))
        return [_membership(row) for row in await self._session.execute(statement)]

    async def count_owners(self, organization_id: str) -> int:
        places = tables.memberships
        owners = places.c.roles.contains([str(Role.OWNER)])
        statement = select(func.count()).select_from(places).where(places.c.organization_id == organization_id, owners)
        return int(await self._session.scalar(statement) or 0)

    async def by_groups(self, organization_id: str) -> Sequence[Membership]:
        places = tables.memberships
        some = or_(func.cardinality(places.c.group_roles) > 0, func.cardinality(places.c.group_custom_role_ids) > 0)
        return [_membership(row) for row in await self._session.execute(self._of(organization_id).where(some))]

    async def set_roles(self, membership: Membership) -> None:
        statement = update(tables.memberships).where(
            tables.memberships.c.organization_id == membership.organization_id,
            tables.memberships.c.user_id == membership.user.id,
        )
        await self._session.execute(statement.values(_held(membership)))

    async def remove(self, organization_id: str, user_id: str) -> None:
        places = tables.memberships
        await self._session.execute(
            delete(places).where(places.c.organization_id == organization_id, places.c.user_id == user_id)
        )

    def _joined(self) -> Select[Any]:
        joined = tables.memberships.join(tables.users, tables.users.c.id == tables.memberships.c.user_id)
        return select(*self._columns).select_from(joined)

    def _of(self, organization_id: str) -> Select[Any]:
        return self._joined().where(tables.memberships.c.organization_id == organization_id)


class SqlRefreshTokens:
    """See `ports.RefreshTokens`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def begin(self, family: RefreshFamily, token_hash: bytes, expires_at: datetime) -> None:
        values = {
            "id": family.id,
            "organization_id": family.organization_id,
            "user_id": family.user_id,
            "created_at": family.created_at,
            "authenticated_at": family.authenticated_at,
            "methods": list(family.methods),
            "client_id": family.client_id,
            "scopes": list(family.scopes),
        }
        await self._session.execute(insert(tables.refresh_families).values(values))
        await self._add(family, token_hash, expires_at)

    async def find_locked(self, token_hash: bytes) -> StoredRefreshToken | None:
        tokens, families = tables.refresh_tokens, tables.refresh_families
        # The family's row is the lock. Only a statement that starts after it is held sees what others did before.
        family_of = select(tokens.c.family_id).where(tokens.c.hash == token_hash).scalar_subquery()
        locking = select(families).where(families.c.id == family_of).with_for_update()
        family = (await self._session.execute(locking)).first()
        if family is None:
            return None
        successor = tokens.alias()
        joined = tokens.outerjoin(successor, successor.c.hash == tokens.c.successor_hash)
        statement = select(tokens.c.expires_at, tokens.c.spent_at, successor.c.spent_at.label("successor_spent_at"))
        row = (await self._session.execute(statement.select_from(joined).where(tokens.c.hash == token_hash))).one()
        return StoredRefreshToken(
            hash=token_hash,
            family=_family(family),
            expires_at=row.expires_at,
            spent_at=row.spent_at,
            successor_spent=row.successor_spent_at is not None,
        )

    async def spend(
        self, token: StoredRefreshToken, successor_hash: bytes, expires_at: datetime, *, at: datetime
    ) -> None:
        tokens = tables.refresh_tokens
        spent = update(tokens).where(tokens.c.hash == token.hash)
        await self._session.execute(spent.values(spent_at=at, successor_hash=successor_hash))
        await self._add(token.family, successor_hash, expires_at)

    async def prove(self, family_id: str, methods: Sequence[str], *, at: datetime) -> RefreshFamily | None:
        families = tables.refresh_families
        proved = update(families).where(families.c.id == family_id, families.c.revoked_at.is_(None))
        statement = proved.values(authenticated_at=at, methods=list(methods)).returning(families)
        row = (await self._session.execute(statement)).first()
        return _family(row) if row else None

    async def find_family(self, family_id: str) -> RefreshFamily | None:
        families = tables.refresh_families
        row = (await self._session.execute(select(families).where(families.c.id == family_id))).first()
        return _family(row) if row else None

    async def families_of_programs(self, user_id: str, now: datetime) -> Sequence[RefreshFamily]:
        families, tokens = tables.refresh_families, tables.refresh_tokens
        renewable = exists().where(
            tokens.c.family_id == families.c.id, tokens.c.spent_at.is_(None), tokens.c.expires_at > now
        )
        chosen = select(families).where(
            families.c.user_id == user_id, families.c.client_id != "", families.c.revoked_at.is_(None), renewable
        )
        ordered = chosen.order_by(families.c.created_at.desc(), families.c.id.desc())
        return [_family(row) for row in await self._session.execute(ordered)]

    async def federated_families(self, organization_id: str) -> Sequence[RefreshFamily]:
        families = tables.refresh_families
        chosen = select(families).where(
            families.c.organization_id == organization_id,
            families.c.revoked_at.is_(None),
            families.c.methods.contains([FEDERATED]),
        )
        return [_family(row) for row in await self._session.execute(chosen)]

    async def revoke_family(self, family_id: str, *, at: datetime) -> None:
        families = tables.refresh_families
        chosen = update(families).where(families.c.id == family_id, families.c.revoked_at.is_(None))
        await self._session.execute(chosen.values(revoked_at=at))

    async def revoke_user(self, user_id: str, *, at: datetime) -> None:
        families = tables.refresh_families
        chosen = update(families).where(families.c.user_id == user_id, families.c.revoked_at.is_(None))
        await self._session.execute(chosen.values(revoked_at=at))

    async def revoke_member(self, organization_id: str, user_id: str, *, at: datetime) -> None:
        families = tables.refresh_families
        chosen = update(families).where(
            families.c.organization_id == organization_id,
            families.c.user_id == user_id,
            families.c.revoked_at.is_(None),
        )
        await self._session.execute(chosen.values(revoked_at=at))

    async def _add(self, family: RefreshFamily, token_hash: bytes, expires_at: datetime) -> None:
        values = {
            "hash": token_hash,
            "family_id": family.id,
            "organization_id": family.organization_id,
            "expires_at": expires_at,
        }
        await self._session.execute(insert(tables.refresh_tokens).values(values))


class SqlWork(SqlUnitOfWork):
    """See `ports.Work`."""

    users: SqlUsers
    organizations: SqlOrganizations
    memberships: SqlMemberships
    refresh_tokens: SqlRefreshTokens
    invitations: SqlInvitations
    roles: SqlRoles
    accounts: SqlAccounts
    links: SqlLinks
    mail_jobs: SqlMailJobs
    factors: SqlFactors
    passkeys: SqlPasskeys
    challenges: SqlChallenges
    revocations: SqlRevocationLog
    api_keys: SqlApiKeys
    grants: SqlGrants
    identity_providers: SqlIdentityProviders
    audit: SqlAuditLog
    requests: IdempotencyRecords

    def bind(self, session: AsyncSession) -> None:
        self.users = SqlUsers(session)
        self.organizations = SqlOrganizations(session)
        self.memberships = SqlMemberships(session)
        self.refresh_tokens = SqlRefreshTokens(session)
        self.invitations = SqlInvitations(session)
        self.roles = SqlRoles(session, self.organization_id)
        self.accounts = SqlAccounts(session)
        self.links = SqlLinks(session)
        self.mail_jobs = SqlMailJobs(session)
        self.factors = SqlFactors(session)
        self.passkeys = SqlPasskeys(session)
        self.challenges = SqlChallenges(session)
        self.revocations = SqlRevocationLog(session)
        self.api_keys = SqlApiKeys(session, self.organization_id)
        self.grants = SqlGrants(session)
        self.identity_providers = SqlIdentityProviders(session)
        self.audit = SqlAuditLog(session)
        self.requests = IdempotencyRecords(session, self.organization_id, tables.idempotency_records)


class SqlWorkFactory:
    """See `ports.WorkFactory`."""

    def __init__(self, sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        self._sessionmaker = sessionmaker

    def tenant(self, organization_id: str) -> SqlWork:
        return SqlWork(self._sessionmaker, organization_id)

    def system(self) -> SqlWork:
        return SqlWork(self._sessionmaker, system=True)


def _family(row: Row[Any]) -> RefreshFamily:
    return RefreshFamily(
        row.id,
        row.user_id,
        row.organization_id,
        row.created_at,
        row.revoked_at,
        row.authenticated_at,
        tuple(row.methods),
        row.client_id,
        tuple(row.scopes),
    )


def _user(row: Row[Any]) -> User:
    return User(row.id, row.email, row.display_name, row.password_hash, row.created_at)


def _held(membership: Membership) -> dict[str, list[str]]:
    return {
        "roles": [str(role) for role in membership.roles],
        "custom_role_ids": list(membership.custom_role_ids),
        "group_roles": [str(role) for role in membership.group_roles],
        "group_custom_role_ids": list(membership.group_custom_role_ids),
    }


def _membership(row: Row[Any]) -> Membership:
    return Membership(
        _user(row),
        row.organization_id,
        tuple(Role(role) for role in row.roles),
        row.joined_at,
        tuple(row.custom_role_ids),
        frozenset(row.custom_permissions or ()),
        tuple(Role(role) for role in row.group_roles),
        tuple(row.group_custom_role_ids),
    )

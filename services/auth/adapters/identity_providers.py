"""Identity providers and identities in Postgres."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    LargeBinary,
    PrimaryKeyConstraint,
    Row,
    String,
    Table,
    Text,
    delete,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.domain import Role
from services.auth.groups import GroupRole
from services.auth.identity_providers import Identity, IdentityProvider
from services.auth.provider_errors import IdentityNotAllowed
from services.auth.tables import metadata

MOST_IDENTITIES = 100
MOST_OF_ONE_ISSUER = 100

# The secret is sealed as those of authenticator apps are.
identity_providers = Table(
    "identity_providers",
    metadata,
    Column("organization_id", String, ForeignKey("organizations.id"), primary_key=True),
    Column("name", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("client_id", String, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("email_domains", ARRAY(Text), nullable=False),
    Column("hosts", ARRAY(Text), nullable=False),
    Column("creates_users", Boolean, nullable=False),
    Column("role", String, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("groups_claim", String, nullable=False, server_default=""),
    # Group, built-in role and identifier of a custom one, of which one is empty.
    Column("group_roles", JSONB, nullable=False, server_default="[]"),
)

identities = Table(
    "identities",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("user_id", String, ForeignKey("users.id"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("organization_id", "issuer", "subject"),
)


class SqlIdentityProviders:
    """See `provider_ports.IdentityProviders`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, organization_id: str) -> IdentityProvider | None:
        table = identity_providers
        row = (await self._session.execute(select(table).where(table.c.organization_id == organization_id))).first()
        if row is None:
            return None
        return _provider(row)

    async def of_issuer(self, issuer: str) -> Sequence[IdentityProvider]:
        table = identity_providers
        chosen = select(table).where(table.c.issuer == issuer).order_by(table.c.organization_id)
        return [_provider(row) for row in await self._session.execute(chosen.limit(MOST_OF_ONE_ISSUER))]

    async def put(self, provider: IdentityProvider) -> None:
        values = {name: getattr(provider, name) for name in IdentityProvider.__slots__}
        values |= {
            "email_domains": list(provider.email_domains),
            "hosts": list(provider.hosts),
            "role": str(provider.role),
            "group_roles": [[one.group, one.role or "", one.custom_role_id] for one in provider.group_roles],
        }
        statement = insert(identity_providers).values(values)
        await self._session.execute(statement.on_conflict_do_update(index_elements=["organization_id"], set_=values))

    async def remove(self, organization_id: str) -> None:
        table = identity_providers
        await self._session.execute(delete(table).where(table.c.organization_id == organization_id))

    async def identity(self, organization_id: str, issuer: str, subject: str) -> Identity | None:
        table = identities
        chosen = select(table).where(
            table.c.organization_id == organization_id, table.c.issuer == issuer, table.c.subject == subject
        )
        row = (await self._session.execute(chosen)).first()
        return Identity(row.organization_id, row.issuer, row.subject, row.user_id, row.created_at) if row else None

    async def link(self, identity: Identity) -> None:
        values = {name: getattr(identity, name) for name in Identity.__slots__}
        statement = insert(identities).values(values).on_conflict_do_nothing().returning(identities.c.user_id)
        if (await self._session.execute(statement)).first() is None:
            raise IdentityNotAllowed

    async def identities_of(self, organization_id: str, user_id: str) -> Sequence[Identity]:
        table = identities
        chosen = select(table).where(table.c.organization_id == organization_id, table.c.user_id == user_id)
        rows = await self._session.execute(chosen.order_by(table.c.created_at, table.c.subject).limit(MOST_IDENTITIES))
        return [Identity(row.organization_id, row.issuer, row.subject, row.user_id, row.created_at) for row in rows]

    async def unlink(self, identity: Identity) -> None:
        table = identities
        chosen = delete(table).where(
            table.c.organization_id == identity.organization_id,
            table.c.issuer == identity.issuer,
            table.c.subject == identity.subject,
        )
        await self._session.execute(chosen)


def _provider(row: Row[Any]) -> IdentityProvider:
    return IdentityProvider(
        row.organization_id,
        row.name,
        row.issuer,
        row.client_id,
        row.sealed_secret,
        tuple(row.email_domains),
        tuple(row.hosts),
        row.creates_users,
        Role(row.role),
        row.updated_at,
        row.groups_claim,
        tuple(GroupRole(group, Role(role) if role else None, custom) for group, role, custom in row.group_roles),
    )

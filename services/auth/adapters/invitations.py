"""Invitations in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime, ForeignKey, LargeBinary, Row, String, Table, Text, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.domain import Role
from services.auth.invitation_errors import InvitationNotFound
from services.auth.invitations import Invitation
from services.auth.tables import metadata

invitations = Table(
    "invitations",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, ForeignKey("organizations.id"), nullable=False),
    Column("email", String, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("custom_role_ids", ARRAY(Text), nullable=False),
    Column("invited_by", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("token_hash", LargeBinary, unique=True),
    Column("accepted_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
)


class SqlInvitations:
    """See `ports.Invitations`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(self, invitation: Invitation) -> None:
        values = {name: getattr(invitation, name) for name in Invitation.__slots__}
        values |= {"roles": [str(role) for role in invitation.roles], "custom_role_ids": [*invitation.custom_role_ids]}
        statement = insert(invitations).values(values)
        await self._session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    async def get(self, invitation_id: str) -> Invitation:
        # Held until the transaction ends: the mail room and a withdrawal must not undo each other.
        statement = select(invitations).where(invitations.c.id == invitation_id).with_for_update()
        row = (await self._session.execute(statement)).first()
        if row is None:
            raise InvitationNotFound(resource_name=invitation_id)
        return _invitation(row)

    async def find_locked(self, token_hash: bytes) -> Invitation | None:
        statement = select(invitations).where(invitations.c.token_hash == token_hash).with_for_update()
        row = (await self._session.execute(statement)).first()
        return _invitation(row) if row else None

    async def list_open(self, now: datetime) -> Sequence[Invitation]:
        columns = invitations.c
        statement = select(invitations).where(
            columns.accepted_at.is_(None), columns.revoked_at.is_(None), columns.expires_at > now
        )
        return [_invitation(row) for row in await self._session.execute(statement.order_by(columns.id.desc()))]


def _invitation(row: Row[Any]) -> Invitation:
    values = {name: getattr(row, name) for name in Invitation.__slots__}
    roles = tuple(Role(role) for role in row.roles)
    return Invitation(**values | {"roles": roles, "custom_role_ids": tuple(row.custom_role_ids)})

"""Passkeys in Postgres, for units of work of the whole system alone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth import tables
from services.auth.factor_errors import PasskeyInvalid
from services.auth.passkeys import Passkey


class SqlPasskeys:
    """See `factor_ports.Passkeys`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, passkey: Passkey) -> None:
        values = {
            "id": passkey.id,
            "user_id": passkey.user_id,
            "name": passkey.name,
            "public_key": passkey.public_key,
            "sign_count": passkey.sign_count,
            "transports": list(passkey.transports),
            "created_at": passkey.created_at,
        }
        statement = insert(tables.passkeys).values(values).on_conflict_do_nothing().returning(tables.passkeys.c.id)
        if (await self._session.execute(statement)).first() is None:
            raise PasskeyInvalid

    async def find(self, passkey_id: bytes) -> Passkey | None:
        table = tables.passkeys
        row = (await self._session.execute(select(table).where(table.c.id == passkey_id))).first()
        return _passkey(row) if row else None

    async def of(self, user_id: str) -> Sequence[Passkey]:
        table = tables.passkeys
        chosen = select(table).where(table.c.user_id == user_id).order_by(table.c.created_at, table.c.id)
        return [_passkey(row) for row in await self._session.execute(chosen)]

    async def used(self, passkey_id: bytes, sign_count: int, *, at: datetime) -> None:
        changed = update(tables.passkeys).where(tables.passkeys.c.id == passkey_id)
        await self._session.execute(changed.values(sign_count=sign_count, used_at=at))

    async def remove(self, user_id: str, passkey_id: bytes) -> bool:
        table = tables.passkeys
        gone = delete(table).where(table.c.user_id == user_id, table.c.id == passkey_id).returning(table.c.id)
        return (await self._session.execute(gone)).first() is not None


def _passkey(row: Row[Any]) -> Passkey:
    return Passkey(
        row.id,
        row.user_id,
        row.name,
        row.public_key,
        row.sign_count,
        tuple(row.transports),
        row.created_at,
        row.used_at,
    )

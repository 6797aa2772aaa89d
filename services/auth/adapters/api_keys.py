"""Service accounts and API keys in Postgres, and their uses, kept in batches."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.adapters import api_key_tables as tables
from services.auth.api_key_errors import ApiKeyNotFound, ServiceAccountNameTaken, ServiceAccountNotFound
from services.auth.api_key_ports import KeyFilter
from services.auth.api_keys import ApiKey, ServiceAccount
from services.auth.ports import WorkFactory
from services.common import background

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 10.0


class SqlApiKeys:
    """See `ports.ApiKeys`."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add_account(self, account: ServiceAccount) -> None:
        values = {name: getattr(account, name) for name in ServiceAccount.__slots__}
        try:
            await self._session.execute(insert(tables.service_accounts).values(values))
        except IntegrityError:
            raise ServiceAccountNameTaken from None

    async def get_account(self, account_id: str) -> ServiceAccount:
        row = (await self._session.execute(self._accounts().where(tables.service_accounts.c.id == account_id))).first()
        if row is None:
            raise ServiceAccountNotFound(resource_name=account_id)
        return _account(row)

    async def list_accounts(self) -> Sequence[ServiceAccount]:
        columns = tables.service_accounts.c
        return [_account(row) for row in await self._session.execute(self._accounts().order_by(columns.name))]

    async def delete_account(self, account_id: str) -> None:
        accounts = tables.service_accounts
        await self._session.execute(
            delete(accounts).where(accounts.c.organization_id == self._organization_id, accounts.c.id == account_id)
        )

    async def add(self, key: ApiKey) -> None:
        values = {name: getattr(key, name) for name in ApiKey.__slots__}
        values |= {"scopes": sorted(key.scopes), "networks": list(key.networks)}
        await self._session.execute(insert(tables.api_keys).values(values))

    async def get(self, key_id: str) -> ApiKey:
        row = (await self._session.execute(self._keys().where(tables.api_keys.c.id == key_id))).first()
        if row is None:
            raise ApiKeyNotFound(resource_name=key_id)
        return _key(row)

    async def find_by_hash(self, key_hash: bytes) -> ApiKey | None:
        row = (await self._session.execute(select(tables.api_keys).where(tables.api_keys.c.hash == key_hash))).first()
        return _key(row) if row else None

    async def list(self, chosen: KeyFilter, before: str, limit: int) -> Sequence[ApiKey]:
        columns = tables.api_keys.c
        statement = self._keys()
        if chosen.service_account_id:
            statement = statement.where(columns.service_account_id == chosen.service_account_id)
        if chosen.user_id:
            statement = statement.where(columns.user_id == chosen.user_id)
        if chosen.live_at is not None:
            statement = statement.where(columns.revoked_at.is_(None), columns.expires_at > chosen.live_at)
        if before:
            statement = statement.where(columns.id < before)
        return [_key(row) for row in await self._session.execute(statement.order_by(columns.id.desc()).limit(limit))]

    async def end(self, key: ApiKey) -> None:
        keys = tables.api_keys
        chosen = update(keys).where(keys.c.organization_id == self._organization_id, keys.c.id == key.id)
        await self._session.execute(chosen.values(revoked_at=key.revoked_at, expires_at=key.expires_at))

    async def used(self, uses: Mapping[str, datetime]) -> None:
        keys = tables.api_keys
        statement = update(keys).where(keys.c.id == bindparam("key"))
        statement = statement.values(last_used_at=func.greatest(keys.c.last_used_at, bindparam("at")))
        connection = await self._session.connection()
        await connection.execute(statement, [{"key": key, "at": at} for key, at in sorted(uses.items())])

    def _accounts(self) -> Any:
        return select(tables.service_accounts).where(tables.service_accounts.c.organization_id == self._organization_id)

    def _keys(self) -> Any:
        return select(tables.api_keys).where(tables.api_keys.c.organization_id == self._organization_id)


class BatchedKeyUses:
    """See `ports.KeyUses`. Use it as a context manager: it keeps the uses every few seconds, and at the end."""

    def __init__(self, work: WorkFactory) -> None:
        self._work = work
        self._uses: dict[str, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "BatchedKeyUses":
        self._task = asyncio.create_task(self._run(), name="key-uses")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)
        await self._try_flush()

    def note(self, key_id: str, at: datetime) -> None:
        self._uses[key_id] = at

    async def flush(self) -> None:
        """Keep what was noted since the last time."""
        if not self._uses:
            return
        uses, self._uses = self._uses, {}
        async with self._work.system() as work:
            await work.api_keys.used(uses)
            await work.commit()

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except Exception:
            # Worth no more than a line: the next use says the same a little later.
            logger.warning("uses of API keys were not kept", exc_info=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._try_flush()


def _account(row: Row[Any]) -> ServiceAccount:
    return ServiceAccount(row.id, row.organization_id, row.name, row.created_by, row.created_at)


def _key(row: Row[Any]) -> ApiKey:
    values = {name: getattr(row, name) for name in ApiKey.__slots__}
    return ApiKey(**values | {"scopes": frozenset(row.scopes), "networks": tuple(row.networks)})

"""Postgres for a service: engine, unit of work with row-level security, and the tables every service has.

A service connects as its own role, whose `search_path` is its schema, so tables are named without one. The role owns
nothing: row-level security holds for it always. A unit of work is built for one organization and sees only its rows;
`system=True` is the one way to see the rows of all, for work that belongs to no tenant (relays, expiry, sign-in).
"""

from types import TracebackType
from typing import Protocol, Self

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction

from services.common.context import IdempotencyKey
from services.common.dependencies import as_unavailable
from services.common.errors import RequestIdReused
from services.common.settings import ServiceSettings

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

_SET_SCOPE = text(
    "select set_config('app.organization_id', :organization_id, true), set_config('app.system', :system, true)"
)


def new_metadata() -> MetaData:
    """Metadata for a service's tables, with names for every constraint."""
    return MetaData(naming_convention=NAMING_CONVENTION)


def create_engine(settings: ServiceSettings) -> AsyncEngine:
    """A small pool of connections; one that Postgres closed meanwhile is replaced without the caller noticing."""
    return create_async_engine(
        settings.database_url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_timeout_seconds,
        pool_pre_ping=True,
        connect_args={
            "timeout": settings.database_timeout_seconds,
            "command_timeout": settings.database_timeout_seconds,
            "server_settings": {"jit": "off", "idle_in_transaction_session_timeout": "60s"},
        },
    )


def create_sessionmaker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions that keep loaded objects usable after commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


class SqlUnitOfWork:
    """One transaction for one organization. Subclasses build their repositories in `bind`.

        async with work_for(organization_id) as work:
            ...
            await work.commit()

    Leaving without commit rolls back. A database that does not answer raises `errors.Unavailable`.
    """

    session: AsyncSession

    def __init__(
        self, sessionmaker: async_sessionmaker[AsyncSession], organization_id: str = "", *, system: bool = False
    ) -> None:
        self._sessionmaker = sessionmaker
        self._system = system
        self.organization_id = organization_id

    def bind(self, session: AsyncSession) -> None:
        """Build what works on this transaction's session."""

    async def __aenter__(self) -> Self:
        self.session = self._sessionmaker()
        event.listen(self.session.sync_session, "after_begin", self._set_scope)
        self.bind(self.session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()
        if error is not None and (unavailable := as_unavailable(error)):
            raise unavailable from error

    async def commit(self) -> None:
        """Make the changes last. Statements that follow run in a new transaction of the same scope."""
        await self.session.commit()

    def _set_scope(self, _session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
        scope = {"organization_id": self.organization_id, "system": "on" if self._system else "off"}
        connection.execute(_SET_SCOPE, scope)


class _Operations(Protocol):
    """The part of `alembic.op` used here."""

    def execute(self, sqltext: str) -> None: ...


def enable_row_level_security(op: _Operations, table: str, column: str = "organization_id") -> None:
    """In a migration: let only rows of the transaction's organization be seen and written, whoever owns the table."""
    scope = f"{column} = current_setting('app.organization_id', true) or current_setting('app.system', true) = 'on'"
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    op.execute(f"create policy {table}_scope on {table} using ({scope}) with check ({scope})")


def idempotency_table(metadata: MetaData) -> Table:
    """The table of request_ids seen; put it into the service's `tables.py` and its first migration."""
    return Table(
        "idempotency_records",
        metadata,
        Column("organization_id", String, nullable=False),
        Column("method", String, nullable=False),
        Column("request_id", String, nullable=False),
        Column("fingerprint", LargeBinary, nullable=False),
        Column("resource_id", String, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        PrimaryKeyConstraint("organization_id", "method", "request_id"),
    )


class IdempotencyRecords:
    """Remembers, in the same transaction as the effect, which request_id made which resource."""

    def __init__(self, session: AsyncSession, organization_id: str, table: Table) -> None:
        self._session = session
        self._organization_id = organization_id
        self._table = table

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        """None if the key is new and now stands for `resource_id`; else the resource it stood for already.

        A concurrent call with the same key waits here until the first one commits or rolls back. Raises
        RequestIdReused when the key came with other content.
        """
        table = self._table
        identity = {
            "organization_id": self._organization_id,
            "method": key.method,
            "request_id": key.request_id,
        }
        statement = insert(table).values(**identity, fingerprint=key.fingerprint, resource_id=resource_id)
        claimed = await self._session.execute(statement.on_conflict_do_nothing().returning(table.c.request_id))
        if claimed.first() is not None:
            return None
        row = (
            await self._session.execute(
                select(table.c.fingerprint, table.c.resource_id).where(
                    *(table.c[name] == value for name, value in identity.items())
                )
            )
        ).one()
        if row.fingerprint != key.fingerprint:
            raise RequestIdReused
        resource: str = row.resource_id
        return resource

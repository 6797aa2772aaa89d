"""Accounts, links, letters that wait and revocations in Postgres. They belong to people, not to a tenant, so only
units of work of the whole system see them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth import tables
from services.auth.accounts import Account, Letter, Link, MailJob, Purpose
from services.common.revocations import Revocation


class SqlAccounts:
    """See `account_ports.Accounts`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, user_id: str) -> Account:
        table = tables.accounts
        row = (await self._session.execute(select(table).where(table.c.user_id == user_id))).first()
        return Account(row.user_id, row.email_verified_at, row.password_alone) if row else Account(user_id)

    async def put(self, account: Account) -> None:
        values = {"email_verified_at": account.email_verified_at, "password_alone": account.password_alone}
        statement = insert(tables.accounts).values(user_id=account.user_id, **values)
        await self._session.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=values))


class SqlLinks:
    """See `account_ports.Links`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, link: Link) -> None:
        values = {
            "hash": link.hash,
            "user_id": link.user_id,
            "purpose": str(link.purpose),
            "email": link.email,
            "expires_at": link.expires_at,
        }
        await self._session.execute(insert(tables.mail_links).values(values))

    async def find_locked(self, token_hash: bytes, purpose: Purpose) -> Link | None:
        table = tables.mail_links
        chosen = select(table).where(table.c.hash == token_hash, table.c.purpose == str(purpose)).with_for_update()
        row = (await self._session.execute(chosen)).first()
        return Link(row.hash, row.user_id, Purpose(row.purpose), row.email, row.expires_at) if row else None

    async def forget(self, user_id: str, purpose: Purpose) -> None:
        table = tables.mail_links
        await self._session.execute(delete(table).where(table.c.user_id == user_id, table.c.purpose == str(purpose)))


class SqlMailJobs:
    """See `account_ports.MailJobs`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, job: MailJob) -> None:
        values = {
            "id": job.id,
            "letter": str(job.letter),
            "email": job.email,
            "due_at": job.due_at,
            "attempts": job.attempts,
            "reference": job.reference,
        }
        await self._session.execute(insert(tables.mail_jobs).values(values))

    async def next_due(self, now: datetime) -> MailJob | None:
        table = tables.mail_jobs
        due = select(table).where(table.c.due_at <= now).order_by(table.c.due_at).limit(1)
        row = (await self._session.execute(due.with_for_update(skip_locked=True))).first()
        return MailJob(row.id, Letter(row.letter), row.email, row.due_at, row.attempts, row.reference) if row else None

    async def postpone(self, job: MailJob) -> None:
        table = tables.mail_jobs
        changed = update(table).where(table.c.id == job.id)
        await self._session.execute(changed.values(due_at=job.due_at, attempts=job.attempts))

    async def remove(self, job: MailJob) -> None:
        await self._session.execute(delete(tables.mail_jobs).where(tables.mail_jobs.c.id == job.id))


class SqlRevocationLog:
    """See `account_ports.RevocationLog`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, revocation: Revocation, *, at: datetime) -> None:
        table = tables.revocations
        values = {"subject": revocation.subject, "not_before": revocation.not_before, "revoked_at": at}
        # Without RETURNING, which would read: work for a tenant may only add.
        await self._session.execute(insert(table).inline().values(values))

    async def since(self, at: datetime) -> Sequence[Revocation]:
        table = tables.revocations
        rows = await self._session.execute(select(table).where(table.c.revoked_at >= at))
        return [Revocation(row.subject, row.not_before) for row in rows]

"""The ports of accounts in memory. The contract suite holds them to the behaviour of the real ones."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from services.auth.accounts import Account, Link, MailJob, Purpose
from services.common.mail import Mail, MailNotSent
from services.common.revocations import Revocation


class Store(Protocol):
    """The part of the store in memory that belongs to accounts."""

    accounts: dict[str, Account]
    links: dict[bytes, Link]
    mail_jobs: dict[str, MailJob]
    revoked: list[tuple[datetime, Revocation]]


class FakeAccounts:
    """See `account_ports.Accounts`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, user_id: str) -> Account:
        return self._store.accounts.get(user_id, Account(user_id))

    async def put(self, account: Account) -> None:
        self._store.accounts[account.user_id] = account


class FakeLinks:
    """See `account_ports.Links`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, link: Link) -> None:
        self._store.links[link.hash] = link

    async def find_locked(self, token_hash: bytes, purpose: Purpose) -> Link | None:
        link = self._store.links.get(token_hash)
        return link if link and link.purpose is purpose else None

    async def forget(self, user_id: str, purpose: Purpose) -> None:
        for link in list(self._store.links.values()):
            if (link.user_id, link.purpose) == (user_id, purpose):
                del self._store.links[link.hash]


class FakeMailJobs:
    """See `account_ports.MailJobs`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, job: MailJob) -> None:
        self._store.mail_jobs[job.id] = job

    async def next_due(self, now: datetime) -> MailJob | None:
        due = [job for job in self._store.mail_jobs.values() if job.due_at <= now]
        return min(due, key=lambda job: job.due_at, default=None)

    async def postpone(self, job: MailJob) -> None:
        self._store.mail_jobs[job.id] = job

    async def remove(self, job: MailJob) -> None:
        del self._store.mail_jobs[job.id]


class FakeRevocationLog:
    """See `account_ports.RevocationLog`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, revocation: Revocation, *, at: datetime) -> None:
        self._store.revoked.append((at, revocation))

    async def since(self, at: datetime) -> Sequence[Revocation]:
        return [revocation for revoked_at, revocation in self._store.revoked if revoked_at >= at]


class FakeAnnouncer:
    """Remembers what was announced."""

    def __init__(self) -> None:
        self.announced: list[Revocation] = []

    async def announce(self, revoked: Sequence[Revocation]) -> None:
        self.announced.extend(revoked)


class FakeAllowances:
    """Counts without a limit."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    async def take(self, what: str, who: str, limit: int, window: timedelta) -> None:
        self.taken.append((what, who))


class FakeMailer:
    """Keeps what is sent; while `fails`, nothing is."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.fails = False

    async def send(self, mail: Mail) -> None:
        if self.fails:
            raise MailNotSent
        self.sent.append(mail)

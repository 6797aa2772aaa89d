"""What the use cases of accounts need from outside, in the domain's words."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from services.auth.accounts import Account, Link, MailJob, Purpose
from services.common.mail import Mail
from services.common.revocations import Revocation


class Accounts(Protocol):
    """The accounts of people; without a record an account is new."""

    async def get(self, user_id: str) -> Account:
        """The account."""

    async def put(self, account: Account) -> None:
        """Keep it."""


class Links(Protocol):
    """The links sent to people."""

    async def add(self, link: Link) -> None:
        """Keep a new one."""

    async def find_locked(self, token_hash: bytes, purpose: Purpose) -> Link | None:
        """The unused link; whoever else follows it waits until this unit of work ends."""

    async def forget(self, user_id: str, purpose: Purpose) -> None:
        """Make every such link of the person useless."""


class MailJobs(Protocol):
    """Letters that wait."""

    async def add(self, job: MailJob) -> None:
        """Send a letter, if and only if this unit of work is committed."""

    async def next_due(self, now: datetime) -> MailJob | None:
        """A letter that is due and that nobody else is sending; nobody will until this unit of work ends."""

    async def postpone(self, job: MailJob) -> None:
        """Keep when it is due next, and after how many attempts."""

    async def remove(self, job: MailJob) -> None:
        """It is sent, or never will be."""


class RevocationLog(Protocol):
    """What was revoked lately."""

    async def add(self, revocation: Revocation, *, at: datetime) -> None:
        """Keep it, if and only if this unit of work is committed."""

    async def since(self, at: datetime) -> Sequence[Revocation]:
        """What was revoked from then on."""


class Announcer(Protocol):
    """Tells every process at once; what gets lost they learn by asking."""

    async def announce(self, revoked: Sequence[Revocation]) -> None:
        """Never raises, and takes half a second at most."""


class Mailer(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail) -> None:
        """Raises MailNotSent."""


class Allowances(Protocol):
    """How often something may be done in a while."""

    async def take(self, what: str, who: str, limit: int, window: timedelta) -> None:
        """Count once. Raises TooManyAttempts beyond the limit."""

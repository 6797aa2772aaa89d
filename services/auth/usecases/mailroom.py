"""Sends the letters that wait. Who asks for one never waits for it, and learns nothing from how long it takes."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from services.auth import letters
from services.auth.account_ports import Mailer
from services.auth.accounts import Letter, Link, MailJob, hash_token, new_token
from services.auth.ports import Work, WorkFactory
from services.common import background
from services.common.clock import Clock
from services.common.mail import Mail, MailNotSent

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
# Longer than a mail server may take.
FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(hours=1)
ATTEMPTS = 12


class MailRoom:
    """Use it as a context manager: a task sends what is due. Several processes share the work."""

    def __init__(self, work: WorkFactory, mailer: Mailer, clock: Clock, *, public_url: str) -> None:
        self._work = work
        self._mailer = mailer
        self._clock = clock
        self._public_url = public_url.rstrip("/")
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """A letter was just committed."""
        self._woken.set()

    async def __aenter__(self) -> "MailRoom":
        self._task = asyncio.create_task(self._run(), name="mailroom")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await background.end(self._task)

    async def send_one(self) -> bool:
        """Send a letter that is due; False if there was none. One that cannot be sent waits longer each time."""
        async with self._work.system() as work:
            job = await work.mail_jobs.next_due(self._clock())
            if job is None:
                return False
            mail = await self._write(work, job)
            if mail is not None:
                # Before it goes out its link is good, and nobody else sends it unless this process dies.
                wait = min(FIRST_RETRY * 2**job.attempts, LAST_RETRY)
                job = replace(job, due_at=self._clock() + wait, attempts=job.attempts + 1)
                await work.mail_jobs.postpone(job)
            else:
                await work.mail_jobs.remove(job)
            await work.commit()
        if mail is not None and (await self._sent(job, mail) or job.attempts >= ATTEMPTS):
            async with self._work.system() as work:
                await work.mail_jobs.remove(job)
                await work.commit()
        return True

    async def _sent(self, job: MailJob, mail: Mail) -> bool:
        try:
            await self._mailer.send(mail)
        except MailNotSent as error:
            given_up = job.attempts >= ATTEMPTS
            logger.warning("mail was not sent", extra={"job": job.id, "error": repr(error), "given_up": given_up})
            return False
        logger.info("mail sent", extra={"job": job.id, "letter": str(job.letter)})
        return True

    async def _write(self, work: Work, job: MailJob) -> Mail | None:
        """The letter; None when nobody has the address, or the invitation was withdrawn meanwhile."""
        if job.letter is Letter.INVITATION:
            return await self._invite(work, job.reference)
        user = await work.users.find_by_email(job.email)
        if user is None:
            return None
        token = ""
        if job.letter.purpose:
            token = new_token()
            expires_at = self._clock() + job.letter.purpose.lifetime
            await work.links.add(Link(hash_token(token), user.id, job.letter.purpose, user.email, expires_at))
        return letters.write(job.letter, user.email, user.display_name, self._public_url, token)

    async def _invite(self, work: Work, invitation_id: str) -> Mail | None:
        invitation = await work.invitations.get(invitation_id)
        if not invitation.is_open(self._clock()):
            return None
        token = new_token()
        await work.invitations.put(replace(invitation, token_hash=hash_token(token)))
        organization = await work.organizations.get(invitation.organization_id)
        return letters.write_invitation(invitation.email, organization.name, self._public_url, token)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                while await self.send_one():
                    continue
            except Exception:
                logger.warning("the mail room cannot work", exc_info=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()

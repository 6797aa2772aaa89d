"""Sending mail: by SMTP, or on one machine into a folder that its owner reads."""

import asyncio
import os
import smtplib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.common.ids import new_id

SMTP_TIMEOUT_SECONDS = 10.0


class MailNotSent(Exception):
    """The mail server did not take the mail; another attempt may help."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A letter in plain text."""

    to: str
    subject: str
    text: str
    id: str = field(default_factory=lambda: new_id("eml"))

    def message(self, sender: str) -> EmailMessage:
        """The letter as it goes out. Raises ValueError for an address or subject that would forge a header."""
        message = EmailMessage(policy=SMTP)
        message["From"] = sender
        message["To"] = self.to
        message["Subject"] = self.subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = make_msgid(self.id, sender.rpartition("@")[2].rstrip(">"))
        # Nobody reads answers, and no automatic answer should come.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self.text)
        return message


class FolderMailer:
    """Writes each letter into a file of a folder that only its owner reads; nothing leaves the machine."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """Raises MailNotSent."""
        await asyncio.to_thread(self._write, mail)

    def _write(self, mail: Mail) -> None:
        try:
            written = mail.message(self._sender).as_bytes()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._folder / f"{mail.id}.eml"
            fresh = file.with_suffix(".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(written)
            fresh.replace(file)
        except (OSError, ValueError) as error:
            raise MailNotSent(type(error).__name__) from None


class SmtpMailer:
    """Hands each letter to a mail server: `smtps://user:password@host:465`, or `smtp://…:587` with STARTTLS."""

    def __init__(self, url: str, sender: str, *, trust: ssl.SSLContext | None = None) -> None:
        """Raises ValueError for another kind of URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("a mail server is named as smtps://user:password@host:465 or smtp://host:587")
        self._tls_from_the_start = parts.scheme == "smtps"
        self._host = parts.hostname
        self._port = parts.port or (465 if self._tls_from_the_start else 587)
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._sender = sender
        self._trust = trust or ssl.create_default_context()

    async def send(self, mail: Mail) -> None:
        """Raises MailNotSent."""
        await asyncio.to_thread(self._deliver, mail)

    def _deliver(self, mail: Mail) -> None:
        try:
            with self._connect() as server:
                if self._user:
                    server.login(self._user, self._password)
                server.send_message(mail.message(self._sender))
        except (OSError, smtplib.SMTPException, ValueError) as error:
            # The words of the server or of a wrong address may hold the address.
            raise MailNotSent(type(error).__name__) from None

    def _connect(self) -> smtplib.SMTP:
        if self._tls_from_the_start:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=SMTP_TIMEOUT_SECONDS, context=self._trust)
        server = smtplib.SMTP(self._host, self._port, timeout=SMTP_TIMEOUT_SECONDS)
        try:
            # Links in letters are secrets: without TLS nothing is sent.
            server.starttls(context=self._trust)
        except BaseException:
            server.close()
            raise
        return server

"""Letters to a mail server over TLS, and into a folder."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from services.common.mail import FolderMailer, Mail, MailNotSent, SmtpMailer
from tests.support.pki import TestPki

SENDER = "Deskmesh <no-reply@deskmesh.local>"
LETTER = Mail("ann@example.com", "Grüße", "Hello Ann,\n\nhttps://desk.example/verify-email#token\n")


class MailServer:
    """Takes every letter, in the few words of SMTP that a client needs."""

    def __init__(self, *, refuses: str = "") -> None:
        self.heard: list[str] = []
        self.letters: list[bytes] = []
        self._refuses = refuses

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        while line := (await reader.readline()).decode().strip():
            self.heard.append(line)
            word = line.split()[0].upper()
            if word == self._refuses:
                writer.write(b"550 no such mailbox\r\n")
            elif word == "EHLO":
                writer.write(b"250-mail\r\n250 AUTH PLAIN\r\n")
            elif word == "AUTH":
                writer.write(b"235 welcome\r\n")
            elif word == "DATA":
                writer.write(b"354 go on\r\n")
                self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 taken\r\n")
            elif word == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 fine\r\n")
        writer.close()


@asynccontextmanager
async def serving(server: MailServer, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """The server on a free port of this machine."""
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


@pytest.fixture
def tls(pki: TestPki) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server that is "auth" and of a client that trusts our authority."""
    files = pki.files("auth")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files["tls_cert_file"], files["tls_key_file"])
    client = ssl.create_default_context(cafile=str(files["tls_ca_file"]))
    # The certificate names a workload, not this address.
    client.check_hostname = False
    return server, client


async def test_a_letter_goes_out_over_tls(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server = MailServer()
    async with serving(server, tls[0]) as port:
        await SmtpMailer(f"smtps://me:p%40ss@127.0.0.1:{port}", SENDER, trust=tls[1]).send(LETTER)
    (raw,) = server.letters
    sent = message_from_bytes(raw)
    assert (sent["To"], sent["From"], sent["Auto-Submitted"]) == ("ann@example.com", SENDER, "auto-generated")
    assert "=?utf-8?" in sent["Subject"]
    assert "rcpt TO:<ann@example.com>" in server.heard
    assert any(line.startswith("AUTH PLAIN") for line in server.heard)


@pytest.mark.parametrize("refuses", ["MAIL", "RCPT", "AUTH"])
async def test_a_refusal_says_nothing_of_the_address(tls: tuple[ssl.SSLContext, ssl.SSLContext], refuses: str) -> None:
    async with serving(MailServer(refuses=refuses), tls[0]) as port:
        with pytest.raises(MailNotSent) as refusal:
            await SmtpMailer(f"smtps://me:pass@127.0.0.1:{port}", SENDER, trust=tls[1]).send(LETTER)
    assert "ann" not in f"{refusal.value!r} {refusal.value.__cause__!r}"


async def test_without_tls_or_with_a_strangers_certificate_nothing_is_sent(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    plain, strange = MailServer(), MailServer()
    async with serving(plain, None) as port:
        with pytest.raises(MailNotSent):
            await SmtpMailer(f"smtp://127.0.0.1:{port}", SENDER).send(LETTER)
    async with serving(strange, tls[0]) as port:
        with pytest.raises(MailNotSent):
            await SmtpMailer(f"smtps://127.0.0.1:{port}", SENDER).send(LETTER)
    assert plain.letters == strange.letters == []
    with pytest.raises(MailNotSent):
        await SmtpMailer("smtps://127.0.0.1:1", SENDER).send(LETTER)
    with pytest.raises(ValueError, match="mail server"):
        SmtpMailer("https://mail.example", SENDER)


async def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    await FolderMailer(folder, SENDER).send(LETTER)
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert message_from_bytes(file.read_bytes())["To"] == "ann@example.com"


def test_no_header_is_forged(tmp_path: Path) -> None:
    mailer = FolderMailer(tmp_path, SENDER)
    with pytest.raises(MailNotSent):
        asyncio.run(mailer.send(Mail("ann@example.com\nBcc: eve@example.com", "Hi", "text")))
    assert list(tmp_path.iterdir()) == []

"""The folder into which a stack on this machine writes the letters that it would send elsewhere."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import parsedate_to_datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter in the folder."""

    id: str
    to: str
    subject: str
    sent_at: datetime
    text: str

    @property
    def token(self) -> str:
        """The token of the letter's link; empty without one."""
        return (self.text.partition("#")[2].split() or [""])[0]


def read(folder: Path) -> list[Letter]:
    """Every letter, newest first."""
    files = sorted(folder.glob("*.eml"), reverse=True) if folder.exists() else []
    return [_letter(file) for file in files]


def _letter(file: Path) -> Letter:
    message = message_from_bytes(file.read_bytes(), _class=EmailMessage, policy=default)
    sent_at = parsedate_to_datetime(message["Date"]) if message["Date"] else datetime.fromtimestamp(0, UTC)
    return Letter(file.stem, str(message["To"]), str(message["Subject"]), sent_at, message.get_content())

"""The letters that a service wrote into a folder."""

import asyncio
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path


@dataclass
class Mailbox:
    """A folder of letters."""

    folder: Path

    def letters(self, address: str) -> list[EmailMessage]:
        """Everything sent to an address, oldest first."""
        files = sorted(self.folder.glob("*.eml")) if self.folder.exists() else []
        read = [message_from_bytes(file.read_bytes(), _class=EmailMessage, policy=default) for file in files]
        return [letter for letter in read if letter["To"] == address]

    async def letter(self, address: str, subject: str, *, count: int = 1) -> str:
        """The text of the newest letter with this subject, once there are so many; waits for ten seconds."""
        async with asyncio.timeout(10):
            while len(found := [one for one in self.letters(address) if one["Subject"] == subject]) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        text: str = found[-1].get_content()
        return text

    async def token(self, address: str, subject: str, *, count: int = 1) -> str:
        """The token of that letter's link."""
        return (await self.letter(address, subject, count=count)).partition("#")[2].split()[0]

"""The keys that sign access tokens, for whoever runs the platform."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.auth.audit import AuditEvent, EventType
from services.auth.ports import WorkFactory
from services.common.clock import Clock


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key: when it was made, since or from when it signs, and whether it is the one that signs now."""

    id: str
    created_at: datetime
    signs_from: datetime
    signing: bool


class Ring(Protocol):
    """The signing keys."""

    def published(self) -> Sequence[PublishedKey]:
        """Oldest first."""

    async def rotate(self) -> None:
        """Make and publish a new key now."""


class SigningKeys:
    """Lists and replaces keys."""

    def __init__(self, ring: Ring, work: WorkFactory, clock: Clock) -> None:
        self._ring = ring
        self._work = work
        self._clock = clock

    def list(self) -> Sequence[PublishedKey]:
        """The published keys, oldest first."""
        return self._ring.published()

    async def rotate(self) -> Sequence[PublishedKey]:
        """Make a new key, which signs once everybody knows it; returns all."""
        await self._ring.rotate()
        keys = self._ring.published()
        async with self._work.system() as work:
            event = AuditEvent.of(EventType.SIGNING_KEY_ROTATED, "", at=self._clock(), subject_id=keys[-1].id)
            await work.audit.add(event)
            await work.commit()
        return keys

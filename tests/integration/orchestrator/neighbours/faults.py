"""What a double does instead of answering."""

import asyncio
from collections import defaultdict

from services.common.errors import DomainError


class Faults:
    """What a double does instead of answering: by method name, an error to raise, or an event to wait for first."""

    def __init__(self) -> None:
        self.errors: dict[str, DomainError] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.entered: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.cancelled: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def meet(self, method: str) -> None:
        """Called at the start of every method."""
        self.entered[method].set()
        if gate := self.gates.get(method):
            try:
                await gate.wait()
            except asyncio.CancelledError:
                self.cancelled[method].set()
                raise
        if error := self.errors.get(method):
            raise error

"""Prompts that end engines.

When an engine dies, every prompt it was working on comes under suspicion. A suspect is tried again, but with no other
suspect beside it in the engine; if that engine dies, too, it was this one, and it is refused from then on. A suspect
that is answered is one no longer. What is known lies beside the board, for all replicas of the model and those that
will replace them; prompts are known by a digest, never by their words.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from serve_apps.assistant.board import Store
from serve_apps.assistant.engines.base import EngineDead
from serve_apps.assistant.errors import PromptQuarantined

logger = logging.getLogger(__name__)

NAMESPACE = "deskmesh-quarantine"
ENGINES = 2
KEPT_SECONDS = 3600.0
READ_SECONDS = 0.5


def digest(prompt: bytes) -> str:
    """What a prompt is known by."""
    return hashlib.blake2b(prompt, digest_size=16).hexdigest()


class Quarantine:
    """What is known of one model's prompts: how many engines each has ended, within the hour.

    One quarantine an engine: a replica whose engine has died is replaced.
    """

    def __init__(self, store: Store, model: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._model = model
        self._clock = clock
        self._ended: Mapping[str, int] = {}
        self._alone = asyncio.Lock()
        self._engine_died = False
        self._accused: set[str] = set()
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn what is known, and go on learning."""
        await self.read()
        self._reading = asyncio.create_task(self._read_for_ever())

    def stop(self) -> None:
        """Learn no more."""
        if self._reading is not None:
            self._reading.cancel()

    @property
    def refused(self) -> int:
        """Prompts that are refused now."""
        return sum(count >= ENGINES for count in self._ended.values())

    @asynccontextmanager
    async def passing(self, prompt: str) -> AsyncIterator[None]:
        """Around the engine's work on a prompt. Raises PromptQuarantined; passes EngineDead on."""
        count = self._ended.get(prompt, 0)
        if count >= ENGINES:
            raise PromptQuarantined
        async with self._alone if count else contextlib.nullcontext():
            came_in_time = not self._engine_died
            try:
                yield
            except EngineDead:
                self._engine_died = True
                # Who comes to an engine that is dead already has no part in it, nor is one engine counted twice.
                if came_in_time and prompt not in self._accused:
                    self._accused.add(prompt)
                    await self._accuse(prompt)
                raise
        if count:
            self._ended = {key: value for key, value in self._ended.items() if key != prompt}
            with contextlib.suppress(Exception):
                await asyncio.to_thread(self._store.delete, self._key(prompt))

    async def read(self) -> None:
        """Learn what is known now, and forget what is old."""
        values = await asyncio.to_thread(self._store.read_all)
        prefix, since, ended = f"{self._model}/", self._clock() - KEPT_SECONDS, {}
        for key, value in values.items():
            entry = json.loads(value)
            if not key.startswith(prefix):
                continue
            if entry["at"] < since:
                await asyncio.to_thread(self._store.delete, key)
            else:
                ended[key.removeprefix(prefix)] = entry["ended"]
        self._ended = ended

    async def _accuse(self, prompt: str) -> None:
        # Without the store's head this replica alone knows of it.
        with contextlib.suppress(Exception):
            await self.read()
        count = self._ended.get(prompt, 0) + 1
        entry = json.dumps({"ended": count, "at": self._clock()}).encode()
        with contextlib.suppress(Exception):
            await asyncio.to_thread(self._store.put, self._key(prompt), entry)
        self._ended = {**self._ended, prompt: count}
        if count >= ENGINES:
            logger.error("a prompt is quarantined", extra={"prompt": prompt, "model": self._model, "engines": count})
        else:
            logger.warning(
                "an engine ended while it worked on a prompt", extra={"prompt": prompt, "model": self._model}
            )

    async def _read_for_ever(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            # The store's head may be away for a moment; what was known goes on being true.
            with contextlib.suppress(Exception):
                await self.read()

    def _key(self, prompt: str) -> str:
        return f"{self._model}/{prompt}"

"""Where a client keeps its tokens, and how it renews them."""

import asyncio
import contextlib
import fcntl
import json
import os
import pathlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Protocol

# A token this close to its end is renewed before it is used.
EARLY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token with the time it ends (seconds since the epoch) and the refresh token that buys the next pair."""

    access_token: str
    expires_at: float
    refresh_token: str

    def fresh(self) -> bool:
        return time.time() < self.expires_at - EARLY_SECONDS


class Session(Protocol):
    """Keeps the tokens of one signed-in person.

    A refresh token may be spent once: presenting it again signs the person out everywhere. `exclusive` therefore holds
    off everybody else who shares the store while one renews.
    """

    def load(self) -> Tokens | None: ...

    def save(self, tokens: Tokens | None) -> None: ...

    def exclusive(self) -> contextlib.AbstractAsyncContextManager[None]: ...


class MemorySession:
    """Tokens of this client only; gone with the process."""

    def __init__(self) -> None:
        self._tokens: Tokens | None = None
        self._lock = asyncio.Lock()

    def load(self) -> Tokens | None:
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        async with self._lock:
            yield


class FileSession:
    """Tokens in a file that only its owner may read, shared by the processes that name it."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()

    def load(self) -> Tokens | None:
        try:
            return Tokens(**json.loads(self._path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def save(self, tokens: Tokens | None) -> None:
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump(asdict(tokens), stream)
        fresh.replace(self._path)

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        async with self._lock:
            with open(self._path.with_suffix(".lock"), "w") as lock:  # noqa: ASYNC230 (opened once, empty, local)
                await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
                yield

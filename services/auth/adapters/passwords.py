"""Argon2id in a few threads, with a bounded queue: hashing is what a flood of sign-ins would exhaust first."""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.auth.errors import TooManyAttempts

T = TypeVar("T")

RETRY_AFTER_SECONDS = 2.0


class ArgonPasswords:
    """See `ports.Passwords`. Use it as a context manager, which ends its threads."""

    def __init__(self, *, memory_kib: int, passes: int, threads: int, queue: int) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._limit = threads + queue
        self._pending = 0
        # What an unknown user's password is compared with, so that the answer takes as long as for a known one.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        return await self._in_thread(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        matches = await self._in_thread(lambda: self._matches(password_hash or self._nobody, _normal(password)))
        return matches and password_hash is not None

    def needs_rehash(self, password_hash: str) -> bool:
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._pending >= self._limit:
            raise TooManyAttempts(retry_after_seconds=RETRY_AFTER_SECONDS)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._pending -= 1


def _normal(password: str) -> str:
    # NIST 800-63B: the same characters typed on another keyboard are the same password.
    return unicodedata.normalize("NFKC", password)

"""Tokens that ended before their time: what was revoked, and how every process hears of it within seconds.

Auth names a *subject* (a person, a person's place in an organization, or one sign-in) and a moment: tokens of that
subject issued until then are refused. It tells so at once on a Valkey channel. Each process also asks auth's ops server
every `POLL_SECONDS`, which is what counts while Valkey is down. With both down a process goes on with what it knows:
holders of valid tokens keep working until their token ends, and nobody can be signed out meanwhile, because auth, which
does that, is down.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import redis.asyncio
import redis.exceptions

from services.common import background
from services.common.http import way_to

logger = logging.getLogger(__name__)

CHANNEL = "deskmesh:auth:revocations"
PATH = "/revocations.json"
POLL_SECONDS = 2.0
FETCH_TIMEOUT_SECONDS = 1.5
# A poll looks back this far before the last one: transactions become visible out of order.
OVERLAP_SECONDS = 15.0
QUIET_SECONDS = 5.0
RETRY_SECONDS = 1.0
# No access token lives longer, so a revocation may be forgotten after it.
KEPT_SECONDS = 3600.0 + 60.0
# No moment lies beyond it.
MOST_SECONDS = 1e12


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens of `subject` issued at `not_before` (seconds since the epoch) or earlier hold no longer."""

    subject: str
    not_before: float


def membership_subject(organization_id: str, user_id: str) -> str:
    """The subject to revoke when a person's place in one organization changed."""
    return f"{organization_id}/{user_id}"


def subjects_of(user_id: str, organization_id: str, session_id: str) -> tuple[str, ...]:
    """Whatever may be revoked to end a token of this person in this organization from this sign-in."""
    return user_id, membership_subject(organization_id, user_id), session_id


class Revocations:
    """What is revoked, as far as this process knows."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._not_before: dict[str, float] = {}
        self._forget_at = 0.0
        self._listeners: list[Callable[[Revocation], None]] = []

    def __bool__(self) -> bool:
        return bool(self._not_before)

    def on_revoked(self, listener: Callable[[Revocation], None]) -> None:
        """Call `listener` with everything that is news."""
        self._listeners.append(listener)

    def add(self, revoked: Iterable[Revocation]) -> None:
        """Learn; what is known already changes nothing."""
        for revocation in revoked:
            if revocation.not_before > self._not_before.get(revocation.subject, 0.0):
                self._not_before[revocation.subject] = revocation.not_before
                for listener in self._listeners:
                    listener(revocation)
        if self._now() >= self._forget_at:
            self._forget_at = self._now() + KEPT_SECONDS / 10
            oldest = self._now() - KEPT_SECONDS
            self._not_before = {subject: at for subject, at in self._not_before.items() if at > oldest}

    def cover(self, subjects: Iterable[str], issued_at: float) -> bool:
        """True when a token of these subjects, issued then, was revoked."""
        return any(issued_at <= self._not_before.get(subject, 0.0) for subject in subjects if subject)


Fetch = Callable[[float], Awaitable[tuple[list[Revocation], float]]]


def encode(revoked: Iterable[Revocation], **more: float) -> bytes:
    """The revocations as JSON."""
    return json.dumps({"revoked": [[one.subject, one.not_before] for one in revoked], **more}).encode()


def decode(document: object) -> list[Revocation]:
    """The revocations of a decoded JSON document. Raises ValueError for anything else."""
    entries = document.get("revoked") if isinstance(document, Mapping) else None
    if not isinstance(entries, list):
        raise ValueError("no list of revocations")  # noqa: TRY004 - the document is wrong, not the argument
    found = []
    for entry in entries:
        match entry:
            case [str(subject), int() | float() as not_before] if abs(not_before) <= MOST_SECONDS:
                found.append(Revocation(subject, float(not_before)))
            case _:
                raise ValueError("not a revocation")
    return found


def read(message: bytes) -> list[Revocation]:
    """The revocations of a message, which is JSON. Raises ValueError for anything else."""
    try:
        return decode(json.loads(message))
    except RecursionError:
        raise ValueError("nested too deep") from None


def fetcher(at: Path | str) -> Fetch:
    """Asks auth, at a socket or an address, what was revoked since a moment, and what time it is there."""

    async def fetch(since: float) -> tuple[list[Revocation], float]:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
        connector, issuer = way_to(at)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"{issuer}{PATH}", params={"since": f"{since:.3f}"}, raise_for_status=True) as response,
        ):
            document = await response.json()
        return decode(document), float(document["now"])

    return fetch


class RevocationFeed:
    """Keeps a `Revocations` up to date. Use it as a context manager."""

    def __init__(self, revocations: Revocations, fetch: Fetch, store: redis.asyncio.Redis) -> None:
        self._revocations = revocations
        self._fetch = fetch
        self._redis = store
        self._since = 0.0
        self._answers = True
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "RevocationFeed":
        self._tasks = [
            asyncio.create_task(self._poll(), name="revocations-poll"),
            asyncio.create_task(self._listen(), name="revocations-listen"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            await background.end(task)

    async def poll_once(self) -> None:
        """Ask once; a failure is told in the log when it is the first in a row."""
        try:
            revoked, now = await self._fetch(self._since)
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError, KeyError) as error:
            if self._answers:
                logger.warning("revocations cannot be fetched", extra={"error": repr(error)})
            self._answers = False
            return
        self._answers = True
        self._revocations.add(revoked)
        self._since = now - OVERLAP_SECONDS

    async def _poll(self) -> None:
        while True:
            await self.poll_once()
            await asyncio.sleep(POLL_SECONDS)

    async def _listen(self) -> None:
        while True:
            # Valkey that is down is told by its readiness check; the poll goes on.
            with suppress(redis.exceptions.RedisError, OSError):
                async with aclosing(self._messages()) as messages:
                    async for message in messages:
                        self._learn(message)
            await asyncio.sleep(RETRY_SECONDS)

    async def _messages(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._redis.pubsub()) as subscription:
            await subscription.subscribe(CHANNEL)
            quiet = 0
            while quiet < 2:
                message = await subscription.get_message(timeout=QUIET_SECONDS)
                if message is None:
                    quiet += 1
                    await subscription.ping()
                    continue
                quiet = 0
                if message["type"] == "message":
                    yield message["data"]

    def _learn(self, message: bytes) -> None:
        try:
            self._revocations.add(read(message))
        except ValueError:
            logger.warning("a revocation makes no sense", exc_info=True)

"""API keys become tokens: asked of auth, remembered for seconds, each key by one call at a time.

A key that was revoked is refused at the latest when what is remembered of it is checked again. While auth does not
answer nobody can revoke a key either, so a key that was good stays good until its token ends.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.common.api_keys import hash_key, is_well_formed
from services.common.errors import Unavailable
from services.gateway.errors import ApiKeyInvalid, TooManyWrongKeys
from services.gateway.ports import Access, Exchange

# A token is not handed on so close to its end that the call would outlive it.
SPARE_SECONDS = 30.0
WINDOW_SECONDS = 60.0

T = TypeVar("T")
Name = tuple[bytes, str]


class Recent(Generic[T]):
    """The things used most recently, up to a number."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._things: OrderedDict[Name | str, T] = OrderedDict()

    def get(self, name: Name | str) -> T | None:
        """The thing, which counts as used now."""
        if name in self._things:
            self._things.move_to_end(name)
        return self._things.get(name)

    def put(self, name: Name | str, thing: T) -> None:
        """Remember it, and forget the one unused longest if there are too many."""
        self._things[name] = thing
        self._things.move_to_end(name)
        if len(self._things) > self._maximum:
            self._things.popitem(last=False)

    def forget(self, name: Name | str) -> None:
        """It is not known any more."""
        self._things.pop(name, None)


@dataclass(slots=True)
class Known:
    """A key that was good; times of a clock that only goes forward, in seconds."""

    access: Access
    checked_at: float
    ends_at: float


@dataclass(slots=True)
class Wrong:
    """How many wrong keys an address tried since when."""

    count: int
    since: float


class KeyTokens:
    """Tokens for keys."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        recheck_seconds: float,
        remembered: int,
        wrong_per_minute: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exchange = exchange
        self._recheck_seconds = recheck_seconds
        self._wrong_per_minute = wrong_per_minute
        self._monotonic = monotonic
        self._known: Recent[Known] = Recent(remembered)
        # Apart from the good ones, which a flood of made-up keys must not push out.
        self._refused: Recent[float] = Recent(remembered)
        self._wrong: Recent[Wrong] = Recent(remembered)
        self._asking: dict[Name, asyncio.Task[Access]] = {}
        self.remembered_uses = 0
        self.exchanges = 0

    async def access(self, key: str, source: str) -> Access:
        """What the key is good for, used from this address. Raises ApiKeyInvalid, TooManyWrongKeys or Unavailable."""
        if not is_well_formed(key):
            raise ApiKeyInvalid
        # Keys may be bound to addresses, so each address has an answer of its own.
        name = hash_key(key), source
        now = self._monotonic()
        known = self._known.get(name)
        if known is not None and now - known.checked_at < self._recheck_seconds:
            self.remembered_uses += 1
            return known.access
        refused_at = self._refused.get(name)
        if refused_at is not None and now - refused_at < self._recheck_seconds:
            raise ApiKeyInvalid
        self._check_address(source, now)
        try:
            return await self._ask(name)
        except Unavailable:
            if known is None or self._monotonic() > known.ends_at - SPARE_SECONDS:
                raise
            return known.access

    async def _ask(self, name: Name) -> Access:
        task = self._asking.get(name)
        if task is None:
            # A task of its own: whoever came first may go away while others wait.
            task = asyncio.create_task(self._exchanged(name))
            self._asking[name] = task
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(task)

    async def _exchanged(self, name: Name) -> Access:
        self.exchanges += 1
        asked_at = self._monotonic()
        try:
            access = await self._exchange.exchange(*name)
        except ApiKeyInvalid:
            self._known.forget(name)
            self._refused.put(name, asked_at)
            self._count_wrong(name[1], asked_at)
            raise
        self._refused.forget(name)
        self._known.put(name, Known(access, asked_at, asked_at + access.lifetime_seconds))
        return access

    def _check_address(self, source: str, now: float) -> None:
        wrong = self._wrong.get(source)
        if wrong is None or now - wrong.since >= WINDOW_SECONDS:
            return
        if wrong.count >= self._wrong_per_minute:
            raise TooManyWrongKeys(retry_after_seconds=wrong.since + WINDOW_SECONDS - now)

    def _count_wrong(self, source: str, now: float) -> None:
        wrong = self._wrong.get(source)
        if wrong is None or now - wrong.since >= WINDOW_SECONDS:
            self._wrong.put(source, Wrong(1, now))
        else:
            wrong.count += 1

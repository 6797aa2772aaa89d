"""The ports of the sessions service in memory, for tests of what stands above them."""

import asyncio
import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Self

from services.common.context import IdempotencyKey
from services.common.errors import RequestIdReused
from services.sessions.domain import (
    ACTION_PROPOSED,
    PROPOSAL_RESOLVED,
    Closed,
    Conversation,
    Entry,
    Message,
    State,
    StoredEvent,
)
from services.sessions.ports import Announcer, Appended, ConversationCursor, Notice


class Announced:
    """Remembers what was announced."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def announce(self, notice: Notice) -> None:
        self.notices.append(notice)


class MemoryStore:
    """What is kept, and the locks on it."""

    def __init__(self, announcer: Announcer, encode: Callable[[Entry], bytes]) -> None:
        self.announcer = announcer
        self.encode = encode
        self.conversations: dict[str, Conversation] = {}
        self.messages: dict[str, Message] = {}
        self.events: defaultdict[str, list[tuple[str, StoredEvent]]] = defaultdict(list)
        self.tokens: dict[tuple[str, str], int] = {}
        self.requests: dict[tuple[str, str, str], tuple[bytes, str]] = {}
        self.outbox: list[tuple[str, str]] = []
        self.locks: defaultdict[object, asyncio.Lock] = defaultdict(asyncio.Lock)

    def of(self, organization_id: str) -> "MemoryUnitOfWork":
        return MemoryUnitOfWork(self, organization_id)

    def of_system(self) -> "MemoryUnitOfWork":
        return MemoryUnitOfWork(self, "")

    async def missing(self, positions: Mapping[str, int], limit: int) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        for conversation_id in sorted(positions):
            log = [event for _, event in self.events[conversation_id] if event.offset > positions[conversation_id]]
            found.extend(log[:limit])
        return found


class MemoryUnitOfWork:
    """Stages writes until commit and holds locks until the end; is each of its repositories itself."""

    def __init__(self, store: MemoryStore, organization_id: str) -> None:
        self._store = store
        self._organization_id = organization_id
        self._staged: list[Callable[[], None]] = []
        self._added: list[Appended] = []
        self._held = AsyncExitStack()
        self.conversations = _Conversations(self, store, organization_id)
        self.messages = _Messages(self, store, organization_id)
        self.events = _Events(store, organization_id)
        self.idempotency = _Idempotency(self, store, organization_id)
        self.outbox = _Outbox(self, store)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._held.aclose()

    async def commit(self) -> None:
        for write in self._staged:
            write()
        self._staged.clear()
        for notice in self._added:
            self._store.announcer.announce(notice)
        self._added.clear()

    def stage(self, write: Callable[[], None]) -> None:
        self._staged.append(write)

    def record(self, events: Sequence[StoredEvent]) -> None:
        self._added.append(Appended(tuple(events)))

    async def hold(self, what: object) -> None:
        await self._held.enter_async_context(self._store.locks[what])


class _Conversations:
    def __init__(self, work: MemoryUnitOfWork, store: MemoryStore, organization_id: str) -> None:
        self._work = work
        self._store = store
        self._organization_id = organization_id

    async def add(self, conversation: Conversation) -> None:
        await self.save(conversation)

    async def find(self, conversation_id: str) -> Conversation | None:
        found = self._store.conversations.get(conversation_id)
        if found is None or found.organization_id != self._organization_id:
            return None
        return copy.deepcopy(found)

    async def lock(self, conversation_id: str) -> Conversation | None:
        await self._work.hold(conversation_id)
        return await self.find(conversation_id)

    async def lock_idle(self, at: datetime, limit: int) -> list[Conversation]:
        due = [one for one in self._store.conversations.values() if one.is_open and one.expires_at <= at]
        free = [one for one in sorted(due, key=lambda one: one.expires_at) if not self._store.locks[one.id].locked()]
        for one in free[:limit]:
            await self._work.hold(one.id)
        return copy.deepcopy(free[:limit])

    async def save(self, conversation: Conversation) -> None:
        entries, conversation.entries = conversation.entries, []
        kept = copy.deepcopy(conversation)
        stored = [
            (
                entry.event.kind,
                StoredEvent(
                    conversation.id,
                    entry.offset,
                    self._store.encode(entry),
                    closes=entry.event.kind == Closed.kind,
                ),
            )
            for entry in entries
        ]

        def write() -> None:
            self._store.conversations[kept.id] = kept
            self._store.events[kept.id].extend(stored)

        self._work.stage(write)
        if stored:
            self._work.record([event for _, event in stored])

    async def page(
        self, *, customer_id: str | None, state: State | None, after: ConversationCursor | None, limit: int
    ) -> list[Conversation]:
        found = [
            one
            for one in self._store.conversations.values()
            if one.organization_id == self._organization_id
            and customer_id in (None, one.customer_id)
            and state in (None, one.state)
            and (after is None or (one.last_activity_at, one.id) < (after.last_activity_at, after.conversation_id))
        ]
        found.sort(key=lambda one: (one.last_activity_at, one.id), reverse=True)
        return copy.deepcopy(found[:limit])


class _Messages:
    def __init__(self, work: MemoryUnitOfWork, store: MemoryStore, organization_id: str) -> None:
        self._work = work
        self._store = store
        self._organization_id = organization_id

    async def add(self, message: Message) -> None:
        kept = copy.deepcopy(message)
        self._work.stage(lambda: self._store.messages.__setitem__(kept.id, kept))

    async def find(self, message_id: str) -> Message | None:
        found = self._store.messages.get(message_id)
        return copy.deepcopy(found) if found and self._is_ours(found.conversation_id) else None

    async def save_rating(self, message: Message) -> None:
        await self.add(message)

    async def page(self, conversation_id: str, *, after_offset: int, limit: int) -> list[Message]:
        return [one for one in self._all(conversation_id) if one.offset > after_offset][:limit]

    async def newest(self, conversation_id: str, *, before_offset: int | None, limit: int) -> list[Message]:
        earlier = [one for one in self._all(conversation_id) if before_offset is None or one.offset < before_offset]
        return earlier[::-1][:limit]

    async def token_counts(self, message_ids: Sequence[str], model: str) -> dict[str, int]:
        known = self._store.tokens
        return {one: known[one, model] for one in message_ids if (one, model) in known}

    async def keep_token_counts(self, counts: Mapping[str, int], model: str) -> None:
        def write() -> None:
            for message_id, tokens in counts.items():
                self._store.tokens.setdefault((message_id, model), tokens)

        self._work.stage(write)

    def _all(self, conversation_id: str) -> list[Message]:
        if not self._is_ours(conversation_id):
            return []
        found = [one for one in self._store.messages.values() if one.conversation_id == conversation_id]
        return copy.deepcopy(sorted(found, key=lambda one: one.offset))

    def _is_ours(self, conversation_id: str) -> bool:
        return self._store.conversations[conversation_id].organization_id == self._organization_id


class _Events:
    def __init__(self, store: MemoryStore, organization_id: str) -> None:
        self._store = store
        self._organization_id = organization_id

    async def after(self, conversation_id: str, offset: int, limit: int) -> list[StoredEvent]:
        return [event for _, event in self._log(conversation_id) if event.offset > offset][:limit]

    async def open_proposal(self, conversation_id: str) -> int | None:
        marks = [one for one in self._log(conversation_id) if one[0] in (ACTION_PROPOSED, PROPOSAL_RESOLVED)]
        return marks[-1][1].offset if marks and marks[-1][0] == ACTION_PROPOSED else None

    def _log(self, conversation_id: str) -> list[tuple[str, StoredEvent]]:
        owner = self._store.conversations.get(conversation_id)
        if owner is None or owner.organization_id != self._organization_id:
            return []
        return self._store.events[conversation_id]


class _Idempotency:
    def __init__(self, work: MemoryUnitOfWork, store: MemoryStore, organization_id: str) -> None:
        self._work = work
        self._store = store
        self._organization_id = organization_id

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        identity = (self._organization_id, key.method, key.request_id)
        await self._work.hold(identity)
        known = self._store.requests.get(identity)
        if known is None:
            self._work.stage(lambda: self._store.requests.__setitem__(identity, (key.fingerprint, resource_id)))
            return None
        if known[0] != key.fingerprint:
            raise RequestIdReused
        return known[1]


class _Outbox:
    def __init__(self, work: MemoryUnitOfWork, store: MemoryStore) -> None:
        self._work = work
        self._store = store

    async def conversation_closed(self, conversation: Conversation) -> None:
        self._work.stage(lambda: self._store.outbox.append(("conversation.closed", conversation.id)))

    async def message_rated(self, conversation: Conversation, message: Message) -> None:
        self._work.stage(lambda: self._store.outbox.append(("message.rated", message.id)))

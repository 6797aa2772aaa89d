"""Conversations, messages and their logs in Postgres, for one organization."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.sessions import tables
from services.sessions.domain import (
    ACTION_PROPOSED,
    PROPOSAL_RESOLVED,
    Author,
    Citation,
    Closed,
    Conversation,
    Entry,
    Message,
    Rating,
    Responder,
    State,
    StoredEvent,
)
from services.sessions.ports import ConversationCursor

# The wire form of an entry.
Encode = Callable[[Entry], bytes]
# Takes the entries of one conversation that the transaction adds.
Record = Callable[[Sequence[StoredEvent]], None]

_conversations = tables.conversations
_messages = tables.messages
_events = tables.events
_tokens = tables.message_tokens


class SqlConversations:
    """The conversations of one organization, or of all when `organization_id` is empty in a system transaction."""

    def __init__(self, session: AsyncSession, organization_id: str, encode: Encode, record: Record) -> None:
        self._session = session
        self._organization_id = organization_id
        self._encode = encode
        self._record = record

    async def add(self, conversation: Conversation) -> None:
        """Keep a new conversation and its entries."""
        await self._session.execute(insert(_conversations).values(_conversation_row(conversation)))
        await self._add_entries(conversation)

    async def find(self, conversation_id: str) -> Conversation | None:
        """Read without locking."""
        return await self._one(self._select(conversation_id))

    async def lock(self, conversation_id: str) -> Conversation | None:
        """Read and hold against every other writer until the transaction ends."""
        return await self._one(self._select(conversation_id).with_for_update())

    async def lock_idle(self, at: datetime, limit: int) -> list[Conversation]:
        """Lock open conversations whose time is up, passing over those another process holds."""
        statement = (
            select(_conversations)
            .where(_conversations.c.state == State.OPEN, _conversations.c.expires_at <= at)
            .order_by(_conversations.c.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [_conversation(row) for row in await self._session.execute(statement)]

    async def save(self, conversation: Conversation) -> None:
        """Write a locked conversation and the entries that happened since."""
        values = _conversation_row(conversation)
        await self._session.execute(
            update(_conversations).where(_conversations.c.id == values.pop("id")).values(values)
        )
        await self._add_entries(conversation)

    async def page(
        self, *, customer_id: str | None, state: State | None, after: ConversationCursor | None, limit: int
    ) -> list[Conversation]:
        """At most `limit` conversations, last active first."""
        columns = _conversations.c
        statement = select(_conversations).where(columns.organization_id == self._organization_id)
        if customer_id is not None:
            statement = statement.where(columns.customer_id == customer_id)
        if state is not None:
            statement = statement.where(columns.state == state)
        if after is not None:
            order = tuple_(columns.last_activity_at, columns.id)
            statement = statement.where(order < tuple_(after.last_activity_at, after.conversation_id))
        statement = statement.order_by(columns.last_activity_at.desc(), columns.id.desc()).limit(limit)
        return [_conversation(row) for row in await self._session.execute(statement)]

    def _select(self, conversation_id: str) -> Select[Any]:
        columns = _conversations.c
        return select(_conversations).where(
            columns.id == conversation_id, columns.organization_id == self._organization_id
        )

    async def _one(self, statement: Select[Any]) -> Conversation | None:
        row = (await self._session.execute(statement)).one_or_none()
        return None if row is None else _conversation(row)

    async def _add_entries(self, conversation: Conversation) -> None:
        if not conversation.entries:
            return
        stored = [
            StoredEvent(conversation.id, entry.offset, self._encode(entry), closes=entry.event.kind == Closed.kind)
            for entry in conversation.entries
        ]
        await self._session.execute(
            insert(_events),
            [
                {
                    "conversation_id": conversation.id,
                    "event_offset": entry.offset,
                    "organization_id": conversation.organization_id,
                    "kind": entry.event.kind,
                    "turn_id": entry.turn_id,
                    "occurred_at": entry.occurred_at,
                    "payload": event.payload,
                }
                for entry, event in zip(conversation.entries, stored, strict=True)
            ],
        )
        conversation.entries.clear()
        self._record(stored)


class SqlMessages:
    """The messages of one organization."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, message: Message) -> None:
        """Keep a new message."""
        values = {
            "id": message.id,
            "organization_id": self._organization_id,
            "conversation_id": message.conversation_id,
            "event_offset": message.offset,
            "author": message.author,
            "user_id": message.user_id,
            "text": message.text,
            "citations": [asdict(citation) for citation in message.citations],
            "turn_id": message.turn_id,
            "rating": message.rating,
            "created_at": message.created_at,
        }
        await self._session.execute(insert(_messages).values(values))

    async def find(self, message_id: str) -> Message | None:
        """Read one."""
        row = (await self._session.execute(self._select().where(_messages.c.id == message_id))).one_or_none()
        return None if row is None else _message(row)

    async def save_rating(self, message: Message) -> None:
        """Write the rating of a message."""
        statement = update(_messages).where(
            _messages.c.id == message.id, _messages.c.organization_id == self._organization_id
        )
        await self._session.execute(statement.values(rating=message.rating))

    async def page(self, conversation_id: str, *, after_offset: int, limit: int) -> list[Message]:
        """At most `limit` messages added after an offset, oldest first."""
        statement = (
            self._select()
            .where(_messages.c.conversation_id == conversation_id, _messages.c.event_offset > after_offset)
            .order_by(_messages.c.event_offset)
            .limit(limit)
        )
        return [_message(row) for row in await self._session.execute(statement)]

    async def newest(self, conversation_id: str, *, before_offset: int | None, limit: int) -> list[Message]:
        """At most `limit` messages added before an offset, newest first."""
        statement = self._select().where(_messages.c.conversation_id == conversation_id)
        if before_offset is not None:
            statement = statement.where(_messages.c.event_offset < before_offset)
        statement = statement.order_by(_messages.c.event_offset.desc()).limit(limit)
        return [_message(row) for row in await self._session.execute(statement)]

    async def token_counts(self, message_ids: Sequence[str], model: str) -> dict[str, int]:
        """The counts that are known, by message."""
        statement = select(_tokens.c.message_id, _tokens.c.tokens).where(
            _tokens.c.message_id.in_(message_ids),
            _tokens.c.model == model,
            _tokens.c.organization_id == self._organization_id,
        )
        return {row.message_id: row.tokens for row in await self._session.execute(statement)}

    async def keep_token_counts(self, counts: Mapping[str, int], model: str) -> None:
        """Keep counts, by message; those kept already stay."""
        if counts:
            rows = [
                {"message_id": key, "model": model, "organization_id": self._organization_id, "tokens": tokens}
                for key, tokens in counts.items()
            ]
            await self._session.execute(upsert(_tokens).values(rows).on_conflict_do_nothing())

    def _select(self) -> Select[Any]:
        return select(_messages).where(_messages.c.organization_id == self._organization_id)


class SqlEvents:
    """The logs of one organization's conversations."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def after(self, conversation_id: str, offset: int, limit: int) -> list[StoredEvent]:
        """At most `limit` entries that follow an offset, in order and without gaps."""
        columns = _events.c
        statement = (
            select(columns.conversation_id, columns.event_offset, columns.payload, columns.kind)
            .where(
                columns.organization_id == self._organization_id,
                columns.conversation_id == conversation_id,
                columns.event_offset > offset,
            )
            .order_by(columns.event_offset)
            .limit(limit)
        )
        return [stored_event(row) for row in await self._session.execute(statement)]

    async def open_proposal(self, conversation_id: str) -> int | None:
        """Offset of the newest proposed action, if nothing settled it since."""
        columns = _events.c
        statement = (
            select(columns.event_offset, columns.kind)
            .where(
                columns.organization_id == self._organization_id,
                columns.conversation_id == conversation_id,
                columns.kind.in_((ACTION_PROPOSED, PROPOSAL_RESOLVED)),
            )
            .order_by(columns.event_offset.desc())
            .limit(1)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return row.event_offset if row is not None and row.kind == ACTION_PROPOSED else None


def stored_event(row: Any) -> StoredEvent:
    """An entry from the columns conversation_id, event_offset, payload and kind."""
    return StoredEvent(row.conversation_id, row.event_offset, row.payload, closes=row.kind == Closed.kind)


def _conversation_row(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "organization_id": conversation.organization_id,
        "customer_id": conversation.customer_id,
        "title": conversation.title,
        "state": conversation.state,
        "responder": conversation.responder,
        "ticket_ids": list(conversation.ticket_ids),
        "idle_timeout_seconds": round(conversation.idle_timeout.total_seconds()),
        "last_offset": conversation.last_offset,
        "created_at": conversation.created_at,
        "last_activity_at": conversation.last_activity_at,
        "expires_at": conversation.expires_at,
        "closed_at": conversation.closed_at,
    }


def _conversation(row: Row[Any]) -> Conversation:
    return Conversation(
        id=row.id,
        organization_id=row.organization_id,
        customer_id=row.customer_id,
        title=row.title,
        state=State(row.state),
        responder=Responder(row.responder),
        ticket_ids=tuple(row.ticket_ids),
        idle_timeout=timedelta(seconds=row.idle_timeout_seconds),
        last_offset=row.last_offset,
        created_at=row.created_at,
        last_activity_at=row.last_activity_at,
        expires_at=row.expires_at,
        closed_at=row.closed_at,
    )


def _message(row: Row[Any]) -> Message:
    return Message(
        id=row.id,
        conversation_id=row.conversation_id,
        author=Author(row.author),
        user_id=row.user_id,
        text=row.text,
        citations=tuple(Citation(**citation) for citation in row.citations),
        turn_id=row.turn_id,
        rating=Rating(row.rating) if row.rating else None,
        created_at=row.created_at,
        offset=row.event_offset,
    )

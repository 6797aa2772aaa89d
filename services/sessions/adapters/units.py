"""Units of work on Postgres, and the log as the process's one reader sees it."""

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.types import BigInteger, String

from services.common.db import IdempotencyRecords, SqlUnitOfWork
from services.common.outbox import Outbox
from services.sessions import tables
from services.sessions.adapters.repositories import Encode, SqlConversations, SqlEvents, SqlMessages, stored_event
from services.sessions.domain import Conversation, Message, StoredEvent
from services.sessions.ports import Announcer, Appended

CONVERSATION_CLOSED = "conversation.closed"
MESSAGE_RATED = "message.rated"

# Wire forms of the outbox's events.
EncodeConversation = Callable[[Conversation], bytes]
EncodeMessage = Callable[[Message], bytes]


class SqlOutbox:
    """Tells other services of changes, in the transaction of the change."""

    def __init__(
        self, session: AsyncSession, encode_conversation: EncodeConversation, encode_message: EncodeMessage
    ) -> None:
        self._session = session
        self._encode_conversation = encode_conversation
        self._encode_message = encode_message

    async def conversation_closed(self, conversation: Conversation) -> None:
        """Tell that a conversation closed."""
        await self._add(conversation, CONVERSATION_CLOSED, self._encode_conversation(conversation))

    async def message_rated(self, conversation: Conversation, message: Message) -> None:
        """Tell that an answer was rated."""
        await self._add(conversation, MESSAGE_RATED, self._encode_message(message))

    async def _add(self, conversation: Conversation, topic: str, payload: bytes) -> None:
        outbox = Outbox(self._session, conversation.organization_id, tables.outbox)
        await outbox.add(topic, conversation.id, payload)


class SqlSessionsUnitOfWork(SqlUnitOfWork):
    """One transaction; its commit announces the entries that it added."""

    def __init__(self, units: "SqlUnitsOfWork", organization_id: str, *, system: bool) -> None:
        super().__init__(units.sessionmaker, organization_id, system=system)
        self._units = units
        self._added: list[tuple[StoredEvent, ...]] = []

    def bind(self, session: AsyncSession) -> None:
        """Build the repositories."""
        units = self._units
        self.conversations = SqlConversations(session, self.organization_id, units.encode, self._record)
        self.messages = SqlMessages(session, self.organization_id)
        self.events = SqlEvents(session, self.organization_id)
        self.idempotency = IdempotencyRecords(session, self.organization_id, tables.idempotency_records)
        self.outbox = SqlOutbox(session, units.encode_conversation, units.encode_message)

    async def commit(self) -> None:
        """Make it last, then announce."""
        await super().commit()
        added, self._added = self._added, []
        for events in added:
            self._units.announcer.announce(Appended(events))

    def _record(self, events: Sequence[StoredEvent]) -> None:
        self._added.append(tuple(events))


class SqlUnitsOfWork:
    """Begins units of work on Postgres."""

    def __init__(
        self,
        sessionmaker: async_sessionmaker[AsyncSession],
        announcer: Announcer,
        *,
        encode: Encode,
        encode_conversation: EncodeConversation,
        encode_message: EncodeMessage,
    ) -> None:
        self.sessionmaker = sessionmaker
        self.announcer = announcer
        self.encode = encode
        self.encode_conversation = encode_conversation
        self.encode_message = encode_message

    def of(self, organization_id: str) -> SqlSessionsUnitOfWork:
        """One that sees one organization."""
        return SqlSessionsUnitOfWork(self, organization_id, system=False)

    def of_system(self) -> SqlSessionsUnitOfWork:
        """One that sees all organizations."""
        return SqlSessionsUnitOfWork(self, "", system=True)


# One descent of the primary key a conversation, however many are watched.
_MISSING = text(
    """
    select e.conversation_id, e.event_offset, e.payload, e.kind
    from unnest(:ids, :positions) as watched (id, position)
    cross join lateral (
        select * from events
        where conversation_id = watched.id and event_offset > watched.position
        order by event_offset limit :most
    ) e
    order by e.conversation_id, e.event_offset
    """
).bindparams(bindparam("ids", type_=ARRAY(String)), bindparam("positions", type_=ARRAY(BigInteger)))


class SqlEventLog:
    """The logs of all organizations; what a stream may see was decided when it began."""

    def __init__(self, sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        self._sessionmaker = sessionmaker

    async def missing(self, positions: Mapping[str, int], limit: int) -> list[StoredEvent]:
        """At most `limit` entries of each conversation that follow its position, in order."""
        values = {"ids": list(positions), "positions": list(positions.values()), "most": limit}
        async with SqlUnitOfWork(self._sessionmaker, system=True) as work:
            return [stored_event(row) for row in await work.session.execute(_MISSING, values)]

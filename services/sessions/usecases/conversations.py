"""Beginning, reading, closing and steering conversations."""

from dataclasses import dataclass
from datetime import timedelta

from services.common.clock import Clock
from services.common.context import Caller, IdempotencyKey
from services.common.errors import PermissionDenied
from services.common.ids import new_id
from services.sessions.domain import Conversation, Responder, State, TicketLinked
from services.sessions.ports import ConversationCursor, UnitsOfWork
from services.sessions.usecases import access


@dataclass(frozen=True, slots=True)
class Create:
    """Begin a conversation of the caller."""

    caller: Caller
    key: IdempotencyKey
    title: str
    idle_timeout: timedelta | None


@dataclass(frozen=True, slots=True)
class ByCaller:
    """What somebody asks of one conversation."""

    caller: Caller
    conversation_id: str


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page, last active first."""

    caller: Caller
    state: State | None
    after: ConversationCursor | None
    size: int


@dataclass(frozen=True, slots=True)
class SetResponder:
    """Who answers from now on."""

    caller: Caller
    conversation_id: str
    responder: Responder


@dataclass(frozen=True, slots=True)
class LinkTicket:
    """A ticket to link."""

    caller: Caller
    conversation_id: str
    ticket: TicketLinked


class ConversationUseCases:
    """What can be done with conversations as a whole."""

    def __init__(self, units: UnitsOfWork, clock: Clock) -> None:
        self._units = units
        self._clock = clock

    async def create(self, command: Create) -> Conversation:
        """Begin a conversation, once for a request_id. Raises RequestIdReused."""
        caller = command.caller
        conversation = Conversation.begin(
            conversation_id=new_id("cnv"),
            organization_id=caller.organization_id,
            customer_id=caller.user_id,
            title=command.title.strip(),
            idle_timeout=command.idle_timeout,
            at=self._clock(),
        )
        async with self._units.of(caller.organization_id) as work:
            existing = await work.idempotency.claim(command.key, conversation.id)
            if existing is not None:
                return await access.find(work, caller, existing, access.WRITE)
            await work.conversations.add(conversation)
            await work.commit()
        return conversation

    async def get(self, query: ByCaller) -> Conversation:
        """Read one. Raises ConversationNotFound."""
        async with self._units.of(query.caller.organization_id) as work:
            return await access.find(work, query.caller, query.conversation_id, access.READ)

    async def page(self, query: ListPage) -> tuple[list[Conversation], ConversationCursor | None]:
        """One page, and where the next one begins if there is one. A customer sees their own."""
        caller = query.caller
        customer_id = None if caller.may(access.READ) else caller.user_id
        async with self._units.of(caller.organization_id) as work:
            found = await work.conversations.page(
                customer_id=customer_id, state=query.state, after=query.after, limit=query.size + 1
            )
        page = found[: query.size]
        if len(found) <= query.size:
            return page, None
        return page, ConversationCursor(page[-1].last_activity_at, page[-1].id)

    async def close(self, command: ByCaller) -> Conversation:
        """Close; closing again changes nothing. Raises ConversationNotFound."""
        async with self._units.of(command.caller.organization_id) as work:
            conversation = await access.lock(work, command.caller, command.conversation_id, access.WRITE)
            if conversation.close(at=self._clock()):
                await work.conversations.save(conversation)
                await work.outbox.conversation_closed(conversation)
                await work.commit()
        return conversation

    async def set_responder(self, command: SetResponder) -> Conversation:
        """Set who answers. A customer gets a person through a turn only. Raises ConversationClosed."""
        caller = command.caller
        async with self._units.of(caller.organization_id) as work:
            conversation = await access.lock(work, caller, command.conversation_id, access.ASSIGN)
            if not caller.may(access.ASSIGN) and caller.workload != access.ORCHESTRATOR:
                raise PermissionDenied
            conversation.answer_by(command.responder, at=self._clock())
            if conversation.entries:
                await work.conversations.save(conversation)
                await work.commit()
        return conversation

    async def link_ticket(self, command: LinkTicket) -> None:
        """Link a ticket; linking it again changes nothing. Raises ConversationNotFound."""
        async with self._units.of(command.caller.organization_id) as work:
            conversation = await access.lock(work, command.caller, command.conversation_id, access.WRITE)
            conversation.link_ticket(command.ticket, at=self._clock())
            if conversation.entries:
                await work.conversations.save(conversation)
                await work.commit()


class Expiry:
    """Closes conversations that were idle for too long; any number of processes may do it at once."""

    def __init__(self, units: UnitsOfWork, clock: Clock, *, batch: int) -> None:
        self._units = units
        self._clock = clock
        self._batch = batch

    async def expire(self) -> int:
        """Close a batch; returns how many."""
        now = self._clock()
        async with self._units.of_system() as work:
            idle = await work.conversations.lock_idle(now, self._batch)
            for conversation in idle:
                conversation.close(at=now, expired=True)
                await work.conversations.save(conversation)
                await work.outbox.conversation_closed(conversation)
            if idle:
                await work.commit()
        return len(idle)

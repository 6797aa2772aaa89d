"""Adding, listing and rating messages, and telling what happens in a turn."""

from dataclasses import dataclass

from services.common.clock import Clock
from services.common.context import Caller, IdempotencyKey
from services.common.errors import InvalidInput, PermissionDenied
from services.common.ids import new_id
from services.sessions.domain import Author, Citation, Conversation, Message, Rating, TurnEvent
from services.sessions.errors import AuthorNotAllowed, MessageNotFound, NotTheCustomer
from services.sessions.ports import Announcer, Typing, UnitOfWork, UnitsOfWork
from services.sessions.usecases import access


@dataclass(frozen=True, slots=True)
class Append:
    """A message to add."""

    caller: Caller
    key: IdempotencyKey
    conversation_id: str
    text: str
    author: Author
    citations: tuple[Citation, ...]
    turn_id: str


@dataclass(frozen=True, slots=True)
class AppendTurnEvents:
    """Events to add, each with the identifier of its turn."""

    caller: Caller
    key: IdempotencyKey
    conversation_id: str
    events: list[tuple[str, TurnEvent]]


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a conversation's messages, those after an offset."""

    caller: Caller
    conversation_id: str
    after_offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """Messages, oldest first. On the last page `watch_from` is set, on the others `next_offset`."""

    messages: list[Message]
    next_offset: int | None
    watch_from: int | None


@dataclass(frozen=True, slots=True)
class Rate:
    """What the customer thinks of an answer; None takes it back."""

    caller: Caller
    message_id: str
    rating: Rating | None


@dataclass(frozen=True, slots=True)
class SetTyping:
    """Whether somebody types; `author` counts only when the orchestrator says it."""

    caller: Caller
    conversation_id: str
    typing: bool
    author: Author | None


class MessageUseCases:
    """What can be done inside a conversation."""

    def __init__(self, units: UnitsOfWork, announcer: Announcer, clock: Clock) -> None:
        self._units = units
        self._announcer = announcer
        self._clock = clock

    async def append(self, command: Append) -> Message:
        """Add a message, once for a request_id. Raises ConversationClosed, AuthorNotAllowed, RequestIdReused."""
        caller = command.caller
        _check_author(command)
        async with self._units.of(caller.organization_id) as work:
            conversation = await access.lock(work, caller, command.conversation_id, access.WRITE)
            message_id = new_id("msg")
            existing = await work.idempotency.claim(command.key, message_id)
            if existing is not None:
                return await _message(work, existing)
            message = conversation.add_message(
                message_id=message_id,
                author=command.author,
                user_id=caller.user_id,
                text=command.text,
                citations=command.citations,
                turn_id=command.turn_id,
                at=self._clock(),
            )
            await work.conversations.save(conversation)
            await work.messages.add(message)
            await work.commit()
        return message

    async def append_turn_events(self, command: AppendTurnEvents) -> int:
        """Add events of a turn, all or none and once for a request_id; the offset of the last one.

        Raises ConversationClosed and RequestIdReused.
        """
        caller = command.caller
        async with self._units.of(caller.organization_id) as work:
            conversation = await access.lock(work, caller, command.conversation_id, access.WRITE)
            last_offset = conversation.last_offset + len(command.events)
            existing = await work.idempotency.claim(command.key, str(last_offset))
            if existing is not None:
                return int(existing)
            conversation.add_turn_events(command.events, at=self._clock())
            await work.conversations.save(conversation)
            await work.commit()
        return last_offset

    async def page(self, query: ListPage) -> Page:
        """One page, oldest first. Raises ConversationNotFound."""
        caller = query.caller
        async with self._units.of(caller.organization_id) as work:
            await access.find(work, caller, query.conversation_id, access.READ)
            found = await work.messages.page(
                query.conversation_id, after_offset=query.after_offset, limit=query.size + 1
            )
            # Asked for last, so that no proposal before the newest message above can be missed.
            proposal = await work.events.open_proposal(query.conversation_id)
        page = found[: query.size]
        if len(found) > query.size:
            return Page(page, page[-1].offset, None)
        watch_from = page[-1].offset if page else query.after_offset
        # Messages do not tell of an action that waits for the customer's word.
        return Page(page, None, watch_from if proposal is None else min(watch_from, proposal - 1))

    async def rate(self, command: Rate) -> Message:
        """Rate an answer. Raises MessageNotFound, NotTheCustomer, NotAnAnswer."""
        caller = command.caller
        async with self._units.of(caller.organization_id) as work:
            message = await _message(work, command.message_id)
            conversation = await work.conversations.lock(message.conversation_id)
            if conversation is None or not access.may(caller, conversation, access.WRITE):
                raise MessageNotFound(resource_name=command.message_id)
            if conversation.customer_id != caller.user_id:
                raise NotTheCustomer
            # Read again under the lock: two ratings at once must both be told, in their order.
            message = await _message(work, command.message_id)
            if conversation.rate(message, command.rating, at=self._clock()):
                await work.messages.save_rating(message)
                await work.conversations.save(conversation)
                await work.outbox.message_rated(conversation, message)
                await work.commit()
        return message

    async def set_typing(self, command: SetTyping) -> None:
        """Tell whoever watches now. Raises ConversationClosed."""
        caller = command.caller
        async with self._units.of(caller.organization_id) as work:
            conversation = await access.find(work, caller, command.conversation_id, access.WRITE)
        conversation.must_be_open()
        author = _typing_author(command, conversation)
        user_id = "" if author is Author.ASSISTANT else caller.user_id
        self._announcer.announce(Typing(conversation.id, author, user_id, command.typing))


def _check_author(command: Append) -> None:
    caller, author = command.caller, command.author
    if author is Author.AGENT:
        if not caller.may(access.WRITE):
            raise PermissionDenied("Only agents write as agents.")
    elif caller.workload != access.ORCHESTRATOR:
        raise AuthorNotAllowed("people write as AUTHOR_AGENT; a customer's message goes through SendMessage")
    if command.citations and author is not Author.ASSISTANT:
        raise InvalidInput(violations=[("citations", "only the assistant cites")])
    if command.turn_id and author not in (Author.ASSISTANT, Author.CUSTOMER):
        raise InvalidInput(violations=[("turn_id", "only for the assistant and the message that begins a turn")])


def _typing_author(command: SetTyping, conversation: Conversation) -> Author:
    if command.author is not None and command.caller.workload == access.ORCHESTRATOR:
        return command.author
    return Author.CUSTOMER if conversation.customer_id == command.caller.user_id else Author.AGENT


async def _message(work: UnitOfWork, message_id: str) -> Message:
    message = await work.messages.find(message_id)
    if message is None:
        raise MessageNotFound(resource_name=message_id)
    return message

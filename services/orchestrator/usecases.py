"""What callers may ask of turns: send a message, follow its turn, cancel it, read it."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from opentelemetry import trace

from services.common.clock import Clock
from services.common.context import Caller, IdempotencyKey, trace_id
from services.common.errors import DomainError
from services.common.ids import ALPHABET, LENGTH
from services.orchestrator.domain import Message, Person, ProposalReply, Responder, Turn, TurnState, derived_id
from services.orchestrator.errors import (
    ModelOverloaded,
    NotTheCustomer,
    ProposalNotFound,
    TurnNotFound,
    by_reason,
)
from services.orchestrator.ports import (
    PassageCited,
    Sessions,
    TextWritten,
    TurnBegan,
    TurnBroken,
    TurnConcluded,
    TurnEvent,
    TurnQueue,
    Work,
    WorkFor,
)
from services.orchestrator.workers import Workers, tell_cancelled
from services.orchestrator.workflow.admission import Admission
from services.orchestrator.workflow.record import traceparent

CANCELLED_TOLD_SECONDS = 10.0
LOOK_SECONDS = 1.0
ENDED_LOOK_SECONDS = 0.01
OVERLOADED_RETRY_SECONDS = 3.0

HUMAN_ANSWERS = "-"


@dataclass(frozen=True, slots=True)
class SendMessage:
    """A customer's message to record and to answer."""

    caller: Caller
    idempotency: IdempotencyKey
    conversation_id: str
    text: str
    reply: ProposalReply | None


@dataclass(frozen=True, slots=True)
class Sent:
    """The message that was recorded; without a turn when a person answers the conversation."""

    message: Message
    turn: Turn | None


TurnFrame = TextWritten | PassageCited


class TurnService:
    """The use cases."""

    def __init__(
        self,
        work_for: WorkFor,
        queue: TurnQueue,
        sessions: Sessions,
        workers: Workers,
        clock: Clock,
        tracer: trace.Tracer,
        admission: Admission,
        maximum_waiting: int,
    ) -> None:
        self._work_for = work_for
        self._queue = queue
        self._sessions = sessions
        self._workers = workers
        self._clock = clock
        self._tracer = tracer
        self._admission = admission
        self._maximum_waiting = maximum_waiting
        self._telling: set[asyncio.Task[None]] = set()

    async def send(self, command: SendMessage) -> Sent:
        """Record the message and queue its turn, in one transaction; repeating the request answers the same.

        Raises ConversationNotFound, NotTheCustomer, ConversationClosed, TurnInProgress, ProposalNotFound,
        ModelOverloaded.
        """
        conversation = await self._sessions.conversation(command.conversation_id)
        if conversation.customer_id != command.caller.user_id:
            raise NotTheCustomer
        answers = conversation.responder is Responder.ASSISTANT
        # Before the transaction: one that waits for a second connection while it holds the first can wait forever.
        refusal = await self._refusal(command) if answers else None
        async with self._work_for(command.caller.organization_id) as work:
            turn = self._new_turn(command, conversation.ticket_id)
            known = await work.requests.claim(command.idempotency, turn.id if answers else HUMAN_ANSWERS)
            if known is not None:
                return await self._repeat(command, work, known)
            if not answers:
                message = await self._append(command, "")
                await work.commit()
                return Sent(message, None)
            if refusal is not None:
                raise refusal
            await _check_reply(command, work)
            await work.turns.add(turn)
            message = await self._append(command, turn.id)
            await work.turns.attach_message(turn.id, message)
            await work.commit()
        self._workers.wake()
        return Sent(message, replace(turn, message_id=message.id, message_offset=message.offset))

    async def _refusal(self, command: SendMessage) -> ModelOverloaded | None:
        if await self._queue.waiting() >= self._maximum_waiting:
            return ModelOverloaded(retry_after_seconds=OVERLOADED_RETRY_SECONDS)
        return await self._admission.refusal(command.text, command.reply)

    async def _repeat(self, command: SendMessage, work: Work, known: str) -> Sent:
        if known == HUMAN_ANSWERS:
            return Sent(await self._append(command, ""), None)
        return Sent(await self._append(command, known), await work.turns.get(known))

    async def _append(self, command: SendMessage, turn_id: str) -> Message:
        """Record the message in its conversation, once a request, also when an earlier try was rolled back after it."""
        request_id = derived_id(turn_id_of(command), "message" if turn_id else "note")
        return await self._sessions.append_customer_message(request_id, command.conversation_id, command.text, turn_id)

    def _new_turn(self, command: SendMessage, ticket_id: str) -> Turn:
        caller = command.caller
        return Turn(
            id=turn_id_of(command),
            conversation_id=command.conversation_id,
            customer=Person(caller.organization_id, caller.user_id, caller.roles, caller.key_id),
            text=command.text,
            state=TurnState.QUEUED,
            created_at=self._clock(),
            trace_id=trace_id(),
            traceparent=traceparent(),
            ticket_id=ticket_id,
            reply=command.reply,
        )

    async def get(self, caller: Caller, turn_id: str) -> Turn:
        """Read a turn. Raises TurnNotFound, also for another customer's."""
        async with self._work_for(caller.organization_id) as work:
            turn = await work.turns.get(turn_id)
        if caller.owns_only("turns.read") and turn.customer.user_id != caller.user_id:
            raise TurnNotFound(resource_name=turn_id)
        return turn

    async def get_ended(self, caller: Caller, turn_id: str) -> Turn:
        """Read a turn whose end was told; its worker may be a moment behind in storing it."""
        while True:
            turn = await self.get(caller, turn_id)
            if turn.state.ended:
                return turn
            await asyncio.sleep(ENDED_LOOK_SECONDS)

    async def cancel(self, caller: Caller, turn_id: str) -> Turn:
        """Stop a turn; one that has ended, or whose answer is being told, stays as it is."""
        turn = await self.get(caller, turn_id)
        if turn.state.ended:
            return turn
        async with self._work_for(caller.organization_id) as work:
            cancelled = await work.turns.cancel(turn_id, self._clock())
            await work.commit()
        if cancelled:
            self._workers.stop(turn_id)
            task = asyncio.create_task(self._tell_cancelled(turn))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await asyncio.shield(task)
        return await self.get(caller, turn_id)

    async def _tell_cancelled(self, turn: Turn) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCELLED_TOLD_SECONDS):
                await tell_cancelled(turn, self._sessions, self._clock, self._tracer)

    async def follow(self, caller: Caller, sent: Turn) -> AsyncIterator[TurnFrame]:
        """The pieces and citations of a turn from its start to its end; raises what the turn failed for.

        They come from the conversation's log, so it does not matter which process runs the turn.
        """
        looked: asyncio.Queue[TurnEvent | DomainError | None] = asyncio.Queue()
        watching = asyncio.create_task(self._watch(sent, looked))
        looking = asyncio.create_task(self._look(caller, sent.id, looked))
        try:
            while True:
                match await looked.get():
                    case TextWritten() | PassageCited() as frame:
                        yield frame
                    case TurnBroken(reason, _, retry_after):
                        raise by_reason(reason, retry_after or None)
                    case DomainError() as error:
                        raise error
                    case TurnConcluded() | None:
                        return
                    case TurnBegan():
                        continue
        finally:
            for task in (watching, looking):
                task.cancel()
            await asyncio.gather(watching, looking, return_exceptions=True)

    async def _watch(self, turn: Turn, events: "asyncio.Queue[TurnEvent | DomainError | None]") -> None:
        try:
            async with contextlib.aclosing(
                self._sessions.watch(turn.conversation_id, turn.message_offset, turn.id)
            ) as watched:
                async for event in watched:
                    events.put_nowait(event)
        except DomainError as error:
            events.put_nowait(error)

    async def _look(
        self, caller: Caller, turn_id: str, events: "asyncio.Queue[TurnEvent | DomainError | None]"
    ) -> None:
        """End the following of a turn that ended without its conversation having been told."""
        seen_ended = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(DomainError):
                turn = await self.get(caller, turn_id)
                if seen_ended:
                    failed = turn.state is not TurnState.FINISHED
                    events.put_nowait(by_reason(turn.error_reason) if failed else None)
                    return
                seen_ended = turn.state.ended


def turn_id_of(command: SendMessage) -> str:
    """The turn's identifier, the same for every repeat of a request, so that nothing is done twice elsewhere."""
    key = command.idempotency
    parts = (command.caller.organization_id, command.caller.user_id, key.method, key.request_id)
    digest = int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest())
    return "trn_" + "".join(ALPHABET[(digest >> (5 * place)) & 31] for place in range(LENGTH))


async def _check_reply(command: SendMessage, work: Work) -> None:
    """Raises ProposalNotFound unless the reply, if there is one, is on the open proposal of the conversation."""
    if command.reply is None:
        return
    proposal = await work.proposals.find_open(command.conversation_id)
    if proposal is None or proposal.id != command.reply.proposal_id:
        raise ProposalNotFound(resource_name=command.reply.proposal_id)

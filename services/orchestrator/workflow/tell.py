"""Tells the conversation what a turn does: pieces as they come, then the whole answer and the end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from services.common.errors import DomainError, Exhausted, Unavailable
from services.orchestrator.answering.wording import Piece
from services.orchestrator.domain import Citation, Decision, Outcome, Responder, Turn, derived_id
from services.orchestrator.errors import RETRY_AFTER_SECONDS, is_retryable
from services.orchestrator.ports import (
    PassageCited,
    ProposalSettled,
    Sessions,
    TextWritten,
    TicketProposed,
    TurnBegan,
    TurnBroken,
    TurnConcluded,
    TurnEvent,
)
from services.orchestrator.workflow.record import Recorder

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0

T = TypeVar("T")


class Teller:
    """Writes one try of a turn into its conversation. Every call may be repeated, here or by another worker."""

    def __init__(self, turn: Turn, sessions: Sessions, record: Recorder) -> None:
        self._turn = turn
        self._sessions = sessions
        self._record = record
        self._count = 0
        self.first_token: float | None = None
        self._typing: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """The turn runs, and the assistant is seen to type."""
        await self._append(f"{self._turn.attempt}:began", [TurnBegan(self._turn.message_id)])
        self._typing = asyncio.create_task(self._show_typing())

    async def piece(self, piece: Piece) -> None:
        """A piece of an answer that is still being written."""
        self._count += 1
        await self._append(f"{self._turn.attempt}:{self._count}", piece_events(piece))
        self._mark_first_token()

    async def text(self, text: str) -> None:
        """Words of our own in an answer that is still being written."""
        self._count += 1
        await self._append(f"{self._turn.attempt}:{self._count}", [TextWritten(text)])
        self._mark_first_token()

    async def whole(self, outcome: Outcome, pieces: Sequence[Piece]) -> None:
        """An answer that was written before any of it was told."""
        events: list[TurnEvent] = [event for piece in pieces for event in piece_events(piece)]
        await self._append("told", events or [TextWritten(outcome.text)])
        self._mark_first_token()

    async def end(self, outcome: Outcome) -> Outcome:
        """The whole message and the end of the turn; the outcome as it is to be kept."""
        turn = self._turn
        message = await persist(
            lambda: self._sessions.append_answer(
                derived_id(turn.id, "answer"), turn.conversation_id, outcome.text, outcome.citations, turn.id
            )
        )
        if outcome.decision is Decision.HANDOFF:
            await persist(lambda: self._sessions.set_responder(turn.conversation_id, Responder.HUMAN))
        events: list[TurnEvent] = []
        if outcome.resolved is not None:
            events.append(ProposalSettled(outcome.resolved.proposal_id, outcome.resolved.accepted))
        if outcome.proposal is not None:
            events.append(TicketProposed(outcome.proposal.id, outcome.proposal.ticket_subject))
        events.append(TurnConcluded(message.id, outcome.decision.value))
        await self._append("end", events)
        return replace(outcome, first_token=self.first_token)

    async def fail(self, error: DomainError) -> None:
        """The turn ended without an answer."""
        wait = error.retry_after_seconds if isinstance(error, Exhausted | Unavailable) else None
        retryable = is_retryable(error)
        broken = TurnBroken(error.reason, retryable, (wait or RETRY_AFTER_SECONDS) if retryable else 0.0)
        await self._append("end", [broken])

    async def close(self) -> None:
        """Stop being seen to type."""
        if self._typing is not None:
            self._typing.cancel()
            await asyncio.gather(self._typing, return_exceptions=True)

    async def _append(self, purpose: str, events: Sequence[TurnEvent]) -> None:
        turn = self._turn
        request_id = derived_id(turn.id, purpose)
        await persist(lambda: self._sessions.append_events(request_id, turn.conversation_id, turn.id, events))

    async def _show_typing(self) -> None:
        """Typing is a courtesy: a turn does not fail for it."""
        try:
            while True:
                await self._sessions.set_typing(self._turn.conversation_id, typing=True)
                await asyncio.sleep(4.0)
        except DomainError:
            logger.info("typing not shown", exc_info=True)

    def _mark_first_token(self) -> None:
        if self.first_token is None:
            self.first_token = self._record.seconds


def piece_events(piece: Piece) -> list[TurnEvent]:
    """The text of a piece, and its citation when the passage is cited for the first time."""
    events: list[TurnEvent] = [TextWritten(piece.text)]
    if piece.first:
        events.append(PassageCited(piece.number, citation_of(piece)))
    return events


def citation_of(piece: Piece) -> Citation:
    """The citation that a piece's marker stands for."""
    passage = piece.passage
    return Citation(
        article_id=passage.article_id,
        title=passage.article_title,
        passage=passage.text,
        url=passage.url,
        passage_id=passage.id,
        article_version=passage.article_version,
        heading=passage.heading,
    )


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call that is safe to repeat until the other side is there again; the turn's deadline ends it."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

"""Turns and proposals in Postgres."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.common.db import IdempotencyRecords, SqlUnitOfWork
from services.common.spending import Usage
from services.orchestrator.adapters.figures import SqlFigures
from services.orchestrator.adapters.records import outcome_document, outcome_of, proposal_of
from services.orchestrator.adapters.reports import SqlUsageReports
from services.orchestrator.domain import (
    Message,
    Outcome,
    Person,
    Proposal,
    ProposalReply,
    ProposalState,
    Step,
    Turn,
    TurnState,
)
from services.orchestrator.errors import TurnInProgress, TurnNotFound
from services.orchestrator.ports import Ending
from services.orchestrator.tables import (
    ACTIVE_TURN_INDEX,
    idempotency_records,
    proposals,
    turn_steps,
    turns,
)

_ACTIVE = (TurnState.QUEUED.value, TurnState.RUNNING.value)


class SqlTurns:
    """The turns of one organization."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, turn: Turn) -> None:
        values = {
            "id": turn.id,
            "organization_id": self._organization_id,
            "conversation_id": turn.conversation_id,
            "customer_id": turn.customer.user_id,
            "customer_roles": list(turn.customer.roles),
            "key_id": turn.customer.key_id,
            "message_id": turn.message_id,
            "message_offset": turn.message_offset,
            "text": turn.text,
            "reply_proposal_id": turn.reply.proposal_id if turn.reply else None,
            "reply_accepted": turn.reply.accepted if turn.reply else None,
            "state": turn.state.value,
            "trace_id": turn.trace_id,
            "traceparent": turn.traceparent,
            "ticket_id": turn.ticket_id,
            "created_at": turn.created_at,
        }
        try:
            await self._session.execute(insert(turns).values(values))
        except IntegrityError as error:
            if ACTIVE_TURN_INDEX in str(error.orig):
                raise TurnInProgress from None
            raise

    async def attach_message(self, turn_id: str, message: Message) -> None:
        await self._session.execute(
            update(turns).where(self._is(turn_id)).values(message_id=message.id, message_offset=message.offset)
        )

    async def get(self, turn_id: str) -> Turn:
        row = (await self._session.execute(select(turns).where(self._is(turn_id)))).one_or_none()
        if row is None:
            raise TurnNotFound(resource_name=turn_id)
        steps = await self._session.execute(
            select(turn_steps).where(turn_steps.c.turn_id == turn_id).order_by(turn_steps.c.position)
        )
        return turn_of(row, tuple(step_of(step) for step in steps), await self._proposal_of(row))

    async def begin_streaming(self, turn_id: str, worker: str) -> bool:
        return await self._change(turn_id, worker, {"streaming": True})

    async def conclude(self, turn_id: str, worker: str, outcome: Outcome) -> bool:
        return await self._change(turn_id, worker, {"outcome": outcome_document(outcome)})

    async def end(self, turn_id: str, worker: str, ending: Ending) -> bool:
        values: dict[str, Any] = {
            "state": ending.state.value,
            "ended_at": ending.at,
            "total_seconds": ending.total,
            "error_reason": ending.error_reason,
            "lease_until": None,
        }
        if ending.outcome is not None:
            values["outcome"] = outcome_document(ending.outcome)
        if not await self._change(turn_id, worker, values):
            return False
        if ending.steps:
            await self._session.execute(
                insert(turn_steps),
                [self._step_row(turn_id, position, step) for position, step in enumerate(ending.steps)],
            )
        return True

    async def cancel(self, turn_id: str, at: datetime) -> bool:
        cancelled = await self._session.execute(
            update(turns)
            .where(self._is(turn_id), turns.c.state.in_(_ACTIVE), turns.c.outcome.is_(None))
            .values(
                state=TurnState.CANCELLED.value,
                error_reason="TURN_CANCELLED",
                ended_at=at,
                total_seconds=func.extract("epoch", at - turns.c.created_at),
                lease_until=None,
            )
            .returning(turns.c.id)
        )
        return cancelled.first() is not None

    def _is(self, turn_id: str) -> Any:
        return and_(turns.c.organization_id == self._organization_id, turns.c.id == turn_id)

    async def _change(self, turn_id: str, worker: str, values: Mapping[str, Any]) -> bool:
        changed = await self._session.execute(
            update(turns)
            .where(self._is(turn_id), turns.c.worker == worker, turns.c.state == TurnState.RUNNING.value)
            .values(values)
            .returning(turns.c.id)
        )
        return changed.first() is not None

    async def _proposal_of(self, row: Row[Any]) -> Proposal | None:
        proposal_id = row.outcome["proposal_id"] if row.outcome else ""
        if not proposal_id:
            return None
        return proposal_of((await self._session.execute(select(proposals).where(proposals.c.id == proposal_id))).one())

    def _step_row(self, turn_id: str, position: int, step: Step) -> dict[str, Any]:
        return {
            "turn_id": turn_id,
            "position": position,
            "organization_id": self._organization_id,
            "name": step.name,
            "started_after_seconds": step.started_after,
            "elapsed_seconds": step.elapsed,
            "model": step.model,
            "prompt_tokens": step.usage.prompt_tokens if step.usage else None,
            "cached_prompt_tokens": step.usage.cached_prompt_tokens if step.usage else None,
            "completion_tokens": step.usage.completion_tokens if step.usage else None,
            "versions": dict(step.versions),
            "details": dict(step.details),
            "error_reason": step.error_reason,
        }


class SqlProposals:
    """The proposals of one organization."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def add(self, proposal: Proposal) -> None:
        await self._session.execute(
            update(proposals)
            .where(
                proposals.c.organization_id == self._organization_id,
                proposals.c.conversation_id == proposal.conversation_id,
                proposals.c.state == ProposalState.OPEN.value,
            )
            .values(state=ProposalState.OVERTAKEN.value)
        )
        await self._session.execute(
            insert(proposals).values(
                id=proposal.id,
                organization_id=self._organization_id,
                conversation_id=proposal.conversation_id,
                turn_id=proposal.turn_id,
                ticket_subject=proposal.ticket_subject,
                state=proposal.state.value,
                created_at=proposal.created_at,
            )
        )

    async def find_open(self, conversation_id: str) -> Proposal | None:
        row = (
            await self._session.execute(
                select(proposals).where(
                    proposals.c.organization_id == self._organization_id,
                    proposals.c.conversation_id == conversation_id,
                    proposals.c.state == ProposalState.OPEN.value,
                )
            )
        ).one_or_none()
        return proposal_of(row) if row else None

    async def settle(self, proposal_id: str, state: ProposalState) -> None:
        await self._session.execute(
            update(proposals)
            .where(
                proposals.c.organization_id == self._organization_id,
                proposals.c.id == proposal_id,
                proposals.c.state == ProposalState.OPEN.value,
            )
            .values(state=state.value)
        )


class SqlWork(SqlUnitOfWork):
    """One transaction on turns and proposals."""

    turns: SqlTurns
    proposals: SqlProposals
    requests: IdempotencyRecords
    reports: SqlUsageReports
    figures: SqlFigures

    def bind(self, session: AsyncSession) -> None:
        self.turns = SqlTurns(session, self.organization_id)
        self.proposals = SqlProposals(session, self.organization_id)
        self.requests = IdempotencyRecords(session, self.organization_id, idempotency_records)
        self.reports = SqlUsageReports(session, self.organization_id)
        self.figures = SqlFigures(session, self.organization_id)


class SqlTurnQueue:
    """The turns of all organizations that wait for a worker; each call is a transaction of its own."""

    def __init__(self, sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        self._sessionmaker = sessionmaker

    async def claim(self, worker: str, now: datetime, lease_until: datetime) -> Turn | None:
        free = or_(
            turns.c.state == TurnState.QUEUED.value,
            and_(turns.c.state == TurnState.RUNNING.value, turns.c.lease_until < now),
        )
        oldest = (
            select(turns.c.id).where(free).order_by(turns.c.created_at).limit(1).with_for_update(skip_locked=True)
        ).scalar_subquery()
        async with self._work() as work:
            row = (
                await work.session.execute(
                    update(turns)
                    .where(turns.c.id == oldest)
                    .values(
                        state=TurnState.RUNNING.value,
                        worker=worker,
                        lease_until=lease_until,
                        attempt=turns.c.attempt + 1,
                    )
                    .returning(turns)
                )
            ).one_or_none()
            if row is None:
                return None
            proposal_id = row.outcome["proposal_id"] if row.outcome else ""
            proposal = None
            if proposal_id:
                found = await work.session.execute(select(proposals).where(proposals.c.id == proposal_id))
                proposal = proposal_of(found.one())
            await work.commit()
            return turn_of(row, (), proposal)

    async def renew(self, turn_id: str, worker: str, lease_until: datetime) -> bool:
        async with self._work() as work:
            renewed = await work.session.execute(
                update(turns)
                .where(turns.c.id == turn_id, turns.c.worker == worker, turns.c.state == TurnState.RUNNING.value)
                .values(lease_until=lease_until)
                .returning(turns.c.id)
            )
            held = renewed.first() is not None
            await work.commit()
            return held

    async def waiting(self) -> int:
        async with self._work() as work:
            count = await work.session.scalar(
                select(func.count()).select_from(turns).where(turns.c.state == TurnState.QUEUED.value)
            )
            return count or 0

    def _work(self) -> SqlUnitOfWork:
        return SqlUnitOfWork(self._sessionmaker, system=True)


def turn_of(row: Row[Any], steps: tuple[Step, ...], proposal: Proposal | None) -> Turn:
    """The turn in a row."""
    return Turn(
        id=row.id,
        conversation_id=row.conversation_id,
        customer=Person(row.organization_id, row.customer_id, tuple(row.customer_roles), row.key_id),
        text=row.text,
        state=TurnState(row.state),
        created_at=row.created_at,
        trace_id=row.trace_id,
        traceparent=row.traceparent,
        ticket_id=row.ticket_id,
        message_id=row.message_id,
        message_offset=row.message_offset,
        reply=ProposalReply(row.reply_proposal_id, row.reply_accepted) if row.reply_proposal_id else None,
        attempt=row.attempt,
        streaming=row.streaming,
        outcome=outcome_of(row.outcome, proposal) if row.outcome else None,
        steps=steps,
        total=row.total_seconds,
        error_reason=row.error_reason,
        ended_at=row.ended_at,
    )


def step_of(row: Row[Any]) -> Step:
    """The step in a row."""
    used = row.prompt_tokens is not None
    return Step(
        name=row.name,
        started_after=row.started_after_seconds,
        elapsed=row.elapsed_seconds,
        model=row.model,
        usage=Usage(row.prompt_tokens, row.cached_prompt_tokens, row.completion_tokens) if used else None,
        versions=row.versions,
        details=row.details,
        error_reason=row.error_reason,
    )

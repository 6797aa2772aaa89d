"""Turns and proposals in memory, by the same contract as the ones in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Self

from services.common.context import IdempotencyKey
from services.common.errors import RequestIdReused
from services.orchestrator.domain import (
    CallFigures,
    Message,
    Outcome,
    Proposal,
    ProposalState,
    Turn,
    TurnState,
    UsageReport,
)
from services.orchestrator.errors import TurnInProgress, TurnNotFound
from services.orchestrator.ports import Ending


@dataclass
class Tables:
    """What is kept."""

    turns: dict[str, Turn] = field(default_factory=dict)
    workers: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    requests: dict[tuple[str, str, str], tuple[bytes, str]] = field(default_factory=dict)
    reports: dict[tuple[str, str], tuple[UsageReport, datetime]] = field(default_factory=dict)
    figures: dict[str, tuple[CallFigures, ...]] = field(default_factory=dict)

    def copy(self) -> "Tables":
        """A copy to work on."""
        return Tables(
            dict(self.turns),
            dict(self.workers),
            dict(self.proposals),
            dict(self.requests),
            dict(self.reports),
            dict(self.figures),
        )

    def become(self, other: "Tables") -> None:
        """Take over what a copy became."""
        self.turns, self.workers = other.turns, other.workers
        self.proposals, self.requests, self.reports = other.proposals, other.requests, other.reports
        self.figures = other.figures


class MemoryTurns:
    """The turns of one organization."""

    def __init__(self, tables: Tables, organization_id: str) -> None:
        self._tables = tables
        self._organization_id = organization_id

    async def add(self, turn: Turn) -> None:
        for other in self._tables.turns.values():
            if other.conversation_id == turn.conversation_id and not other.state.ended:
                raise TurnInProgress
        self._tables.turns[turn.id] = turn

    async def attach_message(self, turn_id: str, message: Message) -> None:
        turn = self._tables.turns[turn_id]
        self._tables.turns[turn_id] = replace(turn, message_id=message.id, message_offset=message.offset)

    async def get(self, turn_id: str) -> Turn:
        turn = self._tables.turns.get(turn_id)
        if turn is None or turn.customer.organization_id != self._organization_id:
            raise TurnNotFound(resource_name=turn_id)
        if turn.outcome is not None and turn.outcome.proposal is not None:
            proposal = self._tables.proposals[turn.outcome.proposal.id]
            return replace(turn, outcome=replace(turn.outcome, proposal=proposal))
        return turn

    async def begin_streaming(self, turn_id: str, worker: str) -> bool:
        if not self._held(turn_id, worker):
            return False
        self._tables.turns[turn_id] = replace(self._tables.turns[turn_id], streaming=True)
        return True

    async def conclude(self, turn_id: str, worker: str, outcome: Outcome) -> bool:
        if not self._held(turn_id, worker):
            return False
        self._tables.turns[turn_id] = replace(self._tables.turns[turn_id], outcome=outcome)
        return True

    async def end(self, turn_id: str, worker: str, ending: Ending) -> bool:
        if not self._held(turn_id, worker):
            return False
        turn = self._tables.turns[turn_id]
        self._tables.turns[turn_id] = replace(
            turn,
            state=ending.state,
            ended_at=ending.at,
            total=ending.total,
            steps=ending.steps,
            error_reason=ending.error_reason,
            outcome=ending.outcome or turn.outcome,
        )
        return True

    async def cancel(self, turn_id: str, at: datetime) -> bool:
        turn = self._tables.turns.get(turn_id)
        if turn is None or turn.customer.organization_id != self._organization_id:
            return False
        if turn.state.ended or turn.outcome is not None:
            return False
        self._tables.turns[turn_id] = replace(
            turn,
            state=TurnState.CANCELLED,
            error_reason="TURN_CANCELLED",
            ended_at=at,
            total=(at - turn.created_at).total_seconds(),
        )
        return True

    def _held(self, turn_id: str, worker: str) -> bool:
        turn = self._tables.turns.get(turn_id)
        held_by = self._tables.workers.get(turn_id, ("", None))[0]
        return turn is not None and turn.state is TurnState.RUNNING and held_by == worker


class MemoryProposals:
    """The proposals of one organization."""

    def __init__(self, tables: Tables, organization_id: str) -> None:
        self._tables = tables
        self._organization_id = organization_id

    async def add(self, proposal: Proposal) -> None:
        if (open_one := await self.find_open(proposal.conversation_id)) is not None:
            await self.settle(open_one.id, ProposalState.OVERTAKEN)
        self._tables.proposals[proposal.id] = proposal

    async def find_open(self, conversation_id: str) -> Proposal | None:
        for proposal in self._tables.proposals.values():
            owner = self._tables.turns[proposal.turn_id].customer.organization_id
            mine = owner == self._organization_id and proposal.conversation_id == conversation_id
            if mine and proposal.state is ProposalState.OPEN:
                return proposal
        return None

    async def settle(self, proposal_id: str, state: ProposalState) -> None:
        proposal = self._tables.proposals.get(proposal_id)
        if proposal is not None and proposal.state is ProposalState.OPEN:
            self._tables.proposals[proposal_id] = replace(proposal, state=state)


class MemoryRequests:
    """The request_ids seen."""

    def __init__(self, tables: Tables, organization_id: str) -> None:
        self._tables = tables
        self._organization_id = organization_id

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        identity = (self._organization_id, key.method, key.request_id)
        known = self._tables.requests.get(identity)
        if known is None:
            self._tables.requests[identity] = (key.fingerprint, resource_id)
            return None
        if known[0] != key.fingerprint:
            raise RequestIdReused
        return known[1]


class MemoryWork:
    """One transaction."""

    def __init__(self, tables: Tables, organization_id: str) -> None:
        self._tables = tables
        self._copy = tables.copy()
        self.turns = MemoryTurns(self._copy, organization_id)
        self.proposals = MemoryProposals(self._copy, organization_id)
        self.requests = MemoryRequests(self._copy, organization_id)
        self.reports = MemoryReports(self._copy, organization_id)
        self.figures = MemoryFigures(self._copy)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def commit(self) -> None:
        self._tables.become(self._copy.copy())


class MemoryFigures:
    """Figures of turns, where the outbox would be."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, turn_id: str, calls: Sequence[CallFigures], *, shadow: bool = False) -> None:
        self._tables.figures[f"{turn_id}:shadow" if shadow else turn_id] = tuple(calls)


class MemoryReports:
    """Reports of one organization."""

    def __init__(self, tables: Tables, organization_id: str) -> None:
        self._tables = tables
        self._organization_id = organization_id

    async def add(self, report: UsageReport, due_at: datetime) -> None:
        self._tables.reports.setdefault((self._organization_id, report.id), (report, due_at))


class MemoryUnsentReports:
    """The reports that the ledger has not confirmed."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def take(self, at: datetime, *, lease_until: datetime, limit: int) -> list[UsageReport]:
        waiting = sorted(self._tables.reports.items(), key=lambda item: item[1][1])
        due = [(key, report) for key, (report, due_at) in waiting if due_at <= at][:limit]
        for key, report in due:
            self._tables.reports[key] = (report, lease_until)
        return [report for _, report in due]

    async def postpone(self, reports: Sequence[UsageReport], until: datetime) -> None:
        for report in reports:
            self._tables.reports[(report.organization_id, report.id)] = (report, until)

    async def remove(self, reports: Sequence[UsageReport]) -> None:
        for report in reports:
            self._tables.reports.pop((report.organization_id, report.id), None)


class MemoryTurnQueue:
    """The turns that wait for a worker."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def claim(self, worker: str, now: datetime, lease_until: datetime) -> Turn | None:
        for turn in sorted(self._tables.turns.values(), key=lambda turn: turn.created_at):
            lapsed = turn.state is TurnState.RUNNING and self._tables.workers[turn.id][1] < now
            if turn.state is TurnState.QUEUED or lapsed:
                taken = replace(turn, state=TurnState.RUNNING, attempt=turn.attempt + 1)
                self._tables.turns[turn.id] = taken
                self._tables.workers[turn.id] = (worker, lease_until)
                return taken
        return None

    async def renew(self, turn_id: str, worker: str, lease_until: datetime) -> bool:
        turn = self._tables.turns.get(turn_id)
        if turn is None or turn.state is not TurnState.RUNNING or self._tables.workers[turn_id][0] != worker:
            return False
        self._tables.workers[turn_id] = (worker, lease_until)
        return True

    async def waiting(self) -> int:
        return sum(turn.state is TurnState.QUEUED for turn in self._tables.turns.values())

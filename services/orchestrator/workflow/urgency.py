"""How urgent a turn's calls of models are: as urgent as the ticket that its conversation is about."""

import asyncio
from datetime import datetime, timedelta

from services.common.errors import DomainError
from services.orchestrator.domain import Turn
from services.orchestrator.workflow.record import Recorder
from services.orchestrator.workflow.services import Services

# Lower is served first, in the router's queue and in the engine's; the usual is 0.
USUAL = 0
# A ticket that is due within so long is so urgent. Steps, so that among about equally urgent ones a turn's own deadline
# decides, and who came first.
STEPS = ((timedelta(0), -3), (timedelta(hours=1), -2), (timedelta(hours=8), -1))
# The turn does not wait longer to learn that it may go first.
ASK_SECONDS = 1.0


def priority_of(due_at: datetime | None, now: datetime) -> int:
    """The priority of what concerns a ticket that is due then; the usual one without a due time."""
    if due_at is None:
        return USUAL
    return next((priority for within, priority in STEPS if due_at - now <= within), USUAL)


async def load_priority(turn: Turn, services: Services, record: Recorder) -> int:
    """By the ticket of the conversation that is due first, as of the message; the usual one when nobody can say."""
    if not turn.ticket_id:
        return USUAL
    async with record.step("urgency") as notes:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                due_at = await services.tickets.due(turn.conversation_id)
        except DomainError as error:
            notes.error_reason = error.reason
            return USUAL
        except TimeoutError:
            notes.error_reason = "DEADLINE_EXCEEDED"
            return USUAL
        priority = priority_of(due_at, turn.created_at)
        notes.details["priority"] = str(priority)
        if due_at is not None:
            notes.details["due"] = due_at.isoformat()
        return priority

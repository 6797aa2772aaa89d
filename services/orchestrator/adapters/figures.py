"""What turns showed of models, published by the outbox."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from deskmesh.orchestrator.v1 import figures_pb2
from services.common.outbox import Outbox
from services.orchestrator.domain import CallFigures
from services.orchestrator.tables import outbox

TURN_MEASURED = "turn.measured"


class SqlFigures:
    """Adds the figures of one organization's turns."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._outbox = Outbox(session, organization_id, outbox)

    async def add(self, turn_id: str, calls: Sequence[CallFigures], *, shadow: bool = False) -> None:
        told = figures_pb2.TurnFigures(turn_id=turn_id)
        if shadow:
            told.shadow_calls.extend(_repeated(one) for one in calls)
        else:
            told.calls.extend(_told(one) for one in calls)
        await self._outbox.add(TURN_MEASURED, turn_id, told.SerializeToString())


def _repeated(one: CallFigures) -> figures_pb2.CallFigures:
    """With its tokens: the ledger has those of customers alone."""
    told = _told(one)
    told.prompt_tokens = one.usage.prompt_tokens
    told.completion_tokens = one.usage.completion_tokens
    return told


def _told(one: CallFigures) -> figures_pb2.CallFigures:
    told = figures_pb2.CallFigures(
        step=one.step,
        model=one.model,
        version=one.call.version,
        error_reason=one.error_reason,
        tokens_per_second=one.call.tokens_per_second,
        grounded=one.call.grounded,
    )
    if one.call.first_token is not None:
        told.first_token.FromTimedelta(timedelta(seconds=one.call.first_token))
    return told

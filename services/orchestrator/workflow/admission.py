"""Whether a message may begin a turn, asked before it is recorded: that the model is busy is told without a wait."""

import asyncio
import time

from services.common.errors import DomainError
from services.orchestrator.answering.decision import understand
from services.orchestrator.answering.intents import reply_of
from services.orchestrator.domain import ProposalReply
from services.orchestrator.errors import ModelOverloaded
from services.orchestrator.ports import Embedder, Models, Need
from services.orchestrator.workflow.memory import IntentMemory

# An inference application that does not say how it is by then is not waited for; the turn finds out.
ASK_SECONDS = 1.0
# As often as replicas tell the router how full they are.
ROOM_BELIEVED_SECONDS = 0.5
RETRY_SECONDS = 3.0


class Admission:
    """Refuses questions while every place in the queue of every fitting model is taken.

    What needs no model still gets through: somebody who wants a person, a ticket, or answers an offer.
    """

    def __init__(self, models: Models, embedder: Embedder, intents: IntentMemory) -> None:
        self._models = models
        self._embedder = embedder
        self._intents = intents
        self._room_until = 0.0

    async def refusal(self, text: str, reply: ProposalReply | None) -> ModelOverloaded | None:
        """The refusal that the message would meet; None when it may begin a turn."""
        if time.monotonic() < self._room_until:
            return None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                # Of no conversation, so that no earlier decision of the router stands in for its word.
                await self._models.route(Need())
        except ModelOverloaded as error:
            busy = error
        except (DomainError, TimeoutError):
            # Without a model, answers are quoted by similarity alone.
            return None
        else:
            self._room_until = time.monotonic() + ROOM_BELIEVED_SECONDS
            return None
        if reply is not None or reply_of(text) is not None or not await self._is_question(text):
            return None
        return ModelOverloaded(retry_after_seconds=max(RETRY_SECONDS, busy.retry_after_seconds or 0.0))

    async def _is_question(self, text: str) -> bool:
        try:
            (vector,) = await self._embedder.embed([text])
            return understand(text, await self._intents.nearest(vector)) is None
        except DomainError:
            return True

"""The first steps, all at once: what was said before, what the help centre has, what the message means."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from services.common.errors import Unavailable
from services.orchestrator.answering.intents import Nearest
from services.orchestrator.answering.lexicon import translated
from services.orchestrator.answering.passages import Passage
from services.orchestrator.answering.ranking import Vectors
from services.orchestrator.domain import Message, Proposal, Turn
from services.orchestrator.ports import WorkFor
from services.orchestrator.workflow.memory import IntentMemory
from services.orchestrator.workflow.record import Recorder
from services.orchestrator.workflow.services import Services

CONTEXT_TOKENS = 800
PASSAGES_A_SEARCH = 12

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Background:
    """What was said before the message, and what waits for the customer's word."""

    messages: tuple[Message, ...]
    proposal: Proposal | None

    @property
    def earlier(self) -> list[str]:
        """The customer's own earlier messages, oldest first."""
        return [message.text for message in self.messages if message.author == "customer"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the message means: its vectors as asked and translated, and how near it is to each intent."""

    question: str
    vectors: Vectors
    near: Nearest


async def load_background(turn: Turn, services: Services, work_for: WorkFor, record: Recorder) -> Background:
    """The conversation before the message. Without it the message is taken for itself."""
    async with record.step("context") as notes:
        async with work_for(turn.customer.organization_id) as work:
            proposal = await work.proposals.find_open(turn.conversation_id)
        try:
            messages = await services.sessions.context(turn.conversation_id, CONTEXT_TOKENS)
        except Unavailable as error:
            # Counting tokens needs the model's tokenizer; the message itself is in the turn.
            notes.error_reason = error.reason
            messages = []
        before = tuple(message for message in messages if message.id != turn.message_id)
        notes.details["messages"] = str(len(before))
        return Background(before, proposal)


async def retrieve(question: str, services: Services, record: Recorder) -> list[Passage]:
    """Passages for the question as it was asked and in the help centre's words, each once, best first."""
    async with record.step("retrieve") as notes:
        queries = list(dict.fromkeys((question, translated(question))))
        found = await together(*(services.knowledge.search(query, PASSAGES_A_SEARCH) for query in queries))
        passages: dict[str, Passage] = {}
        for passage in sorted((passage for hits in found for passage in hits), key=lambda passage: passage.rank):
            passages.setdefault(passage.id, passage)
        notes.details["passages"] = str(len(passages))
        notes.details["top_similarity"] = f"{max((one.similarity for one in passages.values()), default=0.0):.3f}"
        return list(passages.values())


async def read(message: str, services: Services, intents: IntentMemory, record: Recorder) -> Reading:
    """What the message means. Raises DependencyUnavailable when the embedder does not answer."""
    async with record.step("classify") as notes:
        texts = list(dict.fromkeys((message, translated(message))))
        found, search = await together(
            services.embedder.embed(texts), services.embedder.embed_for_search([message], questions=True)
        )
        # Nothing to translate makes them one.
        vectors = Vectors(found[0], found[-1], search[0])
        near = await intents.nearest(vectors.asked)
        notes.versions["intents"] = intents.version
        notes.details["intent"] = near.intent.value
        notes.details["similarity"] = f"{near.similarities[near.intent]:.3f}"
        return Reading(message, vectors, near)


async def together(*calls: Awaitable[T]) -> list[T]:
    """Await all at once; the first failure cancels the rest and is raised as itself."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def abandon(*tasks: "asyncio.Future[Any]") -> None:
    """Stop what is not needed any more; what it would have raised is of no interest."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

"""Finds the passage and the sentences that answer: by meaning and words, then by the model's likelihood."""

import asyncio
import time
from collections.abc import Sequence

from services.common.errors import Unavailable
from services.orchestrator.answering.passages import Passage, Sentence
from services.orchestrator.answering.ranking import (
    Candidate,
    likelihood_context,
    likelihood_target,
    rank,
    with_likelihoods,
    worth_asking,
)
from services.orchestrator.domain import Call
from services.orchestrator.ports import Likelihoods, Route
from services.orchestrator.workflow.gather import Reading
from services.orchestrator.workflow.record import Recorder
from services.orchestrator.workflow.services import Services

# Each costs the model about 50 tokens; docs/adr/0004 has what more of them bring.
SENTENCES_ASKED = 12
SENTENCE_TOKENS = 50
SCORE_SECONDS = 12.0


async def rank_sentences(
    reading: Reading, passages: Sequence[Passage], services: Services, record: Recorder
) -> list[Candidate]:
    """The sentences of the passages in the order in which they answer, by meaning and words."""
    async with record.step("rank") as notes:
        recalled = await services.memory.recall(passages)
        candidates = rank(reading.question, reading.vectors, recalled.sentences, recalled.vectors)
        notes.details["passages"] = str(len(candidates))
        notes.details["passages_embedded"] = str(recalled.learned)
    return candidates


async def weigh(
    question: str, candidates: list[Candidate], route: Route, services: Services, record: Recorder
) -> list[Candidate]:
    """Candidates in the order in which they answer by the model's likelihoods, too; as they are when it fails to say.

    Raises ModelOverloaded.
    """
    if not candidates:
        return candidates
    asked = worth_asking(candidates, SENTENCES_ASKED)
    likelihoods = await _ask(question, asked, route, services, record)
    if likelihoods is None:
        return candidates
    by_sentence = {sentence.key: score for sentence, score in zip(asked, likelihoods.scores, strict=True)}
    return with_likelihoods(candidates, by_sentence)


async def _ask(
    question: str, sentences: Sequence[Sentence], route: Route, services: Services, record: Recorder
) -> Likelihoods | None:
    """How likely the question is after each sentence; None when the model fails to say."""
    target = likelihood_target(question)
    async with record.step("score") as notes:
        notes.model = route.model
        notes.versions["prompt"] = "likelihood/1"
        notes.call = Call(route.version)
        began = time.monotonic()
        try:
            async with asyncio.timeout(SCORE_SECONDS):
                pairs = [(likelihood_context(sentence), target) for sentence in sentences]
                answered = await services.models.score(route, pairs)
        except Unavailable as error:
            notes.error_reason = error.reason
            return None
        except TimeoutError:
            notes.error_reason = "DEADLINE_EXCEEDED"
            return None
        notes.call = Call(route.version, first_token=time.monotonic() - began)
        notes.usage = answered.usage
        notes.details["sentences"] = str(len(sentences))
        return answered

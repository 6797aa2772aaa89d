"""Vectors that a process keeps: of the labelled examples, and of passages that were found lately."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.common import background
from services.common.errors import DomainError
from services.orchestrator.answering.intents import Examples, Nearest, load_examples, nearest
from services.orchestrator.answering.passages import Passage, Sentence
from services.orchestrator.answering.ranking import PassageVectors, Vector, in_context, passage_text
from services.orchestrator.answering.sentences import split_passage
from services.orchestrator.ports import Embedder

# About 25 KiB a passage.
PASSAGES_KEPT = 4000
WARMING_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Recalled:
    """Sentences by passage, vectors by passage identifier, and how many passages had to be embedded."""

    sentences: dict[Passage, list[Sentence]]
    vectors: dict[str, PassageVectors]
    learned: int


class PassageMemory:
    """Sentences and vectors of passages. A passage's identifier changes with its text, so nothing kept grows old."""

    def __init__(self, embedder: Embedder, capacity: int = PASSAGES_KEPT) -> None:
        self._embedder = embedder
        self._capacity = capacity
        self._kept: OrderedDict[str, tuple[list[Sentence], PassageVectors]] = OrderedDict()

    async def recall(self, passages: Sequence[Passage]) -> "Recalled":
        """What is known of the passages; what is not yet is embedded now."""
        missing = [passage for passage in passages if passage.id not in self._kept]
        if missing:
            await self._learn(missing)
        sentences: dict[Passage, list[Sentence]] = {}
        vectors: dict[str, PassageVectors] = {}
        for passage in passages:
            known, vectors[passage.id] = self._kept[passage.id]
            self._kept.move_to_end(passage.id)
            # The kept sentences belong to the passage as it was found then; ranks and similarity are of this question.
            sentences[passage] = [Sentence(one.text, passage, one.position, one.paragraph) for one in known]
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return Recalled(sentences, vectors, len(missing))

    async def _learn(self, passages: Sequence[Passage]) -> None:
        split = [split_passage(passage) for passage in passages]
        texts: list[str] = []
        for passage, sentences in zip(passages, split, strict=True):
            texts.append(passage_text(passage))
            texts.extend(sentence.text for sentence in sentences)
            texts.extend(in_context(sentence) for sentence in sentences)
        wholes = [passage_text(passage) for passage in passages]
        found, searched = await asyncio.gather(
            self._embedder.embed(texts), self._embedder.embed_for_search(wholes, questions=False)
        )
        vectors = iter(found)
        for passage, sentences, search in zip(passages, split, searched, strict=True):
            whole = next(vectors)
            alone = tuple(next(vectors) for _ in sentences)
            context = tuple(next(vectors) for _ in sentences)
            self._kept[passage.id] = (sentences, PassageVectors(whole, search, alone, context))


class IntentMemory:
    """The labelled examples with their vectors, embedded once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._examples: Examples = load_examples()
        self._vectors: list[Vector] | None = None
        self._lock = asyncio.Lock()

    @property
    def version(self) -> str:
        """Version of the examples."""
        return self._examples.version

    async def nearest(self, message: Vector) -> Nearest:
        """How near a message is to each intent."""
        return nearest(message, self._examples, await self._learned())

    async def warm(self) -> None:
        """Embed the examples before the first message needs them, as soon as the embedder is there."""
        while True:
            try:
                await self._learned()
            except DomainError:
                await asyncio.sleep(WARMING_PAUSE_SECONDS)
            else:
                return

    async def _learned(self) -> list[Vector]:
        async with self._lock:
            if self._vectors is None:
                self._vectors = await self._embedder.embed(self._examples.utterances)
            return self._vectors


@asynccontextmanager
async def warming(intents: IntentMemory) -> AsyncIterator[None]:
    """Warm the examples while the block runs."""
    task = asyncio.create_task(intents.warm())
    try:
        yield
    finally:
        await background.end(task)

"""Bringing files in: each is taken whole, in a transaction of its own, or skipped with a reason."""

import asyncio
import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from services.common.clock import Clock
from services.common.errors import Conflict, InvalidInput
from services.common.ids import new_id
from services.knowledge.domain import Article, Document, DocumentReport, Outcome
from services.knowledge.errors import ArticleSlugTaken
from services.knowledge.ports import Embedder, UnitOfWorkFactory
from services.knowledge.text import documents
from services.knowledge.usecases.indexing import index, show

# Each further one follows somebody else's change to the same article.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was sent."""

    path: str
    content: bytes


class Importing:
    """The import's use case."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, embedder: Embedder, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._embedder = embedder
        self._clock = clock

    async def run(self, organization_id: str, files: Sequence[File]) -> AsyncIterator[DocumentReport]:
        """A report a file, in their order, each as soon as the file is done.

        Raises Unavailable when the embedder or the database does not answer: what was reported before stays, the file
        it happened at is not taken at all, and the same call again goes on from there.
        """
        taken: dict[tuple[str, str], str] = {}
        for file in files:
            try:
                document = await asyncio.to_thread(documents.read, file.path, file.content)
                _refuse_repeated(taken, document, file.path)
                yield await self._take(organization_id, file.path, document)
            except documents.Skip as skip:
                yield DocumentReport(file.path, Outcome.SKIPPED, skipped_because=skip.because)
            except InvalidInput as error:
                yield DocumentReport(file.path, Outcome.SKIPPED, skipped_because=error.message)

    async def _take(self, organization_id: str, path: str, document: Document) -> DocumentReport:
        for _ in range(ATTEMPTS - 1):
            with suppress(ArticleSlugTaken, Conflict):
                return await self._store(organization_id, path, document)
        return await self._store(organization_id, path, document)

    async def _store(self, organization_id: str, path: str, document: Document) -> DocumentReport:
        async with self._unit_of_work(organization_id) as work:
            before = await work.articles.find_by_slug(document.slug, document.locale)
            if before is not None and before.shows(document):
                kept = await work.passages.of_article(before.id)
                return DocumentReport(path, Outcome.UNCHANGED, before.id, len(kept))
        if before is None:
            outcome, article = Outcome.CREATED, Article.imported(new_id("art"), document, self._clock())
        else:
            outcome, article = Outcome.UPDATED, copy.copy(before)
            article.publish_document(document, self._clock())
        passages = await index(article, self._embedder)
        async with self._unit_of_work(organization_id) as work:
            await show(work, before, article, passages)
            await work.commit()
        return DocumentReport(path, outcome, article.id, len(passages))


def _refuse_repeated(taken: dict[tuple[str, str], str], document: Document, path: str) -> None:
    first = taken.setdefault((document.slug, document.locale), path)
    if first != path:
        raise documents.Skip(f'Its slug "{document.slug}" is that of {first} in the same import.')

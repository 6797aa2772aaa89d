"""Finding passages by words and by meaning."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import Unavailable
from services.knowledge.domain import Hit, Vector
from services.knowledge.ports import Embedder, UnitOfWorkFactory

logger = logging.getLogger(__name__)

DEFAULT_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Search:
    """A query; an empty locale finds all languages."""

    organization_id: str
    query: str
    limit: int = 0
    locale: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, best first, and the query's vector; the vector is empty when the embedder did not answer."""

    hits: Sequence[Hit]
    vector: Vector


class Searching:
    """The search's use case."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, embedder: Embedder) -> None:
        self._unit_of_work = unit_of_work
        self._embedder = embedder

    async def run(self, search: Search) -> Found:
        """The passages nearest to the query. Without an embedder words alone decide, and similarities are 0."""
        vector = await self._vector(search.query)
        async with self._unit_of_work(search.organization_id) as work:
            hits = await work.passages.search(
                search.query, vector, locale=search.locale, limit=search.limit or DEFAULT_LIMIT
            )
        return Found(hits, vector or ())

    async def _vector(self, query: str) -> Vector | None:
        try:
            [vector] = await self._embedder.embed([query])
        except Unavailable:
            logger.warning("searching by words alone, the embedder does not answer")
            return None
        return vector

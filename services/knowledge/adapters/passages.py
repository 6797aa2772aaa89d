"""The passages of an organization in Postgres."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.knowledge.adapters import search_sql
from services.knowledge.domain import Hit, IndexedPassage, Passage, Vector
from services.knowledge.tables import passages, sentences

INSERT_BATCH = 200


class SqlPassages:
    """The passages of one organization."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def replace(self, article_id: str, indexed: Sequence[IndexedPassage]) -> None:
        """Put these in the place of all passages the article has."""
        await self._session.execute(
            delete(passages).where(
                passages.c.organization_id == self._organization_id, passages.c.article_id == article_id
            )
        )
        for start in range(0, len(indexed), INSERT_BATCH):
            rows = [self._row(each) for each in indexed[start : start + INSERT_BATCH]]
            await self._session.execute(insert(passages), rows)
        vectors = [row for each in indexed for row in self._sentence_rows(each)]
        for start in range(0, len(vectors), INSERT_BATCH):
            await self._session.execute(insert(sentences), vectors[start : start + INSERT_BATCH])

    async def of_article(self, article_id: str) -> Sequence[Passage]:
        """The article's passages in reading order."""
        rows = await self._session.execute(
            select(passages)
            .where(passages.c.organization_id == self._organization_id, passages.c.article_id == article_id)
            .order_by(passages.c.position)
        )
        return [_passage(row) for row in rows]

    async def search(self, query: str, vector: Vector | None, *, locale: str, limit: int) -> Sequence[Hit]:
        """The passages nearest by words and by meaning, best first; by words alone when there is no vector."""
        rows = await search_sql.search(self._session, self._organization_id, query, vector, locale=locale, limit=limit)
        return [
            Hit(_passage(row), float(row.score), float(row.similarity), row.text_rank, row.vector_rank) for row in rows
        ]

    def _row(self, indexed: IndexedPassage) -> dict[str, object]:
        passage = indexed.passage
        return {
            "organization_id": self._organization_id,
            "id": passage.id,
            "article_id": passage.article_id,
            "article_slug": passage.article_slug,
            "article_title": passage.article_title,
            "article_version": passage.article_version,
            "locale": passage.locale,
            "heading": passage.heading,
            "anchor": passage.anchor,
            "text": passage.text,
            "position": passage.position,
            "embedding": list(indexed.embedding),
        }

    def _sentence_rows(self, indexed: IndexedPassage) -> list[dict[str, object]]:
        return [
            {
                "organization_id": self._organization_id,
                "passage_id": indexed.passage.id,
                "position": position,
                "locale": indexed.passage.locale,
                "embedding": list(vector),
            }
            for position, vector in enumerate(indexed.sentences)
        ]


def _passage(row: Row[Any]) -> Passage:
    return Passage(
        id=row.id,
        article_id=row.article_id,
        article_slug=row.article_slug,
        article_title=row.article_title,
        article_version=row.article_version,
        locale=row.locale,
        heading=row.heading,
        anchor=row.anchor,
        text=row.text,
        position=row.position,
    )

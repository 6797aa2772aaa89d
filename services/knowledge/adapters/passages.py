"""Passages in Postgres: full text and vectors, fused by reciprocal rank."""

from collections.abc import Sequence
from typing import Any

from pgvector.sqlalchemy import Vector as VectorType
from sqlalchemy import Row, TextClause, bindparam, delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.knowledge.domain import Hit, IndexedPassage, Passage, Vector
from services.knowledge.tables import DIMENSION, passages

# Reciprocal rank fusion's usual constant: how slowly the weight of a place falls.
FUSION_CONSTANT = 60
# How many passages each way puts forward at least.
CANDIDATES = 50
# Up to so many passages of an organization, comparing all of them takes a few milliseconds and misses none.
EXACT_UP_TO = 5000
# The index looks at this many neighbours at once, and goes on while the organization's filter leaves too few of them.
EF_SEARCH = 120
MAXIMUM_SCANNED = 100_000

INSERT_BATCH = 200

_PREPARE = text(
    """
    select set_config('hnsw.ef_search', :ef_search, true),
           set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.max_scan_tuples', :maximum_scanned, true),
           (select count(*) from (select 1 from passages where organization_id = :organization_id limit :bound) few)
    """
)

# Passages with all of the words come first, as one who types keywords expects; some of them are enough for a question.
_BY_WORDS = """
    select id, row_number() over (order by has_all desc, rank desc, id) as place
    from (
        select id, words @@ all_words as has_all, ts_rank_cd(words, any_word) as rank
        from passages,
             websearch_to_tsquery('english', :query) as all_words,
             cast(replace(cast(plainto_tsquery('english', :query) as text), ' & ', ' | ') as tsquery) as any_word
        where organization_id = :organization_id and (cast(:locale as text) = '' or locale = :locale)
          and words @@ any_word
        order by has_all desc, rank desc, id
        limit :candidates
    ) found
"""

_BY_MEANING_THROUGH_INDEX = """
    select id, row_number() over (order by distance, id) as place
    from (
        select id, embedding <=> :vector as distance from passages
        where organization_id = :organization_id and (cast(:locale as text) = '' or locale = :locale)
        order by embedding <=> :vector limit :candidates
    ) nearest
"""

# "materialized" keeps the planner from the vector index, whose neighbours may nearly all be other organizations'.
_BY_MEANING_EXACTLY = """
    with distances as materialized (
        select id, embedding <=> :vector as distance from passages
        where organization_id = :organization_id and (cast(:locale as text) = '' or locale = :locale)
    )
    select id, row_number() over (order by distance, id) as place
    from (select * from distances order by distance, id limit :candidates) nearest
"""

_NOT_BY_MEANING = "select cast(null as text) as id, cast(null as bigint) as place where false"


def _statement(by_meaning: str, similarity: str) -> TextClause:
    return text(
        f"""
        with by_words as ({_BY_WORDS}), by_meaning as ({by_meaning})
        select {", ".join(column.name for column in passages.columns if column.name not in ("embedding", "words"))},
               coalesce(1.0 / ({FUSION_CONSTANT} + by_words.place), 0)
               + coalesce(1.0 / ({FUSION_CONSTANT} + by_meaning.place), 0) as score,
               {similarity} as similarity,
               coalesce(by_words.place, 0) as text_rank,
               coalesce(by_meaning.place, 0) as vector_rank
        from by_words full join by_meaning using (id) join passages using (id)
        where organization_id = :organization_id
        order by score desc, similarity desc, id
        limit :limit
        """  # noqa: S608 - made of the constants above
    )


_WITH_INDEX = _statement(_BY_MEANING_THROUGH_INDEX, "1 - (embedding <=> :vector)").bindparams(
    bindparam("vector", type_=VectorType(DIMENSION))
)
_EXACT = _statement(_BY_MEANING_EXACTLY, "1 - (embedding <=> :vector)").bindparams(
    bindparam("vector", type_=VectorType(DIMENSION))
)
_WORDS_ONLY = _statement(_NOT_BY_MEANING, "0.0")


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
        values: dict[str, object] = {
            "organization_id": self._organization_id,
            "query": query,
            "locale": locale,
            "limit": limit,
            "candidates": max(CANDIDATES, limit),
        }
        statement = _WORDS_ONLY
        if vector is not None:
            values["vector"] = list(vector)
            statement = _EXACT if await self._is_small() else _WITH_INDEX
        return [
            Hit(_passage(row), float(row.score), float(row.similarity), row.text_rank, row.vector_rank)
            for row in await self._session.execute(statement, values)
        ]

    async def _is_small(self) -> bool:
        row = (
            await self._session.execute(
                _PREPARE,
                {
                    "ef_search": str(EF_SEARCH),
                    "maximum_scanned": str(MAXIMUM_SCANNED),
                    "organization_id": self._organization_id,
                    "bound": EXACT_UP_TO + 1,
                },
            )
        ).one()
        count: int = row[-1]
        return count <= EXACT_UP_TO

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

"""The search in SQL: places by words, by the passage's meaning and by its best sentence's, fused by reciprocal rank.

`docs/adr/0005-hybrid-retrieval.md` has the measurements behind every number here.
"""

from collections.abc import Sequence
from typing import Any

from pgvector.sqlalchemy import Vector as VectorType
from sqlalchemy import Row, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.knowledge.domain import Vector
from services.knowledge.tables import DIMENSION, passages

# A place counts 1 / (10 + place), and by words a little less. Words alone must still be able to carry a passage to the
# top, because an order number or an error code has no meaning that a vector could hold.
FUSION_CONSTANT = 10
WEIGHT_OF_WORDS = 0.7
# Passages each way puts forward, and the sentences looked at to get that many passages.
CANDIDATES = 50
SENTENCES_A_CANDIDATE = 3
# Up to so many passages of an organization, comparing all of them takes a few milliseconds and misses none.
EXACT_UP_TO = 2000
# Words in more passages than this say little and are left out, unless the query has no others.
COMMON_FROM = 1000
# The index looks at this many neighbours at once, and goes on while the organization's filter leaves too few of them.
EF_SEARCH = 160
MAXIMUM_SCANNED = 100_000

_PREPARE = text(
    """
    select set_config('hnsw.ef_search', :ef_search, true),
           set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.max_scan_tuples', :maximum_scanned, true),
           (select count(*) from (select 1 from passages where organization_id = :organization_id limit :bound) few)
    """
)

# Any word of the query is enough. Rare words weigh more, as in BM25; Postgres' own ranking knows no such thing. What
# ts_rank adds is how often the word stands there, and whether in title, heading or text.
_BY_WORDS = r"""
    with words_of_query as (
        select cast('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''' as tsquery) as word
        from unnest(to_tsvector('english', :query))
    ), counted as materialized (
        select word, (
            select count(*) from (
                select 1 from passages
                where organization_id = :organization_id and words @@ word limit :common_from
            ) bounded
        ) as frequency
        from words_of_query
    ), rare as (
        select 1 from counted where frequency between 1 and :common_from - 1
    ), chosen as (
        select word, ln(1 + greatest(cast(:total as bigint) - frequency + 0.5, 0.5) / (frequency + 0.5)) as weight
        from counted
        where frequency < :common_from or not exists (select 1 from rare)
    )
    select id, row_number() over (order by rank desc, id) as place
    from (
        select id, sum(weight * ts_rank('{0.5, 0.5, 0.7, 1.0}', words, word)) as rank
        from chosen join passages on words @@ word
        where organization_id = :organization_id and (cast(:locale as text) = '' or locale = :locale)
        group by id
        order by rank desc, id
        limit :candidates
    ) found
"""

_BY_MEANING_THROUGH_INDEX = """
    select id, row_number() over (order by distance, id) as place
    from (
        select id, embedding <=> :vector as distance from passages
        where organization_id = :organization_id and (cast(:locale as text) = '' or locale = :locale)
        order by embedding <=> :vector
        limit :candidates
    ) nearest
"""

_BY_SENTENCE_THROUGH_INDEX = """
    select id, row_number() over (order by min(distance), id) as place
    from (
        select passage_id as id, embedding <=> :vector as distance from passage_sentences
        where organization_id = :organization_id and (cast(:locale as text) = '' or locale = :locale)
        order by embedding <=> :vector
        limit :sentences
    ) nearest
    group by id
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

_BY_SENTENCE_EXACTLY = """
    with distances as materialized (
        select passage_id as id, min(embedding <=> :vector) as distance from passage_sentences
        where organization_id = :organization_id and (cast(:locale as text) = '' or locale = :locale)
        group by passage_id
    )
    select id, row_number() over (order by distance, id) as place
    from (select * from distances order by distance, id limit :candidates) nearest
"""

_NOTHING = "select cast(null as text) as id, cast(null as bigint) as place where false"


def _statement(by_meaning: str, by_sentence: str, similarity: str) -> TextClause:
    columns = ", ".join(column.name for column in passages.columns if column.name not in {"embedding", "words"})
    return text(
        f"""
        with by_words as ({_BY_WORDS}), by_meaning as ({by_meaning}), by_sentence as ({by_sentence})
        select {columns}, {similarity} as similarity,
               coalesce(cast(:weight_of_words as float) / (:fusion_constant + by_words.place), 0)
               + coalesce(1.0 / (:fusion_constant + by_meaning.place), 0)
               + coalesce(1.0 / (:fusion_constant + by_sentence.place), 0) as score,
               coalesce(by_words.place, 0) as text_rank,
               coalesce(least(by_meaning.place, by_sentence.place), 0) as vector_rank
        from by_words full join by_meaning using (id) full join by_sentence using (id) join passages using (id)
        where organization_id = :organization_id
        order by score desc, similarity desc, id
        limit :limit
        """  # noqa: S608 - made of the constants above
    )


_VECTOR = bindparam("vector", type_=VectorType(DIMENSION))
_SIMILARITY = "1 - (embedding <=> :vector)"
_EXACT = _statement(_BY_MEANING_EXACTLY, _BY_SENTENCE_EXACTLY, _SIMILARITY).bindparams(_VECTOR)
_WITH_INDEX = _statement(_BY_MEANING_THROUGH_INDEX, _BY_SENTENCE_THROUGH_INDEX, _SIMILARITY).bindparams(_VECTOR)
_WORDS_ONLY = _statement(_NOTHING, _NOTHING, "0.0")


async def search(
    session: AsyncSession, organization_id: str, query: str, vector: Vector | None, *, locale: str, limit: int
) -> Sequence[Row[Any]]:
    """Rows of `passages` with `score`, `similarity`, `text_rank` and `vector_rank`, best first."""
    prepared = await session.execute(
        _PREPARE,
        {
            "ef_search": str(EF_SEARCH),
            "maximum_scanned": str(MAXIMUM_SCANNED),
            "organization_id": organization_id,
            "bound": EXACT_UP_TO + 1,
        },
    )
    total: int = prepared.one()[-1]
    candidates = max(CANDIDATES, limit)
    values: dict[str, object] = {
        "organization_id": organization_id,
        "query": query,
        "locale": locale,
        "limit": limit,
        "total": total,
        "candidates": candidates,
        "common_from": COMMON_FROM,
        "weight_of_words": WEIGHT_OF_WORDS,
        "fusion_constant": FUSION_CONSTANT,
    }
    if vector is None:
        return (await session.execute(_WORDS_ONLY, values)).all()
    values["vector"] = list(vector)
    if total <= EXACT_UP_TO:
        return (await session.execute(_EXACT, values)).all()
    values["sentences"] = candidates * SENTENCES_A_CANDIDATE
    return (await session.execute(_WITH_INDEX, values)).all()

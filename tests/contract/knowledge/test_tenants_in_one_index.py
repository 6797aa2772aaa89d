"""The vector index is shared by all organizations; a small one among large ones must find its own all the same."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.common.db import create_sessionmaker
from services.common.ids import new_id
from services.knowledge.adapters import search_sql
from services.knowledge.adapters.work import SqlWork
from services.knowledge.domain import Article, Document, Hit, IndexedPassage, Section, Vector
from tests.contract.knowledge.memory import DIMENSION
from tests.support.postgres import Postgres

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LARGE = 600
SMALL = 12


def near(direction: int, spread: float, chance: random.Random) -> Vector:
    numbers = [chance.gauss(0, spread) for _ in range(DIMENSION)]
    numbers[direction] += 1.0
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]


QUERY = near(0, 0.0, random.Random(1))


@pytest_asyncio.fixture(scope="module")
async def engine(postgres: Postgres) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(postgres.url("knowledge"))
    yield engine
    await engine.dispose()


async def fill(engine: AsyncEngine, count: int, direction: int) -> str:
    organization_id = new_id("org")
    chance = random.Random(count)
    article = Article.imported(new_id("art"), Document("T", "t", "", "en", (), "x"), NOW)
    made = article.passages([Section("H", "h", f"parcel {number}") for number in range(count)])
    indexed = [IndexedPassage(each, near(direction, 0.03, chance), [near(direction, 0.03, chance)]) for each in made]
    async with SqlWork(create_sessionmaker(engine), organization_id) as work:
        await work.articles.add(article)
        await work.passages.replace(article.id, indexed)
        await work.commit()
    return organization_id


@pytest_asyncio.fixture(scope="module")
async def large(engine: AsyncEngine) -> str:
    """Every vector of this organization is nearer to the query than any of the small one's."""
    return await fill(engine, LARGE, direction=0)


@pytest_asyncio.fixture(scope="module")
async def small(engine: AsyncEngine, large: str) -> str:
    return await fill(engine, SMALL, direction=1)


async def search(engine: AsyncEngine, organization_id: str, query: str = "?") -> Sequence[Hit]:
    async with SqlWork(create_sessionmaker(engine), organization_id) as work:
        return await work.passages.search(query, QUERY, locale="", limit=20)


@pytest.mark.parametrize("exact_up_to", [search_sql.EXACT_UP_TO, 0])
async def test_a_small_organization_finds_all_of_its_own(
    engine: AsyncEngine, small: str, monkeypatch: pytest.MonkeyPatch, exact_up_to: int
) -> None:
    monkeypatch.setattr(search_sql, "EXACT_UP_TO", exact_up_to)
    hits = await search(engine, small)
    assert len(hits) == SMALL
    assert sorted(hit.vector_rank for hit in hits)[0] == 1


async def test_a_large_organization_finds_the_nearest_through_the_index(
    engine: AsyncEngine, large: str, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_sql, "EXACT_UP_TO", LARGE - 1)
    through_index = {hit.passage.id for hit in await search(engine, large)}
    monkeypatch.setattr(search_sql, "EXACT_UP_TO", LARGE)
    exactly = {hit.passage.id for hit in await search(engine, large)}
    assert len(through_index & exactly) >= 0.9 * len(exactly)


async def test_words_in_nearly_every_passage_still_match_when_the_query_has_no_others(
    engine: AsyncEngine, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_sql, "COMMON_FROM", LARGE // 2)
    assert any(hit.text_rank for hit in await search(engine, large, "parcels"))
    rare = await search(engine, large, "parcel 123")
    assert [hit.passage.text for hit in rare if hit.text_rank] == ["parcel 123"]


@pytest.mark.parametrize(
    ("index", "statement"),
    [
        ("ix_passages_words", "select id from passages where organization_id = :org and words @@ '''123'''::tsquery"),
        ("ix_passages_embedding", "select id from passages order by embedding <=> cast(:query as vector) limit 5"),
    ],
)
async def test_row_level_security_leaves_the_indexes_in_use(
    engine: AsyncEngine, large: str, index: str, statement: str
) -> None:
    async with SqlWork(create_sessionmaker(engine), large) as work:
        await work.session.execute(text("set local enable_seqscan = off"))
        values = {"org": large, "query": str(list(QUERY))}
        named = {name: value for name, value in values.items() if f":{name}" in statement}
        plan = "\n".join(
            (await work.session.execute(text("explain " + statement.replace("::", "\\:\\:")), named)).scalars()
        )
    assert index in plan

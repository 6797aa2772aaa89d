"""One suite for the repositories, on memory and on Postgres."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import create_async_engine

from services.common.context import IdempotencyKey
from services.common.db import create_sessionmaker
from services.common.errors import RequestIdReused
from services.common.ids import new_id
from services.knowledge.adapters.work import SqlWork
from services.knowledge.domain import Article, Document, IndexedPassage, sort_key
from services.knowledge.errors import ArticleNotFound, ArticleSlugTaken
from services.knowledge.ports import ArticleFilter, ListPosition, UnitOfWorkFactory
from services.knowledge.usecases.indexing import index
from tests.contract.knowledge.memory import Memory, WordVectors
from tests.support.postgres import Postgres

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def work_for(request: pytest.FixtureRequest) -> AsyncIterator[UnitOfWorkFactory]:
    if request.param == "memory":
        yield Memory()
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    engine = create_async_engine(postgres.url("knowledge"))
    yield partial(SqlWork, create_sessionmaker(engine))
    await engine.dispose()


def document(slug: str = "returns", **changes: object) -> Document:
    fields = {
        "title": "Returns",
        "slug": slug,
        "category": "orders",
        "locale": "en",
        "tags": ("money", "back"),
        "markdown": "Send parcels back.\n\n## Deadline\n\nWithin 45 days.",
    }
    return Document(**{**fields, **changes})  # type: ignore[arg-type]


async def put(work_for: UnitOfWorkFactory, organization_id: str, article: Article) -> Article:
    async with work_for(organization_id) as work:
        await work.articles.add(article)
        await work.passages.replace(article.id, await index(article, WordVectors()))
        await work.commit()
    return article


async def test_an_article_comes_back_as_it_was_put(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    article = Article.imported(new_id("art"), document(), NOW)
    article.edit(NOW + timedelta(hours=1), title="Sending back", category="returns")
    await put(work_for, organization_id, article)
    async with work_for(organization_id) as work:
        assert await work.articles.get(article.id, lock=True) == article
        assert await work.articles.find_by_slug("returns", "en") == article
        assert await work.articles.find_by_slug("returns", "de") is None
        with pytest.raises(ArticleNotFound):
            await work.articles.get("art_unknown")


async def test_changes_are_kept_and_old_versions_do_not_come_back(
    work_for: UnitOfWorkFactory, organization_id: str
) -> None:
    article = await put(work_for, organization_id, Article.drafted(new_id("art"), document(), NOW))
    article.edit(NOW, markdown="New.", tags=())
    article.publish(NOW)
    async with work_for(organization_id) as work:
        await work.articles.save(article)
        await work.commit()
    async with work_for(organization_id) as work:
        assert await work.articles.get(article.id) == article
    article.unpublish(NOW)
    async with work_for(organization_id) as work:
        await work.articles.save(article)
        await work.commit()
    async with work_for(organization_id) as work:
        kept = await work.articles.get(article.id)
    assert kept == article
    assert kept.published is None


async def test_leaving_without_commit_undoes_everything(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    article = Article.imported(new_id("art"), document(), NOW)
    async with work_for(organization_id) as work:
        await work.articles.add(article)
        await work.events.article_published(article)
    async with work_for(organization_id) as work:
        assert await work.articles.find_by_slug("returns", "en") is None


async def test_a_slug_is_taken_once_a_locale(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    await put(work_for, organization_id, Article.drafted(new_id("art"), document(), NOW))
    await put(work_for, organization_id, Article.drafted(new_id("art"), document(locale="de"), NOW))
    with pytest.raises(ArticleSlugTaken):
        await put(work_for, organization_id, Article.drafted(new_id("art"), document(), NOW))


async def test_another_organization_sees_nothing(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    article = await put(work_for, organization_id, Article.imported(new_id("art"), document(), NOW))
    async with work_for(new_id("org")) as work:
        with pytest.raises(ArticleNotFound):
            await work.articles.get(article.id)
        assert await work.articles.find_by_slug("returns", "en") is None
        assert not await work.articles.list(ArticleFilter(), None, 10)
        assert not await work.passages.of_article(article.id)
        assert not await work.passages.search("deadline", WordVectors.vector("deadline"), locale="", limit=5)
        assert not await work.passages.search("deadline", None, locale="", limit=5)


async def test_lists_go_by_title_filter_and_continue(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    for title, category, locale in (
        ("beta", "a", "en"),
        ("Alpha", "b", "en"),
        ("Ärger", "a", "de"),
        ("alpha", "a", "en"),
        ("Gamma", "a", "en"),
    ):
        new = document(slug=f"{title.encode().hex()}", title=title, category=category, locale=locale)
        await put(work_for, organization_id, Article.imported(new_id("art"), new, NOW))
    await put(work_for, organization_id, Article.drafted(new_id("art"), document(slug="d", title="Draft"), NOW))

    async def titles(chosen: ArticleFilter, after: ListPosition | None = None, limit: int = 10) -> list[str]:
        async with work_for(organization_id) as work:
            return [article.title for article in await work.articles.list(chosen, after, limit)]

    assert await titles(ArticleFilter()) == ["Alpha", "alpha", "beta", "Draft", "Gamma", "Ärger"]
    assert await titles(ArticleFilter(published_only=True)) == ["Alpha", "alpha", "beta", "Gamma", "Ärger"]
    assert await titles(ArticleFilter(category="a", locale="en")) == ["alpha", "beta", "Gamma"]
    async with work_for(organization_id) as work:
        [first, second] = await work.articles.list(ArticleFilter(), None, 2)
    assert second.published is not None
    assert second.published.markdown == ""
    after = ListPosition(sort_key(second.title), second.id)
    assert await titles(ArticleFilter(), after, 2) == ["beta", "Draft"]
    assert first.title == "Alpha"


async def test_passages_are_replaced_and_read_in_order(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    article = await put(work_for, organization_id, Article.imported(new_id("art"), document(), NOW))
    async with work_for(organization_id) as work:
        before = await work.passages.of_article(article.id)
    assert [(each.heading, each.anchor, each.position) for each in before] == [
        ("Returns", "", 0),
        ("Deadline", "deadline", 1),
    ]
    article.publish_document(document(markdown="Send parcels back.\n\n## Deadline\n\nWithin 60 days."), NOW)
    async with work_for(organization_id) as work:
        await work.articles.save(article)
        await work.passages.replace(article.id, await index(article, WordVectors()))
        await work.commit()
    async with work_for(organization_id) as work:
        after = await work.passages.of_article(article.id)
        assert [each.text for each in after] == ["Send parcels back.", "Within 60 days."]
        assert after[0].id == before[0].id
        assert after[1].id != before[1].id
        await work.passages.replace(article.id, [])
        assert not await work.passages.of_article(article.id)


SHOP = {
    "delivery": "## Express parcels\n\nCouriers bring express parcels within one day.",
    "payment": "## Instalments\n\nCustomers pay in three instalments without interest.",
    "warranty": "## Zips and seams\n\nBroken zips are repaired free of charge for five years.",
}


@pytest.mark.parametrize(
    ("query", "heading"),
    [
        ("express parcels", "Express parcels"),
        ("How do I get a broken zip repaired, please?", "Zips and seams"),
        ("is there interest on instalments", "Instalments"),
        ("it's a 'quoted' \"zips\\ & seams\" | !:* repaired (free", "Zips and seams"),
    ],
)
@pytest.mark.parametrize("by_meaning", [True, False])
async def test_search_finds_the_passage(
    work_for: UnitOfWorkFactory, organization_id: str, query: str, heading: str, by_meaning: bool
) -> None:
    for slug, markdown in SHOP.items():
        new = document(slug=slug, title=slug.title(), markdown=markdown)
        await put(work_for, organization_id, Article.imported(new_id("art"), new, NOW))
    vector = WordVectors.vector(query) if by_meaning else None
    async with work_for(organization_id) as work:
        hits = await work.passages.search(query, vector, locale="en", limit=2)
        assert not await work.passages.search(query, vector, locale="fr", limit=2)
    assert hits[0].passage.heading == heading
    assert hits[0].text_rank == 1
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(hits) <= 2
    if by_meaning:
        assert hits[0].vector_rank == 1
        assert 0 < hits[0].similarity <= 1
    else:
        assert (hits[0].vector_rank, hits[0].similarity) == (0, 0)


async def test_a_query_of_no_words_finds_by_meaning_alone(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    await put(work_for, organization_id, Article.imported(new_id("art"), document(), NOW))
    async with work_for(organization_id) as work:
        assert not await work.passages.search("??? …", None, locale="", limit=5)
        assert len(await work.passages.search("??? …", WordVectors.vector("x"), locale="", limit=5)) == 2


async def test_a_request_id_stands_for_what_it_made(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    key = IdempotencyKey("request-1", "/knowledge/Create", b"one")
    async with work_for(organization_id) as work:
        assert await work.requests.claim(key, "art_1") is None
        await work.commit()
    async with work_for(organization_id) as work:
        assert await work.requests.claim(key, "art_2") == "art_1"
        with pytest.raises(RequestIdReused):
            await work.requests.claim(IdempotencyKey("request-1", "/knowledge/Create", b"two"), "art_3")


async def test_passages_without_sentences_are_found_too(work_for: UnitOfWorkFactory, organization_id: str) -> None:
    article = Article.imported(new_id("art"), document(), NOW)
    indexed = [IndexedPassage(each.passage, each.embedding) for each in await index(article, WordVectors())]
    async with work_for(organization_id) as work:
        await work.articles.add(article)
        await work.passages.replace(article.id, indexed)
        await work.commit()
    async with work_for(organization_id) as work:
        hits = await work.passages.search("deadline", WordVectors.vector("deadline"), locale="", limit=1)
    assert hits[0].passage.heading == "Deadline"

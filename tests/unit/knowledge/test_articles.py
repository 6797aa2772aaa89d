"""Articles: the domain's rules and the use cases, with the ports in memory."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.context import IdempotencyKey
from services.common.errors import Conflict, InvalidInput, RequestIdReused, Unavailable
from services.common.pagination import Filters, InvalidPageToken, encode
from services.knowledge.domain import MAXIMUM_PASSAGES, Article, Document, Section
from services.knowledge.errors import (
    ArticleNotFound,
    ArticleSlugTaken,
    EmptyArticle,
    NothingToPublish,
    TooManyPassages,
)
from services.knowledge.usecases.articles import Articles, CreateArticle, ListArticles, ReadArticle, UpdateArticle
from services.knowledge.usecases.indexing import MAXIMUM_SENTENCES, index
from tests.contract.knowledge.memory import Memory, WordVectors

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORG = "org_1"


class Desk:
    """The use cases with everything behind them."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.embedder = WordVectors()
        self.now = NOW
        self.articles = Articles(self.memory, self.embedder, lambda: self.now)

    async def create(self, slug: str = "returns", request_id: str = "", **changes: object) -> Article:
        key = IdempotencyKey(request_id or f"make-{slug}", "/x/CreateArticle", slug.encode())
        return await self.articles.create(CreateArticle(ORG, key, document(slug, **changes)))

    async def read(self, article: Article, *, writer: bool = True) -> Article:
        found, _ = await self.articles.read(ReadArticle(ORG, writer, article_id=article.id))
        return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


def document(slug: str = "returns", **changes: object) -> Document:
    fields = {
        "title": slug.title(),
        "slug": slug,
        "category": "orders",
        "locale": "en",
        "tags": (),
        "markdown": "Within 45 days.\n\n## Abroad\n\nWithin 60 days.",
    }
    return Document(**{**fields, **changes})  # type: ignore[arg-type]


async def test_a_new_article_is_a_draft_that_readers_do_not_see(desk: Desk) -> None:
    article = await desk.create()
    assert article.draft is not None
    assert (article.draft.number, article.published) == (1, None)
    assert await desk.read(article) == article
    with pytest.raises(ArticleNotFound):
        await desk.read(article, writer=False)
    with pytest.raises(ArticleNotFound):
        await desk.articles.read(ReadArticle(ORG, is_writer=False, slug="returns"))


async def test_publishing_shows_the_draft_with_its_passages_and_tells_others(desk: Desk) -> None:
    made = await desk.create()
    desk.now += timedelta(hours=1)
    article = await desk.articles.publish(ORG, made.id)
    assert article.published is not None
    assert (article.published.number, article.published.published_at, article.draft) == (1, desk.now, None)
    seen, passages = await desk.articles.read(ReadArticle(ORG, is_writer=False, slug="returns"))
    assert seen.published == article.published
    assert [(each.heading, each.url) for each in passages] == [
        ("Returns", "/help/returns"),
        ("Abroad", "/help/returns#abroad"),
    ]
    assert desk.memory.organizations[ORG].events == [("article_published", made.id)]
    with pytest.raises(NothingToPublish):
        await desk.articles.publish(ORG, made.id)


async def test_readers_keep_the_published_text_while_a_draft_is_written(desk: Desk) -> None:
    made = await desk.create()
    await desk.articles.publish(ORG, made.id)
    edited = await desk.articles.update(UpdateArticle(ORG, made.id, title="Sending back", category="c", tags=("t",)))
    assert edited.draft is not None
    assert edited.published is not None
    assert (edited.draft.number, edited.draft.title, edited.title) == (2, "Sending back", "Returns")
    assert edited.draft.markdown == edited.published.markdown
    assert (edited.category, edited.tags) == ("c", ("t",))
    again = await desk.articles.update(UpdateArticle(ORG, made.id, markdown="New."))
    assert again.draft is not None
    assert (again.draft.number, again.draft.title, again.draft.markdown) == (2, "Sending back", "New.")
    reader = await desk.read(made, writer=False)
    assert (reader.draft, reader.title) == (None, "Returns")
    published = await desk.articles.publish(ORG, made.id)
    assert published.title == "Sending back"


async def test_unpublishing_takes_it_from_readers_and_keeps_the_text(desk: Desk) -> None:
    made = await desk.create()
    await desk.articles.publish(ORG, made.id)
    article = await desk.articles.unpublish(ORG, made.id)
    assert article.published is None
    assert article.draft is not None
    assert article.draft.number == 2
    assert desk.memory.organizations[ORG].passages[made.id] == []
    assert desk.memory.organizations[ORG].events[-1] == ("article_unpublished", made.id)
    with pytest.raises(ArticleNotFound):
        await desk.read(made, writer=False)
    assert await desk.articles.unpublish(ORG, made.id) == article
    assert len(desk.memory.organizations[ORG].events) == 2
    assert (await desk.articles.publish(ORG, made.id)).published is not None


async def test_unpublishing_leaves_a_draft_alone(desk: Desk) -> None:
    made = await desk.create()
    await desk.articles.publish(ORG, made.id)
    edited = await desk.articles.update(UpdateArticle(ORG, made.id, markdown="Later."))
    assert (await desk.articles.unpublish(ORG, made.id)).draft == edited.draft


@pytest.mark.parametrize("failure", ["embedder", "empty", "changed"])
async def test_publishing_writes_nothing_when_it_fails(desk: Desk, failure: str) -> None:
    made = await desk.create(markdown="<!-- nothing -->" if failure == "empty" else "Text.")
    before = desk.memory.organizations[ORG]
    expected: type[Exception] = {"embedder": Unavailable, "empty": EmptyArticle, "changed": Conflict}[failure]
    if failure == "embedder":
        desk.embedder.is_down = True
    if failure == "changed":
        desk.articles = Articles(desk.memory, _ChangesMeanwhile(desk, made), lambda: NOW)
    with pytest.raises(expected):
        await desk.articles.publish(ORG, made.id)
    after = desk.memory.organizations[ORG]
    assert (after.passages, after.events) == (before.passages, before.events)
    assert (await desk.read(made)).published is None


class _ChangesMeanwhile(WordVectors):
    def __init__(self, desk: Desk, article: Article) -> None:
        super().__init__()
        self._desk, self._article = desk, article

    async def embed(self, texts):  # type: ignore[no-untyped-def]
        other = Articles(self._desk.memory, WordVectors(), lambda: NOW)
        await other.update(UpdateArticle(ORG, self._article.id, markdown="Changed."))
        return await super().embed(texts)


async def test_a_repeated_request_makes_one_article(desk: Desk) -> None:
    first = await desk.create(request_id="same-request")
    assert await desk.create(request_id="same-request") == first
    assert len(desk.memory.organizations[ORG].articles) == 1
    with pytest.raises(RequestIdReused):
        await desk.create("other", request_id="same-request")
    with pytest.raises(ArticleSlugTaken):
        await desk.create(request_id="new-request")


async def test_another_organization_finds_nothing(desk: Desk) -> None:
    made = await desk.create()
    for call in (
        desk.articles.publish("org_2", made.id),
        desk.articles.unpublish("org_2", made.id),
        desk.articles.update(UpdateArticle("org_2", made.id, title="x")),
        desk.articles.read(ReadArticle("org_2", is_writer=True, article_id=made.id)),
    ):
        with pytest.raises(ArticleNotFound):
            await call


async def test_lists_come_in_pages_bound_to_their_filters(desk: Desk) -> None:
    for slug in ("c", "a", "b"):
        await desk.create(slug)
    published = await desk.create("d")
    await desk.articles.publish(ORG, published.id)
    first = await desk.articles.list(ListArticles(ORG, is_writer=True, page_size=3))
    assert [article.slug for article in first.articles] == ["a", "b", "c"]
    rest = await desk.articles.list(ListArticles(ORG, is_writer=True, page_size=3, page_token=first.next_page_token))
    assert ([article.slug for article in rest.articles], rest.next_page_token) == (["d"], "")
    reader = await desk.articles.list(ListArticles(ORG, is_writer=False))
    assert [article.slug for article in reader.articles] == ["d"]
    filters: Filters = {"category": "", "locale": "", "writer": True}
    for token in ("nonsense", encode({"title": 1, "id": "x"}, filters), encode({}, filters)):
        with pytest.raises(InvalidPageToken):
            await desk.articles.list(ListArticles(ORG, is_writer=True, page_token=token))
    with pytest.raises(InvalidPageToken):
        await desk.articles.list(ListArticles(ORG, is_writer=True, category="x", page_token=first.next_page_token))


async def test_page_tokens_stay_short_enough_for_any_title(desk: Desk) -> None:
    for slug in ("a", "b"):
        await desk.create(slug, title="😀" * 200)
    page = await desk.articles.list(ListArticles(ORG, is_writer=True, page_size=1))
    assert len(page.next_page_token) <= 1024
    assert (await desk.articles.list(ListArticles(ORG, is_writer=True, page_token=page.next_page_token))).articles[
        0
    ].slug == "b"


def test_passage_ids_follow_the_content() -> None:
    article = Article.imported("art_1", document(), NOW)
    same = Section("H", "h", "Text.")
    ids = [each.id for each in article.passages([same, same, Section("H", "h", "Other.")])]
    assert len(set(ids)) == 3
    article.publish_document(document(title="New title"), NOW)
    assert [each.id for each in article.passages([Section("H", "moved", "Text."), same])] == ids[:2]
    assert Article.imported("art_2", document(), NOW).passages([same])[0].id != ids[0]
    assert Article.drafted("art_3", document(), NOW).passages([same]) == []


def test_too_many_passages_are_refused() -> None:
    article = Article.imported("art_1", document(), NOW)
    sections = [Section("H", "h", str(number)) for number in range(MAXIMUM_PASSAGES + 1)]
    with pytest.raises(TooManyPassages) as refused:
        article.passages(sections)
    assert isinstance(refused.value, InvalidInput)
    assert refused.value.violations[0][0] == "markdown"


async def test_passages_are_embedded_with_title_and_heading_and_their_sentences() -> None:
    embedder = WordVectors()
    article = Article.imported(
        "art_1", document(markdown="Top.\n\n## Abroad\n\nSixty days at least. More than at home."), NOW
    )
    indexed = await index(article, embedder)
    assert embedder.calls == [
        ["Returns: Top.", "Returns — Abroad: Sixty days at least. More than at home."],
        ["Top.", "Sixty days at least.", "More than at home."],
    ]
    assert [len(each.sentences) for each in indexed] == [1, 2]
    assert await index(Article.drafted("art_2", document(), NOW), embedder) == []


async def test_a_very_long_article_is_found_by_its_passages_alone() -> None:
    markdown = " ".join(f"This is sentence number {number}." for number in range(MAXIMUM_SENTENCES + 1))
    embedder = WordVectors()
    indexed = await index(Article.imported("art_1", document(markdown=markdown), NOW), embedder)
    assert all(each.sentences == [] for each in indexed)
    assert sum(map(len, embedder.calls)) == len(indexed)

"""Writing, publishing and reading articles."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from services.common import pagination
from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.ids import new_id
from services.knowledge.domain import DEFAULT_LOCALE, Article, Document, Passage, sort_key
from services.knowledge.errors import ArticleNotFound
from services.knowledge.ports import ArticleFilter, Embedder, ListPosition, UnitOfWorkFactory
from services.knowledge.usecases.indexing import index, show

DEFAULT_PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class CreateArticle:
    """A new article with its draft."""

    organization_id: str
    key: IdempotencyKey
    document: Document


@dataclass(frozen=True, slots=True)
class UpdateArticle:
    """Changes to a draft and to the article's own fields; None leaves a field as it is."""

    organization_id: str
    article_id: str
    title: str | None = None
    markdown: str | None = None
    category: str | None = None
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ReadArticle:
    """One article by identifier, or by slug and locale when the identifier is empty."""

    organization_id: str
    is_writer: bool
    article_id: str = ""
    slug: str = ""
    locale: str = ""


@dataclass(frozen=True, slots=True)
class ListArticles:
    """A page of articles by title."""

    organization_id: str
    is_writer: bool
    category: str = ""
    locale: str = ""
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class ArticlePage:
    """Articles without their Markdown, and the token of what follows; empty at the end."""

    articles: Sequence[Article]
    next_page_token: str


class Articles:
    """The articles' use cases."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, embedder: Embedder, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._embedder = embedder
        self._clock = clock

    async def create(self, command: CreateArticle) -> Article:
        """Make an article with a draft; the same request_id gives the same article. Raises ArticleSlugTaken."""
        article = Article.drafted(new_id("art"), command.document, self._clock())
        async with self._unit_of_work(command.organization_id) as work:
            made_before = await work.requests.claim(command.key, article.id)
            if made_before is not None:
                return await work.articles.get(made_before)
            await work.articles.add(article)
            await work.commit()
        return article

    async def update(self, command: UpdateArticle) -> Article:
        """Change the draft and the article's fields. Raises ArticleNotFound."""
        async with self._unit_of_work(command.organization_id) as work:
            article = await work.articles.get(command.article_id, lock=True)
            article.edit(
                self._clock(),
                title=command.title,
                markdown=command.markdown,
                category=command.category,
                tags=command.tags,
            )
            await work.articles.save(article)
            await work.commit()
        return article

    async def publish(self, organization_id: str, article_id: str) -> Article:
        """Show the draft to readers and search.

        Raises ArticleNotFound, NothingToPublish, InvalidInput when the text makes no passages, Unavailable when the
        embedder does not answer, and Conflict when the article was changed while its passages were embedded.
        """
        async with self._unit_of_work(organization_id) as work:
            before = await work.articles.get(article_id)
        article = copy.copy(before)
        article.publish(self._clock())
        passages = await index(article, self._embedder)
        async with self._unit_of_work(organization_id) as work:
            await show(work, before, article, passages)
            await work.commit()
        return article

    async def unpublish(self, organization_id: str, article_id: str) -> Article:
        """Take the article away from readers and search. Raises ArticleNotFound."""
        async with self._unit_of_work(organization_id) as work:
            article = await work.articles.get(article_id, lock=True)
            if article.published is not None:
                article.unpublish(self._clock())
                await work.articles.save(article)
                await work.passages.replace(article.id, [])
                await work.events.article_unpublished(article)
                await work.commit()
        return article

    async def read(self, query: ReadArticle) -> tuple[Article, Sequence[Passage]]:
        """An article as the person may see it, with the passages of its published version. Raises ArticleNotFound."""
        async with self._unit_of_work(query.organization_id) as work:
            if query.article_id:
                found = await work.articles.get(query.article_id)
            else:
                by_slug = await work.articles.find_by_slug(query.slug, query.locale or DEFAULT_LOCALE)
                if by_slug is None:
                    raise ArticleNotFound(resource_name=query.slug)
                found = by_slug
            article = found.seen_by(writer=query.is_writer)
            passages = await work.passages.of_article(article.id)
        return article, passages

    async def list(self, query: ListArticles) -> ArticlePage:
        """A page of articles. Raises InvalidPageToken."""
        chosen = ArticleFilter(query.category, query.locale, published_only=not query.is_writer)
        filters: pagination.Filters = {
            "category": query.category,
            "locale": query.locale,
            "writer": query.is_writer,
        }
        after = _position(query.page_token, filters)
        size = query.page_size or DEFAULT_PAGE_SIZE
        async with self._unit_of_work(query.organization_id) as work:
            found = await work.articles.list(chosen, after, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = pagination.encode({"title": sort_key(last.title), "id": last.id}, filters)
        return ArticlePage([article.seen_by(writer=query.is_writer) for article in found[:size]], token)


def _position(token: str, filters: pagination.Filters) -> ListPosition | None:
    if not token:
        return None
    cursor = pagination.decode(token, filters)
    title, article_id = cursor.get("title"), cursor.get("id")
    if not isinstance(title, str) or not isinstance(article_id, str):
        raise pagination.InvalidPageToken
    return ListPosition(title, article_id)

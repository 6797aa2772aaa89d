"""Articles and their versions in Postgres."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.knowledge.domain import Article, Version, sort_key
from services.knowledge.errors import ArticleNotFound, ArticleSlugTaken
from services.knowledge.ports import ArticleFilter, ListPosition
from services.knowledge.tables import articles, versions

_published = versions.alias("published")
_draft = versions.alias("draft")


class SqlArticles:
    """The articles of one organization."""

    def __init__(self, session: AsyncSession, organization_id: str) -> None:
        self._session = session
        self._organization_id = organization_id

    async def get(self, article_id: str, *, lock: bool = False) -> Article:
        """One article with its texts. Raises ArticleNotFound."""
        found = await self._one(self._select().where(articles.c.id == article_id), lock=lock)
        if found is None:
            raise ArticleNotFound(resource_name=article_id)
        return found

    async def find_by_slug(self, slug: str, locale: str) -> Article | None:
        """The article of that name, or None."""
        return await self._one(self._select().where(articles.c.slug == slug, articles.c.locale == locale), lock=False)

    async def list(self, chosen: ArticleFilter, after: ListPosition | None, limit: int) -> Sequence[Article]:
        """Articles in the order of their titles, without the Markdown of their versions."""
        statement = self._select(with_markdown=False).order_by(articles.c.sort_key, articles.c.id).limit(limit)
        if chosen.category:
            statement = statement.where(articles.c.category == chosen.category)
        if chosen.locale:
            statement = statement.where(articles.c.locale == chosen.locale)
        if chosen.published_only:
            statement = statement.where(articles.c.published_number.is_not(None))
        if after is not None:
            statement = statement.where(
                tuple_(articles.c.sort_key, articles.c.id) > tuple_(after.sort_key, after.article_id)
            )
        return [_article(row) for row in await self._session.execute(statement)]

    async def add(self, article: Article) -> None:
        """Keep a new article. Raises ArticleSlugTaken."""
        statement = insert(articles).values(**self._columns(article), id=article.id, created_at=article.created_at)
        unless_taken = statement.on_conflict_do_nothing(index_elements=["organization_id", "slug", "locale"])
        added = await self._session.execute(unless_taken.returning(articles.c.id))
        if added.first() is None:
            raise ArticleSlugTaken(metadata={"slug": article.slug, "locale": article.locale})
        await self._save_versions(article)

    async def save(self, article: Article) -> None:
        """Keep the changes of an article."""
        await self._session.execute(
            update(articles)
            .where(articles.c.organization_id == self._organization_id, articles.c.id == article.id)
            .values(**self._columns(article))
        )
        await self._save_versions(article)

    def _columns(self, article: Article) -> dict[str, object]:
        return {
            "organization_id": self._organization_id,
            "slug": article.slug,
            "locale": article.locale,
            "category": article.category,
            "tags": list(article.tags),
            "sort_key": sort_key(article.title),
            "published_number": article.published.number if article.published else None,
            "draft_number": article.draft.number if article.draft else None,
            "last_number": article.last_number,
            "indexed_hash": article.indexed_hash,
            "updated_at": article.updated_at,
        }

    async def _save_versions(self, article: Article) -> None:
        for version in (article.published, article.draft):
            if version is None:
                continue
            changing = {
                "title": version.title,
                "markdown": version.markdown,
                "created_at": version.created_at,
                "published_at": version.published_at,
            }
            statement = insert(versions).values(
                organization_id=self._organization_id, article_id=article.id, number=version.number, **changing
            )
            await self._session.execute(
                statement.on_conflict_do_update(
                    index_elements=["organization_id", "article_id", "number"], set_=changing
                )
            )

    def _select(self, *, with_markdown: bool = True) -> Select[Any]:
        columns = []
        for alias in (_published, _draft):
            markdown = alias.c.markdown if with_markdown else literal("")
            columns += [
                alias.c.title.label(f"{alias.name}_title"),
                markdown.label(f"{alias.name}_markdown"),
                alias.c.created_at.label(f"{alias.name}_created_at"),
                alias.c.published_at.label(f"{alias.name}_published_at"),
            ]
        joined = articles
        source = joined.outerjoin(
            _published,
            (_published.c.organization_id == articles.c.organization_id)
            & (_published.c.article_id == articles.c.id)
            & (_published.c.number == articles.c.published_number),
        ).outerjoin(
            _draft,
            (_draft.c.organization_id == articles.c.organization_id)
            & (_draft.c.article_id == articles.c.id)
            & (_draft.c.number == articles.c.draft_number),
        )
        return select(articles, *columns).select_from(source).where(articles.c.organization_id == self._organization_id)

    async def _one(self, statement: Select[Any], *, lock: bool) -> Article | None:
        if lock:
            # Joined rows may be those from before a wait for the lock; reading them again after it is simple and right.
            key = (await self._session.execute(statement.with_only_columns(articles.c.id))).scalar()
            await self._session.execute(
                select(articles.c.id)
                .where(articles.c.organization_id == self._organization_id, articles.c.id == key)
                .with_for_update()
            )
        row = (await self._session.execute(statement)).one_or_none()
        return None if row is None else _article(row)


def _article(row: Row[Any]) -> Article:
    return Article(
        id=row.id,
        slug=row.slug,
        locale=row.locale,
        category=row.category,
        tags=tuple(row.tags),
        created_at=row.created_at,
        updated_at=row.updated_at,
        published=_version(row, "published"),
        draft=_version(row, "draft"),
        last_number=row.last_number,
        indexed_hash=row.indexed_hash,
    )


def _version(row: Row[Any], name: str) -> Version | None:
    columns = row._mapping
    number: int | None = columns[f"{name}_number"]
    if number is None:
        return None
    return Version(
        number=number,
        title=columns[f"{name}_title"],
        markdown=columns[f"{name}_markdown"],
        created_at=columns[f"{name}_created_at"],
        published_at=columns[f"{name}_published_at"],
    )

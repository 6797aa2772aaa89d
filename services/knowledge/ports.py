"""What the use cases need from outside."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from services.common.context import IdempotencyKey
from services.knowledge.domain import Article, Hit, IndexedPassage, Passage, Vector


@dataclass(frozen=True, slots=True)
class ArticleFilter:
    """Which articles to list; an empty field lets all pass."""

    category: str = ""
    locale: str = ""
    published_only: bool = False


@dataclass(frozen=True, slots=True)
class ListPosition:
    """Where a page begins: after the article with this sort key and identifier."""

    sort_key: str
    article_id: str


class ArticleRepository(Protocol):
    """The articles of one organization."""

    async def get(self, article_id: str, *, lock: bool = False) -> Article:
        """One article with its texts; `lock` keeps others from changing it meanwhile. Raises ArticleNotFound."""

    async def find_by_slug(self, slug: str, locale: str) -> Article | None:
        """The article of that name, or None."""

    async def list(self, chosen: ArticleFilter, after: ListPosition | None, limit: int) -> Sequence[Article]:
        """Articles in the order of their titles, without the Markdown of their versions."""

    async def add(self, article: Article) -> None:
        """Keep a new article. Raises ArticleSlugTaken."""

    async def save(self, article: Article) -> None:
        """Keep the changes of an article."""


class PassageIndex(Protocol):
    """What can be found in one organization: the passages of its published articles."""

    async def replace(self, article_id: str, passages: Sequence[IndexedPassage]) -> None:
        """Put these in the place of all passages the article has."""

    async def of_article(self, article_id: str) -> Sequence[Passage]:
        """The article's passages in reading order."""

    async def search(self, query: str, vector: Vector | None, *, locale: str, limit: int) -> Sequence[Hit]:
        """The passages nearest by words and by meaning, best first; by words alone when there is no vector."""


class Events(Protocol):
    """Tells others, once the transaction is committed."""

    async def article_published(self, article: Article) -> None:
        """Readers and search see a new version."""

    async def article_unpublished(self, article: Article) -> None:
        """Readers and search no longer see the article."""


class Requests(Protocol):
    """The request_ids seen."""

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        """None if the key is new; else what it made before. Raises RequestIdReused."""


class UnitOfWork(Protocol):
    """One transaction of one organization; leaving it without commit undoes everything."""

    @property
    def articles(self) -> ArticleRepository: ...

    @property
    def passages(self) -> PassageIndex: ...

    @property
    def events(self) -> Events: ...

    @property
    def requests(self) -> Requests: ...

    async def commit(self) -> None: ...


UnitOfWorkFactory = Callable[[str], AbstractAsyncContextManager[UnitOfWork]]


class Embedder(Protocol):
    """Texts to vectors."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector of length one a text, in order. Raises errors.Unavailable."""

"""The ports in memory, for the unit tests and as the first of the two that the contract suite runs on."""

import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from services.common.context import IdempotencyKey
from services.common.errors import RequestIdReused, Unavailable
from services.knowledge.domain import Article, Hit, IndexedPassage, Passage, Vector, Version, sort_key
from services.knowledge.errors import ArticleNotFound, ArticleSlugTaken
from services.knowledge.ports import ArticleFilter, ListPosition, UnitOfWork

DIMENSION = 384


class WordVectors:
    """A deterministic stand-in for the embedder: texts are near when they share words; no meaning beyond that."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.is_down = False

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.calls.append(list(texts))
        if self.is_down:
            raise Unavailable(retry_after_seconds=1)
        return [self.vector(text) for text in texts]

    @staticmethod
    def vector(text: str) -> Vector:
        numbers = [0.001] * DIMENSION
        for word in text.lower().split():
            place = sum(ord(character) * 31**index for index, character in enumerate(word.strip(".,:;?!")))
            numbers[place % DIMENSION] += 1.0
        length = sum(number * number for number in numbers) ** 0.5
        return [number / length for number in numbers]


@dataclass
class Stored:
    """What one organization has."""

    articles: dict[str, Article] = field(default_factory=dict)
    passages: dict[str, list[IndexedPassage]] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    requests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)


class Memory:
    """All organizations; calling it opens a transaction of one."""

    def __init__(self) -> None:
        self.organizations: dict[str, Stored] = {}

    @asynccontextmanager
    async def __call__(self, organization_id: str) -> AsyncIterator[UnitOfWork]:
        work = MemoryWork(copy.deepcopy(self.organizations.get(organization_id, Stored())))
        yield work
        if work.committed is not None:
            self.organizations[organization_id] = work.committed


class MemoryWork:
    """One transaction."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.committed: Stored | None = None
        self.articles = MemoryArticles(stored)
        self.passages = MemoryPassages(stored)
        self.events = MemoryEvents(stored)
        self.requests = MemoryRequests(stored)

    async def commit(self) -> None:
        self.committed = copy.deepcopy(self._stored)


class MemoryArticles:
    def __init__(self, stored: Stored) -> None:
        self._articles = stored.articles

    async def get(self, article_id: str, *, lock: bool = False) -> Article:
        if article_id not in self._articles:
            raise ArticleNotFound(resource_name=article_id)
        return copy.copy(self._articles[article_id])

    async def find_by_slug(self, slug: str, locale: str) -> Article | None:
        found = (each for each in self._articles.values() if (each.slug, each.locale) == (slug, locale))
        return copy.copy(next(found, None))

    async def list(self, chosen: ArticleFilter, after: ListPosition | None, limit: int) -> Sequence[Article]:
        found = sorted(
            (
                each
                for each in self._articles.values()
                if (not chosen.category or each.category == chosen.category)
                and (not chosen.locale or each.locale == chosen.locale)
                and (each.published is not None or not chosen.published_only)
            ),
            key=_place,
        )
        start = (after.sort_key, after.article_id) if after else ("", "")
        return [_without_markdown(each) for each in found if _place(each) > start][:limit]

    async def add(self, article: Article) -> None:
        if await self.find_by_slug(article.slug, article.locale) is not None:
            raise ArticleSlugTaken
        self._articles[article.id] = copy.copy(article)

    async def save(self, article: Article) -> None:
        self._articles[article.id] = copy.copy(article)


class MemoryPassages:
    def __init__(self, stored: Stored) -> None:
        self._passages = stored.passages

    async def replace(self, article_id: str, passages: Sequence[IndexedPassage]) -> None:
        self._passages[article_id] = list(passages)

    async def of_article(self, article_id: str) -> Sequence[Passage]:
        return [each.passage for each in self._passages.get(article_id, [])]

    async def search(self, query: str, vector: Vector | None, *, locale: str, limit: int) -> Sequence[Hit]:
        known = [each for group in self._passages.values() for each in group if locale in ("", each.passage.locale)]
        wanted = _words(query)
        texts = [(each, len(wanted & _words(each.passage.text_to_embed))) for each in known]
        by_words = [each for each, shared in sorted(texts, key=lambda pair: -pair[1]) if shared]
        by_meaning = sorted(known, key=lambda each: -_similarity(vector, each)) if vector else []
        hits = [
            Hit(
                passage=each.passage,
                score=sum(1 / (20 + ranks.index(each)) for ranks in (by_words, by_meaning) if each in ranks),
                similarity=_similarity(vector, each) if vector else 0.0,
                text_rank=by_words.index(each) + 1 if each in by_words else 0,
                vector_rank=by_meaning.index(each) + 1 if each in by_meaning else 0,
            )
            for each in known
            if each in by_words or each in by_meaning
        ]
        return sorted(hits, key=lambda hit: -hit.score)[:limit]


class MemoryEvents:
    def __init__(self, stored: Stored) -> None:
        self._events = stored.events

    async def article_published(self, article: Article) -> None:
        self._events.append(("article_published", article.id))

    async def article_unpublished(self, article: Article) -> None:
        self._events.append(("article_unpublished", article.id))


class MemoryRequests:
    def __init__(self, stored: Stored) -> None:
        self._requests = stored.requests

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        known = self._requests.setdefault((key.method, key.request_id), (key.fingerprint, resource_id))
        if known[0] != key.fingerprint:
            raise RequestIdReused
        return None if known[1] == resource_id else known[1]


def _place(article: Article) -> tuple[str, str]:
    return (sort_key(article.title), article.id)


def _without_markdown(article: Article) -> Article:
    def bare(version: Version | None) -> Version | None:
        return version and replace(version, markdown="")

    return replace(article, published=bare(article.published), draft=bare(article.draft))


def _words(text: str) -> set[str]:
    return {word.strip(".,:;?!—").lower() for word in text.split() if len(word) > 3}


def _similarity(vector: Vector | None, indexed: IndexedPassage) -> float:
    return sum(a * b for a, b in zip(vector or (), indexed.embedding, strict=True))

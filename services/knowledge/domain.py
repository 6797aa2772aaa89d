"""Articles, their versions and the passages that can be cited. Knows neither gRPC nor SQL."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Self

from services.knowledge.errors import ArticleNotFound, NothingToPublish, TooManyPassages

DEFAULT_LOCALE = "en"
MAXIMUM_ARTICLE_BYTES = 1024 * 1024
MAXIMUM_PASSAGES = 5000

# Goes up when articles are cut into passages or written for the embedder in another way, so that the next import of an
# unchanged document indexes it anew.
INDEX_REVISION = 1

# Titles are sorted by their beginning, which keeps the page token of a list short.
SORT_KEY_LENGTH = 50

Vector = Sequence[float]


@dataclass(frozen=True, slots=True)
class Version:
    """One text of an article; a draft has no `published_at`. Lists leave `markdown` empty."""

    number: int
    title: str
    markdown: str
    created_at: datetime
    published_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Plain text under one heading, short enough to cite and to embed. `anchor` is without its "#"; it may be empty."""

    heading: str
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A section of a published article. Its identifier holds as long as its heading and text do."""

    id: str
    article_id: str
    article_slug: str
    article_title: str
    article_version: int
    locale: str
    heading: str
    anchor: str
    text: str
    position: int

    @property
    def url(self) -> str:
        """Address relative to the web app, as in "/help/returns-policy#returns"."""
        return f"/help/{self.article_slug}" + (f"#{self.anchor}" if self.anchor else "")

    @property
    def text_to_embed(self) -> str:
        """What stands for the passage in vector space: a few words of where it stands help more than they cost."""
        if self.heading == self.article_title:
            return f"{self.article_title}: {self.text}"
        return f"{self.article_title} — {self.heading}: {self.text}"


@dataclass(frozen=True, slots=True)
class IndexedPassage:
    """A passage with its vector and those of its sentences, ready to be found."""

    passage: Passage
    embedding: Vector
    sentences: Sequence[Vector] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. Ranks count from 1; 0 when that way did not find it."""

    passage: Passage
    score: float
    similarity: float
    text_rank: int
    vector_rank: int


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read well enough to become an article."""

    title: str
    slug: str
    category: str
    locale: str
    tags: tuple[str, ...]
    markdown: str


@dataclass(slots=True)
class Article:
    """A help-centre article: at most one version that readers see and at most one draft; it always has one of both."""

    id: str
    slug: str
    locale: str
    category: str
    tags: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    published: Version | None = None
    draft: Version | None = None
    last_number: int = 0
    indexed_hash: str = ""

    @classmethod
    def drafted(cls, article_id: str, document: Document, at: datetime) -> Self:
        """A new article that readers do not see yet: its draft is the document."""
        article = cls._bare(article_id, document, at)
        article.draft = article._next(document.title, document.markdown, at)
        return article

    @classmethod
    def imported(cls, article_id: str, document: Document, at: datetime) -> Self:
        """A new article that shows the document to readers."""
        article = cls._bare(article_id, document, at)
        article.publish_document(document, at)
        return article

    @classmethod
    def _bare(cls, article_id: str, document: Document, at: datetime) -> Self:
        return cls(
            id=article_id,
            slug=document.slug,
            locale=document.locale,
            category=document.category,
            tags=document.tags,
            created_at=at,
            updated_at=at,
        )

    @property
    def title(self) -> str:
        """The title readers see, or else the draft's."""
        version = self.published or self.draft
        return version.title if version else ""

    def edit(
        self,
        at: datetime,
        *,
        title: str | None = None,
        markdown: str | None = None,
        category: str | None = None,
        tags: tuple[str, ...] | None = None,
    ) -> None:
        """Change what is given. Text goes to the draft, which starts from the published version when there is none."""
        if category is not None:
            self.category = category
        if tags is not None:
            self.tags = tags
        if title is not None or markdown is not None:
            self._edit_draft(title, markdown, at)
        self.updated_at = at

    def publish(self, at: datetime) -> None:
        """Make the draft what readers see. Raises NothingToPublish."""
        if self.draft is None:
            raise NothingToPublish
        self.published = replace(self.draft, published_at=at)
        self.draft = None
        self._indexed(at)

    def publish_document(self, document: Document, at: datetime) -> None:
        """Show readers the document's text as a new version; a draft that somebody is writing stays as it is."""
        self.category = document.category
        self.tags = document.tags
        self.published = replace(self._next(document.title, document.markdown, at), published_at=at)
        self._indexed(at)

    def unpublish(self, at: datetime) -> None:
        """Take the article away from readers. Its text becomes a draft again unless one is being written."""
        if self.published is None:
            return
        if self.draft is None:
            self.draft = self._next(self.published.title, self.published.markdown, at)
        self.published = None
        self.indexed_hash = ""
        self.updated_at = at

    def shows(self, document: Document) -> bool:
        """True when readers and search already have exactly this document."""
        return (
            self.published is not None
            and self.indexed_hash == text_hash(document.title, document.markdown)
            and (self.category, self.tags) == (document.category, document.tags)
        )

    def seen_by(self, *, writer: bool) -> Self:
        """What the person may see: writers everything, readers the published version. Raises ArticleNotFound."""
        if writer:
            return self
        if self.published is None:
            raise ArticleNotFound(resource_name=self.id)
        return replace(self, draft=None)

    def passages(self, sections: Sequence[Section]) -> list[Passage]:
        """The published version's passages. Raises TooManyPassages."""
        if len(sections) > MAXIMUM_PASSAGES:
            raise TooManyPassages(MAXIMUM_PASSAGES)
        version = self.published
        if version is None:
            return []
        seen: dict[tuple[str, str], int] = {}
        passages = []
        for position, section in enumerate(sections):
            key = (section.heading, section.text)
            seen[key] = seen.get(key, 0) + 1
            passages.append(
                Passage(
                    id=passage_id(self.id, section, seen[key]),
                    article_id=self.id,
                    article_slug=self.slug,
                    article_title=version.title,
                    article_version=version.number,
                    locale=self.locale,
                    heading=section.heading,
                    anchor=section.anchor,
                    text=section.text,
                    position=position,
                )
            )
        return passages

    def _edit_draft(self, title: str | None, markdown: str | None, at: datetime) -> None:
        if self.draft is None:
            base = self.published
            self.draft = self._next(base.title if base else "", base.markdown if base else "", at)
        self.draft = replace(
            self.draft,
            title=self.draft.title if title is None else title,
            markdown=self.draft.markdown if markdown is None else markdown,
            created_at=at,
        )

    def _indexed(self, at: datetime) -> None:
        if self.published is not None:
            self.indexed_hash = text_hash(self.published.title, self.published.markdown)
        self.updated_at = at

    def _next(self, title: str, markdown: str, at: datetime) -> Version:
        self.last_number += 1
        return Version(number=self.last_number, title=title, markdown=markdown, created_at=at)


class Outcome(Enum):
    """What became of an imported document."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class DocumentReport:
    """What became of one file; `skipped_because` is for people and empty unless it was skipped."""

    path: str
    outcome: Outcome
    article_id: str = ""
    passages: int = 0
    skipped_because: str = ""


def text_hash(title: str, markdown: str) -> str:
    """SHA-256 of what search is built from, with the revision of how it is built, in hexadecimal."""
    return hashlib.sha256(f"{INDEX_REVISION}\0{title}\0{markdown}".encode()).hexdigest()


def passage_id(article_id: str, section: Section, occurrence: int) -> str:
    """An identifier of the content: the same words under the same heading keep it. `occurrence` tells twins apart."""
    content = "\0".join((article_id, section.heading, section.text, str(occurrence)))
    return f"psg_{hashlib.sha256(content.encode()).hexdigest()[:32]}"


def sort_key(title: str) -> str:
    """What lists are ordered by."""
    return title.casefold()[:SORT_KEY_LENGTH]

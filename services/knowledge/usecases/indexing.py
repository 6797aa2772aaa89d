"""From an article's text to passages with vectors, and storing both together."""

import asyncio
from collections.abc import Sequence

from services.common.errors import Conflict
from services.knowledge.domain import Article, IndexedPassage, Vector
from services.knowledge.ports import Embedder, UnitOfWork
from services.knowledge.text import sections

# Small enough that one call stays far below its deadline on a slow processor.
BATCH_SIZE = 64
# A question resembles the sentence that answers it more than the passage around it. Beyond so many, the sentences of an
# article would take minutes to embed, and its passages alone have to do.
MAXIMUM_SENTENCES = 2000


async def index(article: Article, embedder: Embedder) -> list[IndexedPassage]:
    """The passages of the article's published version with their vectors.

    Raises InvalidInput when the text makes no passages, Unavailable when the embedder does not answer.
    """
    version = article.published
    if version is None:
        return []
    # A long article keeps the parser busy for a second; other calls go on meanwhile.
    parts = await asyncio.to_thread(sections.split, version.markdown, version.title)
    passages = article.passages(parts)
    sentences = [sections.sentences(passage.text) for passage in passages]
    if sum(map(len, sentences)) > MAXIMUM_SENTENCES:
        sentences = [[] for _ in passages]
    wholes = await _embed(embedder, [passage.text_to_embed for passage in passages])
    each = iter(await _embed(embedder, [sentence for group in sentences for sentence in group]))
    return [
        IndexedPassage(passage, whole, [next(each) for _ in group])
        for passage, whole, group in zip(passages, wholes, sentences, strict=True)
    ]


async def _embed(embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
    vectors: list[Vector] = []
    for start in range(0, len(texts), BATCH_SIZE):
        vectors += await embedder.embed(texts[start : start + BATCH_SIZE])
    return vectors


async def show(work: UnitOfWork, before: Article | None, article: Article, passages: Sequence[IndexedPassage]) -> None:
    """Store what readers and search see from the commit on; the text was embedded outside of this transaction.

    `before` is the article as it was then, None if it is new. Raises Conflict when it was changed since,
    ArticleSlugTaken when somebody else made it.
    """
    if before is None:
        await work.articles.add(article)
    elif await work.articles.get(article.id, lock=True) != before:
        raise Conflict
    else:
        await work.articles.save(article)
    await work.passages.replace(article.id, passages)
    await work.events.article_published(article)

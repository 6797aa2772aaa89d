"""The transaction of a use case."""

import json

from sqlalchemy.ext.asyncio import AsyncSession

from services.common.db import IdempotencyRecords, SqlUnitOfWork
from services.common.outbox import Outbox
from services.knowledge import tables
from services.knowledge.adapters.articles import SqlArticles
from services.knowledge.adapters.passages import SqlPassages
from services.knowledge.domain import Article


class SqlWork(SqlUnitOfWork):
    """One transaction of one organization."""

    def bind(self, session: AsyncSession) -> None:
        """Build the repositories."""
        self.articles = SqlArticles(session, self.organization_id)
        self.passages = SqlPassages(session, self.organization_id)
        self.requests = IdempotencyRecords(session, self.organization_id, tables.idempotency_records)
        self.events = OutboxEvents(Outbox(session, self.organization_id, tables.outbox))


class OutboxEvents:
    """Events as JSON in the outbox: article_id, slug, locale, and the version readers see now, if any."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def article_published(self, article: Article) -> None:
        """Readers and search see a new version."""
        await self._add("article_published", article)

    async def article_unpublished(self, article: Article) -> None:
        """Readers and search no longer see the article."""
        await self._add("article_unpublished", article)

    async def _add(self, kind: str, article: Article) -> None:
        event = {
            "type": f"knowledge.{kind}",
            "article_id": article.id,
            "slug": article.slug,
            "locale": article.locale,
            "version": article.published.number if article.published else None,
        }
        await self._outbox.add("articles", article.id, json.dumps(event).encode())

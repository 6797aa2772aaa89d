"""The service's tables. `migrations/` makes them; a test holds the two together."""

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    ARRAY,
    Column,
    Computed,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

from services.common.db import idempotency_table, new_metadata
from services.common.outbox import outbox_table

DIMENSION = 384

metadata = new_metadata()

articles = Table(
    "articles",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("id", String, nullable=False),
    Column("slug", String, nullable=False),
    Column("locale", String, nullable=False),
    Column("category", String, nullable=False),
    Column("tags", ARRAY(String), nullable=False),
    # The beginning of the title in lower case: the order of lists.
    Column("sort_key", String(collation="C"), nullable=False),
    Column("published_number", Integer),
    Column("draft_number", Integer),
    Column("last_number", Integer, nullable=False),
    # Tells an import that readers have this text already; empty when nothing is published.
    Column("indexed_hash", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "slug", "locale"),
    Index(None, "organization_id", "sort_key", "id"),
)

versions = Table(
    "article_versions",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("article_id", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("title", String, nullable=False),
    Column("markdown", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("published_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("organization_id", "article_id", "number"),
    ForeignKeyConstraint(
        ["organization_id", "article_id"], ["articles.organization_id", "articles.id"], ondelete="CASCADE"
    ),
)

# Passages of published versions only: what is in this table can be found.
passages = Table(
    "passages",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("id", String, nullable=False),
    Column("article_id", String, nullable=False),
    Column("article_slug", String, nullable=False),
    Column("article_title", String, nullable=False),
    Column("article_version", Integer, nullable=False),
    Column("locale", String, nullable=False),
    Column("heading", String, nullable=False),
    Column("anchor", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("embedding", Vector(DIMENSION), nullable=False),
    Column(
        "words",
        TSVECTOR,
        Computed(
            "setweight(to_tsvector('english', article_title), 'A') ||"
            " setweight(to_tsvector('english', heading), 'B') || to_tsvector('english', text)",
            persisted=True,
        ),
        nullable=False,
    ),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(
        ["organization_id", "article_id"], ["articles.organization_id", "articles.id"], ondelete="CASCADE"
    ),
    Index(None, "organization_id", "article_id", "position"),
    Index("ix_passages_words", "words", postgresql_using="gin"),
    Index(
        "ix_passages_embedding",
        "embedding",
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "vector_cosine_ops"},
    ),
)

# The vectors of the passages' sentences, without their words: those stand in the passage.
sentences = Table(
    "passage_sentences",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("passage_id", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("locale", String, nullable=False),
    Column("embedding", Vector(DIMENSION), nullable=False),
    PrimaryKeyConstraint("organization_id", "passage_id", "position"),
    ForeignKeyConstraint(
        ["organization_id", "passage_id"], ["passages.organization_id", "passages.id"], ondelete="CASCADE"
    ),
    Index(
        "ix_passage_sentences_embedding",
        "embedding",
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "vector_cosine_ops"},
    ),
)

idempotency_records = idempotency_table(metadata)
outbox = outbox_table(metadata)

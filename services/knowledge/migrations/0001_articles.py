"""Articles, their versions, and passages that are found by words and by meaning."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects import postgresql

from services.common.db import enable_row_level_security

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("articles", "article_versions", "passages", "passage_sentences", "idempotency_records", "outbox")

# Row-level security lets a condition use an index only when its function is known to leak nothing about rows that it
# refuses; matching words is such a function, but Postgres does not say so itself. Without the right to say it (on a
# managed server), search reads all passages of the organization instead of the index: slower, and as correct.
MATCH_BY_INDEX = """
do $$ begin
  alter function pg_catalog.ts_match_vq(tsvector, tsquery) leakproof;
exception when insufficient_privilege then
  raise notice 'search by words will not use its index under row-level security';
end $$
"""


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "articles",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("slug", sa.String, nullable=False),
        sa.Column("locale", sa.String, nullable=False),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.String), nullable=False),
        sa.Column("sort_key", sa.String(collation="C"), nullable=False),
        sa.Column("published_number", sa.Integer),
        sa.Column("draft_number", sa.Integer),
        sa.Column("last_number", sa.Integer, nullable=False),
        sa.Column("indexed_hash", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_articles"),
        sa.UniqueConstraint("organization_id", "slug", "locale", name="uq_articles_organization_id_slug_locale"),
    )
    op.create_index("ix_articles_organization_id_sort_key_id", "articles", ["organization_id", "sort_key", "id"])
    op.create_table(
        "article_versions",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("article_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("markdown", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("organization_id", "article_id", "number", name="pk_article_versions"),
        sa.ForeignKeyConstraint(
            ["organization_id", "article_id"],
            ["articles.organization_id", "articles.id"],
            name="fk_article_versions_organization_id_article_id_articles",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "passages",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("article_id", sa.String, nullable=False),
        sa.Column("article_slug", sa.String, nullable=False),
        sa.Column("article_title", sa.String, nullable=False),
        sa.Column("article_version", sa.Integer, nullable=False),
        sa.Column("locale", sa.String, nullable=False),
        sa.Column("heading", sa.String, nullable=False),
        sa.Column("anchor", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("embedding", Vector(384), nullable=False),
        sa.Column(
            "words",
            postgresql.TSVECTOR,
            sa.Computed(
                "setweight(to_tsvector('english', article_title), 'A') ||"
                " setweight(to_tsvector('english', heading), 'B') || to_tsvector('english', text)",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_passages"),
        sa.ForeignKeyConstraint(
            ["organization_id", "article_id"],
            ["articles.organization_id", "articles.id"],
            name="fk_passages_organization_id_article_id_articles",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_passages_organization_id_article_id_position", "passages", ["organization_id", "article_id", "position"]
    )
    op.create_index("ix_passages_words", "passages", ["words"], postgresql_using="gin")
    op.create_index(
        "ix_passages_embedding",
        "passages",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "vector_cosine_ops"},
    )
    op.execute(MATCH_BY_INDEX)
    op.create_table(
        "passage_sentences",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("passage_id", sa.String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("locale", sa.String, nullable=False),
        sa.Column("embedding", Vector(384), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "passage_id", "position", name="pk_passage_sentences"),
        sa.ForeignKeyConstraint(
            ["organization_id", "passage_id"],
            ["passages.organization_id", "passages.id"],
            name="fk_passage_sentences_organization_id_passage_id_passages",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_passage_sentences_embedding",
        "passage_sentences",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "vector_cosine_ops"},
    )
    op.create_table(
        "idempotency_records",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("organization_id", "method", "request_id", name="pk_idempotency_records"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False, server_default=""),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    for table in TABLES:
        enable_row_level_security(op, table)


def downgrade() -> None:
    """Take them away. The mark on Postgres' own function stays: it says what is true, and others may rely on it."""
    for table in reversed(TABLES):
        op.drop_table(table)

"""The registry of models and what was done to it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.common.db import enable_row_level_security

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("models", "events", "idempotency_records", "outbox")
_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "models",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("environment", sa.String, nullable=False),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("metadata", postgresql.JSONB, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("health", sa.String, nullable=False),
        sa.Column("health_checked_at", _AT),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("updated_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("name", "environment", name="pk_models"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("environment", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("occurred_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_model", "events", ["model", "environment", "id"])
    _create_common_tables()
    # They belong to the platform: no organization's scope sees a row.
    for table in ("models", "events"):
        scope = "current_setting('app.system', true) = 'on'"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy {table}_scope on {table} using ({scope}) with check ({scope})")
    for table in ("idempotency_records", "outbox"):
        enable_row_level_security(op, table)
    # The service's role may add to a history but never change it.
    op.execute("revoke update, delete on events from deskmesh_models")


def _create_common_tables() -> None:
    op.create_table(
        "idempotency_records",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("created_at", _AT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("organization_id", "method", "request_id", name="pk_idempotency_records"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False, server_default=""),
        sa.Column("created_at", _AT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(TABLES):
        op.drop_table(table)

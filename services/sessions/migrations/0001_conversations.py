"""Conversations, their messages and their logs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.common.db import enable_row_level_security

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("conversations", "messages", "events", "message_tokens", "idempotency_records", "outbox")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "conversations",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("customer_id", sa.String, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("responder", sa.String, nullable=False),
        sa.Column("ticket_ids", postgresql.ARRAY(sa.String), nullable=False),
        sa.Column("idle_timeout_seconds", sa.Integer, nullable=False),
        sa.Column("last_offset", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_activity_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    order = (sa.text("last_activity_at desc"), sa.text("id desc"))
    op.create_index("ix_conversations_organization_activity", "conversations", ["organization_id", *order])
    op.create_index("ix_conversations_customer_activity", "conversations", ["organization_id", "customer_id", *order])
    op.create_index(
        "ix_conversations_expiry", "conversations", ["expires_at"], postgresql_where=sa.text("state = 'open'")
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("event_offset", sa.BigInteger, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("citations", postgresql.JSONB, nullable=False),
        sa.Column("turn_id", sa.String, nullable=False),
        sa.Column("rating", sa.String),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_messages_conversation_id_conversations"
        ),
        sa.UniqueConstraint("conversation_id", "event_offset", name="uq_messages_conversation_id"),
    )
    op.create_table(
        "events",
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("event_offset", sa.BigInteger, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("turn_id", sa.String, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "event_offset", name="pk_events"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_events_conversation_id_conversations"
        ),
    )
    op.create_index(
        "ix_events_proposals",
        "events",
        ["conversation_id", "event_offset"],
        postgresql_where=sa.text("kind in ('action_proposed', 'proposal_resolved')"),
    )
    op.create_table(
        "message_tokens",
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("message_id", "model", name="pk_message_tokens"),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_message_tokens_message_id_messages"),
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
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False, server_default=""),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    for table in TABLES:
        enable_row_level_security(op, table)
    # The service's role may add to a log but never change it.
    op.execute("revoke update, delete on events from deskmesh_sessions")


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(TABLES):
        op.drop_table(table)

"""Turns, their steps, proposals."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.common.db import enable_row_level_security

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "turns",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("customer_id", sa.String, nullable=False),
        sa.Column("customer_roles", postgresql.ARRAY(sa.String), nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("message_offset", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("reply_proposal_id", sa.String),
        sa.Column("reply_accepted", sa.Boolean),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("worker", sa.String, nullable=False, server_default=""),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("streaming", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("outcome", postgresql.JSONB),
        sa.Column("total_seconds", sa.Float),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False),
        sa.Column("error_reason", sa.String, nullable=False, server_default=""),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
    )
    op.create_index(
        "uq_turns_active_conversation",
        "turns",
        ["organization_id", "conversation_id"],
        unique=True,
        postgresql_where=sa.text("state in ('queued', 'running')"),
    )
    op.create_index(
        "ix_turns_waiting", "turns", ["created_at"], postgresql_where=sa.text("state in ('queued', 'running')")
    )
    op.create_table(
        "turn_steps",
        sa.Column("turn_id", sa.String, sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("started_after_seconds", sa.Float, nullable=False),
        sa.Column("elapsed_seconds", sa.Float, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("cached_prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("versions", postgresql.JSONB, nullable=False),
        sa.Column("details", postgresql.JSONB, nullable=False),
        sa.Column("error_reason", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("turn_id", "position"),
    )
    op.create_table(
        "proposals",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("turn_id", sa.String, sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("ticket_subject", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index(
        "uq_proposals_open_conversation",
        "proposals",
        ["organization_id", "conversation_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "idempotency_records",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("organization_id", "method", "request_id"),
    )
    for table in ("turns", "turn_steps", "proposals", "idempotency_records"):
        enable_row_level_security(op, table)


def downgrade() -> None:
    for table in ("idempotency_records", "proposals", "turn_steps", "turns"):
        op.drop_table(table)

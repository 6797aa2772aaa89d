"""Tickets, their comments and their history."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.common.db import enable_row_level_security

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("counters", "tickets", "comments", "events", "pending_links", "idempotency_records", "outbox")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "counters",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="pk_counters"),
    )
    _create_tickets()
    op.create_table(
        "comments",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("ticket_id", sa.String, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("author_id", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("visibility", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_comments"),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name="fk_comments_ticket_id_tickets"),
        sa.UniqueConstraint("ticket_id", "sequence", name="uq_comments_ticket_id_sequence"),
    )
    op.create_table(
        "events",
        sa.Column("ticket_id", sa.String, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("actor_id", sa.String, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("visibility", sa.String, nullable=False),
        sa.Column("details", postgresql.JSONB, nullable=False),
        sa.PrimaryKeyConstraint("ticket_id", "sequence", name="pk_events"),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name="fk_events_ticket_id_tickets"),
    )
    op.create_table(
        "pending_links",
        sa.Column("ticket_id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("ticket_id", name="pk_pending_links"),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name="fk_pending_links_ticket_id_tickets"),
    )
    op.create_index("ix_pending_links_due", "pending_links", ["due_at"])
    _create_common_tables()
    for table in TABLES:
        enable_row_level_security(op, table)
    # The service's role may add to a history but never change it.
    op.execute("revoke update, delete on events from deskmesh_tickets")


def _create_tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("requester_id", sa.String, nullable=False),
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("assignee_id", sa.String, nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.String), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("solved_at", sa.DateTime(timezone=True)),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_tickets"),
        sa.UniqueConstraint("organization_id", "number", name="uq_tickets_organization_id_number"),
    )
    newest = (sa.text("updated_at desc"), sa.text("number desc"))
    op.create_index("ix_tickets_updated", "tickets", ["organization_id", *newest])
    op.create_index("ix_tickets_priority", "tickets", ["organization_id", sa.text("priority desc"), "number"])
    op.create_index("ix_tickets_requester", "tickets", ["organization_id", "requester_id", *newest])
    op.create_index("ix_tickets_assignee", "tickets", ["organization_id", "assignee_id", *newest])
    op.create_index(
        "ix_tickets_conversation",
        "tickets",
        ["organization_id", "conversation_id"],
        postgresql_where=sa.text("conversation_id <> ''"),
    )
    op.create_index("ix_tickets_tags", "tickets", ["tags"], postgresql_using="gin")


def _create_common_tables() -> None:
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


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(TABLES):
        op.drop_table(table)

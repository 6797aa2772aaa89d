"""The tables of the `tickets` schema."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.common.db import idempotency_table, new_metadata
from services.common.outbox import outbox_table

metadata = new_metadata()

# The last number given in each organization. Its row is locked until the transaction that takes a number ends: numbers
# have no gaps, because a rollback gives one back.
counters = Table(
    "counters",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("last_number", BigInteger, nullable=False),
)

tickets = Table(
    "tickets",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("requester_id", String, nullable=False),
    Column("conversation_id", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", String, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("assignee_id", String, nullable=False),
    Column("tags", ARRAY(String), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("solved_at", DateTime(timezone=True)),
    Column("closed_at", DateTime(timezone=True)),
    Column("due_at", DateTime(timezone=True)),
    UniqueConstraint("organization_id", "number"),
    Index("ix_tickets_updated", "organization_id", text("updated_at desc"), text("number desc")),
    Index("ix_tickets_priority", "organization_id", text("priority desc"), "number"),
    Index("ix_tickets_requester", "organization_id", "requester_id", text("updated_at desc"), text("number desc")),
    Index("ix_tickets_assignee", "organization_id", "assignee_id", text("updated_at desc"), text("number desc")),
    Index(
        "ix_tickets_conversation",
        "organization_id",
        "conversation_id",
        postgresql_where=text("conversation_id <> ''"),
    ),
    Index("ix_tickets_tags", "tags", postgresql_using="gin"),
    Index("ix_tickets_due", "organization_id", "due_at", "number"),
    Index("ix_tickets_solved", "solved_at", postgresql_where=text("status = 'solved'")),
)

comments = Table(
    "comments",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("ticket_id", String, ForeignKey("tickets.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("author_id", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("visibility", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("ticket_id", "sequence"),
)

# Rows are never changed: the migration takes that right away. `visibility` says who may know of the event.
events = Table(
    "events",
    metadata,
    Column("ticket_id", String, ForeignKey("tickets.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("organization_id", String, nullable=False),
    Column("actor_id", String, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("kind", String, nullable=False),
    Column("visibility", String, nullable=False),
    Column("details", JSONB, nullable=False),
    PrimaryKeyConstraint("ticket_id", "sequence"),
)

# Tickets whose conversations are still to be told; a row goes when that is done.
pending_links = Table(
    "pending_links",
    metadata,
    Column("ticket_id", String, ForeignKey("tickets.id"), primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False),
    Index("ix_pending_links_due", "due_at"),
)

idempotency_records = idempotency_table(metadata)
outbox = outbox_table(metadata)

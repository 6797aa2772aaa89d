"""The tables of the `sessions` schema."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
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

conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("customer_id", String, nullable=False),
    Column("title", String, nullable=False),
    Column("state", String, nullable=False),
    Column("responder", String, nullable=False),
    Column("ticket_ids", ARRAY(String), nullable=False),
    Column("idle_timeout_seconds", Integer, nullable=False),
    Column("last_offset", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("last_activity_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    Index("ix_conversations_organization_activity", "organization_id", text("last_activity_at desc"), text("id desc")),
    Index(
        "ix_conversations_customer_activity",
        "organization_id",
        "customer_id",
        text("last_activity_at desc"),
        text("id desc"),
    ),
    Index("ix_conversations_expiry", "expires_at", postgresql_where=text("state = 'open'")),
)

messages = Table(
    "messages",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("conversation_id", String, ForeignKey("conversations.id"), nullable=False),
    Column("event_offset", BigInteger, nullable=False),
    Column("author", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("citations", JSONB, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("rating", String),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("conversation_id", "event_offset"),
)

# Rows are never changed: the migration takes that right away.
events = Table(
    "events",
    metadata,
    Column("conversation_id", String, ForeignKey("conversations.id"), nullable=False),
    Column("event_offset", BigInteger, nullable=False),
    Column("organization_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    PrimaryKeyConstraint("conversation_id", "event_offset"),
    Index(
        "ix_events_proposals",
        "conversation_id",
        "event_offset",
        postgresql_where=text("kind in ('action_proposed', 'proposal_resolved')"),
    ),
)

# Tokens of a message by the tokenizer of a model; a message never changes, so it is counted once.
message_tokens = Table(
    "message_tokens",
    metadata,
    Column("message_id", String, ForeignKey("messages.id"), nullable=False),
    Column("model", String, nullable=False),
    Column("organization_id", String, nullable=False),
    Column("tokens", Integer, nullable=False),
    PrimaryKeyConstraint("message_id", "model"),
)

idempotency_records = idempotency_table(metadata)
outbox = outbox_table(metadata)

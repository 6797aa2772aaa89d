"""The tables of the `orchestrator` schema."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.common.db import idempotency_table, new_metadata
from services.common.outbox import outbox_table

metadata = new_metadata()

ACTIVE_TURN_INDEX = "uq_turns_active_conversation"

turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("conversation_id", String, nullable=False),
    Column("customer_id", String, nullable=False),
    Column("customer_roles", ARRAY(String), nullable=False),
    Column("key_id", String, nullable=False, server_default=""),
    Column("message_id", String, nullable=False),
    Column("message_offset", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("reply_proposal_id", String),
    Column("reply_accepted", Boolean),
    Column("state", String, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("worker", String, nullable=False, server_default=""),
    Column("lease_until", DateTime(timezone=True)),
    Column("streaming", Boolean, nullable=False, server_default=text("false")),
    Column("outcome", JSONB),
    Column("total_seconds", Float),
    Column("trace_id", String, nullable=False),
    Column("traceparent", String, nullable=False),
    Column("ticket_id", String, nullable=False, server_default=""),
    Column("error_reason", String, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Index(
        ACTIVE_TURN_INDEX,
        "organization_id",
        "conversation_id",
        unique=True,
        postgresql_where=text("state in ('queued', 'running')"),
    ),
    Index("ix_turns_waiting", "created_at", postgresql_where=text("state in ('queued', 'running')")),
)

turn_steps = Table(
    "turn_steps",
    metadata,
    Column("turn_id", String, ForeignKey("turns.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("organization_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("started_after_seconds", Float, nullable=False),
    Column("elapsed_seconds", Float, nullable=False),
    Column("model", String, nullable=False),
    Column("prompt_tokens", Integer),
    Column("cached_prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("versions", JSONB, nullable=False),
    Column("details", JSONB, nullable=False),
    Column("error_reason", String, nullable=False),
    PrimaryKeyConstraint("turn_id", "position"),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("conversation_id", String, nullable=False),
    Column("turn_id", String, ForeignKey("turns.id"), nullable=False),
    Column("ticket_subject", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index(
        "uq_proposals_open_conversation",
        "organization_id",
        "conversation_id",
        unique=True,
        postgresql_where=text("state = 'open'"),
    ),
)

# What tries of turns used, until the ledger has confirmed it; the payload is what is published, too.
usage_reports = Table(
    "usage_reports",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("ix_usage_reports_due", "due_at"),
)

outbox = outbox_table(metadata)
idempotency_records = idempotency_table(metadata)

"""The tables of the `usage` schema. Amounts are millionths of the currency's unit."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.db import idempotency_table, new_metadata
from services.common.outbox import outbox_table

metadata = new_metadata()

# The ledger. The role may add lines, never change or remove one.
entries = Table(
    "entries",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("id", String, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("kind", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("conversation_id", String, nullable=False),
    Column("ticket_id", String, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("step", String, nullable=False),
    Column("model", String, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("elapsed_microseconds", BigInteger, nullable=False),
    Column("reservation_id", String, nullable=False),
    Column("cost_micros", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("ix_entries_occurred", "organization_id", "occurred_at", "id"),
    Index("ix_entries_turn", "organization_id", "turn_id"),
    Index("ix_entries_conversation", "organization_id", "conversation_id"),
    Index("ix_entries_ticket", "organization_id", "ticket_id", postgresql_where=text("ticket_id <> ''")),
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("period", String, nullable=False),
    # Of a team.
    Column("member_ids", ARRAY(String), nullable=False, server_default="{}"),
    Column("limit_micros", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("organization_id", "scope", "subject", "period"),
    CheckConstraint("limit_micros >= 0", name="limit"),
)

# What was spent and is held in each period of a budget. Rows are locked in the order of the key.
accounts = Table(
    "accounts",
    metadata,
    Column("budget_id", String, ForeignKey("budgets.id", ondelete="CASCADE"), nullable=False),
    Column("period_start", DateTime(timezone=True), nullable=False),
    Column("organization_id", String, nullable=False),
    Column("spent_micros", BigInteger, nullable=False),
    Column("reserved_micros", BigInteger, nullable=False),
    PrimaryKeyConstraint("budget_id", "period_start"),
    CheckConstraint("reserved_micros >= 0", name="reserved"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("budget_id", String, ForeignKey("budgets.id", ondelete="CASCADE"), nullable=False),
    Column("period_start", DateTime(timezone=True), nullable=False),
    Column("threshold", SmallInteger, nullable=False),
    Column("organization_id", String, nullable=False),
    Column("spent_micros", BigInteger, nullable=False),
    Column("limit_micros", BigInteger, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("budget_id", "period_start", "threshold"),
    Index("ix_alerts_occurred", "organization_id", "occurred_at"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("id", String, nullable=False),
    Column("model", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("conversation_id", String, nullable=False),
    Column("ticket_id", String, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("granted_micros", BigInteger, nullable=False),
    # The periods of budgets in which the amount is held, side by side.
    Column("budget_ids", ARRAY(String), nullable=False),
    Column("period_starts", ARRAY(DateTime(timezone=True)), nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("ix_reservations_lease", "lease_until", postgresql_where=text("state = 'held'")),
    Index("ix_reservations_ended", "ended_at", postgresql_where=text("state <> 'held'")),
)

# The latest costs of each kind of work, from which reservations are sized; the newest stands last.
sizes = Table(
    "sizes",
    metadata,
    Column("organization_id", String, nullable=False),
    Column("model", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("costs", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("organization_id", "model", "operation"),
)

outbox = outbox_table(metadata)
idempotency_records = idempotency_table(metadata)

"""The tables of the `models` schema. They belong to no organization: only the system's scope sees them."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, PrimaryKeyConstraint, String, Table
from sqlalchemy.dialects.postgresql import JSONB

from services.common.db import idempotency_table, new_metadata
from services.common.outbox import outbox_table

metadata = new_metadata()

models = Table(
    "models",
    metadata,
    Column("name", String, nullable=False),
    Column("environment", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("health", String, nullable=False),
    Column("health_checked_at", DateTime(timezone=True)),
    Column("version", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("name", "environment"),
)

# Rows are never changed: the migration takes that right away.
events = Table(
    "events",
    metadata,
    Column("id", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("environment", String, nullable=False),
    Column("action", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Index("ix_events_model", "model", "environment", "id"),
)

idempotency_records = idempotency_table(metadata)
outbox = outbox_table(metadata)

"""The tables of the `models` schema. They belong to no organization: only the system's scope sees them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
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

# One row a deployment; at most one of an environment is under way.
rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String, primary_key=True),
    Column("environment", String, nullable=False),
    Column("base", String, nullable=False),
    Column("file", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("actor", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("state", String, nullable=False),
    Column("steps", ARRAY(Integer), nullable=False),
    Column("step", Integer, nullable=False),
    Column("tenants", ARRAY(String), nullable=False),
    Column("direct", Boolean, nullable=False),
    Column("versions", JSONB, nullable=False),
    Column("notes", ARRAY(String), nullable=False),
    Column("gates", JSONB, nullable=False),
    Column("failure", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("promoted_at", DateTime(timezone=True)),
    Column("tried_at", DateTime(timezone=True)),
    Index(
        "uq_rollouts_under_way",
        "environment",
        unique=True,
        postgresql_where=text("state in ('starting', 'shadow', 'canary')"),
    ),
    Index("ix_rollouts_promoted", "environment", "base", "promoted_at"),
)

idempotency_records = idempotency_table(metadata)
outbox = outbox_table(metadata)

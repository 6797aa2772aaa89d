"""The ledger, budgets with their accounts and alerts, reservations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.common.db import enable_row_level_security

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("entries", "budgets", "accounts", "alerts", "reservations", "sizes", "idempotency_records", "outbox")

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    _create_ledger()
    _create_budgets()
    _create_reservations()
    _create_common_tables()
    for table in TABLES:
        enable_row_level_security(op, table)
    # The service's role may add to the ledger but never change it.
    op.execute("revoke update, delete on entries from deskmesh_usage")


def _create_ledger() -> None:
    op.create_table(
        "entries",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("occurred_at", _AT, nullable=False),
        sa.Column("recorded_at", _AT, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("ticket_id", sa.String, nullable=False),
        sa.Column("turn_id", sa.String, nullable=False),
        sa.Column("step", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("elapsed_microseconds", sa.BigInteger, nullable=False),
        sa.Column("reservation_id", sa.String, nullable=False),
        sa.Column("cost_micros", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_entries"),
    )
    op.create_index("ix_entries_occurred", "entries", ["organization_id", "occurred_at", "id"])
    op.create_index("ix_entries_turn", "entries", ["organization_id", "turn_id"])
    op.create_index("ix_entries_conversation", "entries", ["organization_id", "conversation_id"])
    op.create_index(
        "ix_entries_ticket", "entries", ["organization_id", "ticket_id"], postgresql_where=sa.text("ticket_id <> ''")
    )


def _create_budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("period", sa.String, nullable=False),
        sa.Column("limit_micros", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("updated_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_budgets"),
        sa.UniqueConstraint(
            "organization_id", "scope", "subject", "period", name="uq_budgets_organization_id_scope_subject_period"
        ),
        sa.CheckConstraint("limit_micros >= 0", name="ck_budgets_limit"),
    )
    op.create_table(
        "accounts",
        sa.Column("budget_id", sa.String, nullable=False),
        sa.Column("period_start", _AT, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("spent_micros", sa.BigInteger, nullable=False),
        sa.Column("reserved_micros", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "period_start", name="pk_accounts"),
        sa.ForeignKeyConstraint(
            ["budget_id"], ["budgets.id"], name="fk_accounts_budget_id_budgets", ondelete="CASCADE"
        ),
        sa.CheckConstraint("reserved_micros >= 0", name="ck_accounts_reserved"),
    )
    op.create_table(
        "alerts",
        sa.Column("budget_id", sa.String, nullable=False),
        sa.Column("period_start", _AT, nullable=False),
        sa.Column("threshold", sa.SmallInteger, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("spent_micros", sa.BigInteger, nullable=False),
        sa.Column("limit_micros", sa.BigInteger, nullable=False),
        sa.Column("occurred_at", _AT, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "period_start", "threshold", name="pk_alerts"),
        sa.ForeignKeyConstraint(["budget_id"], ["budgets.id"], name="fk_alerts_budget_id_budgets", ondelete="CASCADE"),
    )
    op.create_index("ix_alerts_occurred", "alerts", ["organization_id", "occurred_at"])


def _create_reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("ticket_id", sa.String, nullable=False),
        sa.Column("turn_id", sa.String, nullable=False),
        sa.Column("granted_micros", sa.BigInteger, nullable=False),
        sa.Column("budget_ids", postgresql.ARRAY(sa.String), nullable=False),
        sa.Column("period_starts", postgresql.ARRAY(_AT), nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("lease_until", _AT, nullable=False),
        sa.Column("ended_at", _AT),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_reservations"),
    )
    op.create_index(
        "ix_reservations_lease", "reservations", ["lease_until"], postgresql_where=sa.text("state = 'held'")
    )
    op.create_index("ix_reservations_ended", "reservations", ["ended_at"], postgresql_where=sa.text("state <> 'held'"))
    op.create_table(
        "sizes",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("costs", postgresql.ARRAY(sa.BigInteger), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "model", "operation", name="pk_sizes"),
    )


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

"""What turns used, until the ledger has it; the outbox; the ticket a turn is on."""

import sqlalchemy as sa
from alembic import op

from services.common.db import enable_row_level_security

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("turns", sa.Column("ticket_id", sa.String, nullable=False, server_default=""))
    op.create_table(
        "usage_reports",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_usage_reports"),
    )
    op.create_index("ix_usage_reports_due", "usage_reports", ["due_at"])
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
    for table in ("usage_reports", "outbox"):
        enable_row_level_security(op, table)


def downgrade() -> None:
    for table in ("outbox", "usage_reports"):
        op.drop_table(table)
    op.drop_column("turns", "ticket_id")

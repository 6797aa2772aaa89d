"""The audit log, which the service may add to and read, and nothing else."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from services.common.db import enable_row_level_security

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("subject_id", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("details", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_organization_id_id", "audit_events", ["organization_id", "id"])
    op.create_index("ix_audit_events_organization_id_actor_id", "audit_events", ["organization_id", "actor_id", "id"])
    op.create_index(
        "ix_audit_events_organization_id_subject_id", "audit_events", ["organization_id", "subject_id", "id"]
    )
    enable_row_level_security(op, "audit_events")
    # New tables are granted for reading and writing alike; of those grants this one keeps adding and reading.
    op.execute("revoke update, delete, truncate on audit_events from deskmesh_auth")


def downgrade() -> None:
    op.drop_table("audit_events")

"""Deployments: what was rolled out, by whom and why."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("environment", sa.String, nullable=False),
        sa.Column("base", sa.String, nullable=False),
        sa.Column("file", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("steps", postgresql.ARRAY(sa.Integer), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("tenants", postgresql.ARRAY(sa.String), nullable=False),
        sa.Column("direct", sa.Boolean, nullable=False),
        sa.Column("versions", postgresql.JSONB, nullable=False),
        sa.Column("notes", postgresql.ARRAY(sa.String), nullable=False),
        sa.Column("gates", postgresql.JSONB, nullable=False),
        sa.Column("failure", sa.String, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("updated_at", _AT, nullable=False),
        sa.Column("promoted_at", _AT),
        sa.PrimaryKeyConstraint("id", name="pk_rollouts"),
    )
    op.create_index(
        "uq_rollouts_under_way",
        "rollouts",
        ["environment"],
        unique=True,
        postgresql_where=sa.text("state in ('starting', 'shadow', 'canary')"),
    )
    op.create_index("ix_rollouts_promoted", "rollouts", ["environment", "base", "promoted_at"])
    # They belong to the platform: no organization's scope sees a row.
    scope = "current_setting('app.system', true) = 'on'"
    op.execute("alter table rollouts enable row level security")
    op.execute("alter table rollouts force row level security")
    op.execute(f"create policy rollouts_scope on rollouts using ({scope}) with check ({scope})")
    # What was rolled out stays on record.
    op.execute("revoke delete on rollouts from deskmesh_models")


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("rollouts")

"""Budgets of teams: who belongs to one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("budgets", sa.Column("member_ids", ARRAY(sa.String), nullable=False, server_default="{}"))


def downgrade() -> None:
    # What only a team's budget may say is lost with it.
    op.execute("delete from budgets where member_ids <> '{}'")
    op.drop_column("budgets", "member_ids")

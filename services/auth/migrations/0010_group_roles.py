"""Roles that groups at an organization's provider give, apart from those granted by hand."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("identity_providers", sa.Column("groups_claim", sa.String, nullable=False, server_default=""))
    op.add_column("identity_providers", sa.Column("group_roles", JSONB, nullable=False, server_default="[]"))
    for name in ("group_roles", "group_custom_role_ids"):
        op.add_column("memberships", sa.Column(name, ARRAY(sa.Text), nullable=False, server_default="{}"))


def downgrade() -> None:
    # What groups gave stays, as if it had been granted by hand.
    for name in ("group_roles", "group_custom_role_ids"):
        op.drop_column("memberships", name)
    for name in ("groups_claim", "group_roles"):
        op.drop_column("identity_providers", name)

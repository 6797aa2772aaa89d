"""Invitations, and letters that know what they are about."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.db import enable_row_level_security

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "invitations",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("roles", ARRAY(sa.Text), nullable=False),
        sa.Column("custom_role_ids", ARRAY(sa.Text), nullable=False),
        sa.Column("invited_by", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("token_hash", sa.LargeBinary),
        sa.Column("accepted_at", moment),
        sa.Column("revoked_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_invitations_organization_id_organizations"
        ),
        sa.UniqueConstraint("token_hash", name="uq_invitations_token_hash"),
    )
    op.create_index("ix_invitations_organization_id_id", "invitations", ["organization_id", "id"])
    enable_row_level_security(op, "invitations")
    op.add_column("mail_jobs", sa.Column("reference", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("mail_jobs", "reference")
    op.drop_table("invitations")

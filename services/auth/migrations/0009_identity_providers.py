"""OpenID providers of organizations, and the people they vouch for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.db import enable_row_level_security

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = ("identity_providers", "identities")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "identity_providers",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
        sa.Column("email_domains", ARRAY(sa.Text), nullable=False),
        sa.Column("hosts", ARRAY(sa.Text), nullable=False),
        sa.Column("creates_users", sa.Boolean, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="pk_identity_providers"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_identity_providers_organization_id_organizations"
        ),
    )
    op.create_table(
        "identities",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "issuer", "subject", name="pk_identities"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_identities_user_id_users"),
    )
    for table in TABLES:
        enable_row_level_security(op, table)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)

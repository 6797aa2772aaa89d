"""Service accounts and API keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.db import enable_row_level_security

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "service_accounts",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_service_accounts"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_service_accounts_organization_id_organizations"
        ),
        sa.UniqueConstraint("organization_id", "name", name="uq_service_accounts_organization_id_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("service_account_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        sa.Column("networks", ARRAY(sa.Text), nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("last_used_at", moment),
        sa.Column("revoked_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_api_keys_organization_id_organizations"
        ),
        sa.UniqueConstraint("hash", name="uq_api_keys_hash"),
        sa.CheckConstraint("(service_account_id = '') <> (user_id = '')", name="ck_api_keys_owner"),
    )
    op.create_index("ix_api_keys_organization_id_id", "api_keys", ["organization_id", "id"])
    for table in ("service_accounts", "api_keys"):
        enable_row_level_security(op, table)


def downgrade() -> None:
    op.drop_table("api_keys")
    op.drop_table("service_accounts")

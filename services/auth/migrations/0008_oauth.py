"""Programs that people let in: whose a sign-in is, codes and the requests of devices."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SYSTEM = "current_setting('app.system', true) = 'on'"
TABLES = ("oauth_codes", "oauth_devices")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("refresh_families", sa.Column("client_id", sa.String, nullable=False, server_default=""))
    op.add_column("refresh_families", sa.Column("scopes", ARRAY(sa.Text), nullable=False, server_default="{}"))
    op.create_table(
        "oauth_codes",
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("redirect_uri", sa.String, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        sa.Column("code_challenge", sa.String, nullable=False),
        sa.Column("nonce", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("family_id", sa.String, nullable=False),
        sa.Column("authenticated_at", moment, nullable=False),
        sa.Column("methods", ARRAY(sa.Text), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("issued_family_id", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_oauth_codes"),
    )
    op.create_index("ix_oauth_codes_expires_at", "oauth_codes", ["expires_at"])
    op.create_table(
        "oauth_devices",
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("user_code_hash", sa.LargeBinary, nullable=False),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("interval_seconds", sa.Integer, nullable=False),
        sa.Column("polled_at", moment),
        sa.Column("denied", sa.Boolean, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("family_id", sa.String, nullable=False),
        sa.Column("authenticated_at", moment),
        sa.Column("methods", ARRAY(sa.Text), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_oauth_devices"),
        sa.UniqueConstraint("user_code_hash", name="uq_oauth_devices_user_code_hash"),
    )
    op.create_index("ix_oauth_devices_expires_at", "oauth_devices", ["expires_at"])
    for table in TABLES:
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy {table}_scope on {table} using ({SYSTEM}) with check ({SYSTEM})")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("refresh_families", "scopes")
    op.drop_column("refresh_families", "client_id")

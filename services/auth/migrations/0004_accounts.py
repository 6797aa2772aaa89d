"""What people prove and when, their accounts, links sent to them, letters that wait, revocations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SYSTEM = "current_setting('app.system', true) = 'on'"
TABLES = ("accounts", "mail_links", "mail_jobs", "revocations")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    # A process of the version before adds families without these two.
    op.add_column("refresh_families", sa.Column("authenticated_at", moment))
    op.add_column("refresh_families", sa.Column("methods", ARRAY(sa.Text), nullable=False, server_default="{}"))
    op.create_table(
        "accounts",
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("email_verified_at", moment),
        sa.Column("password_alone", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_accounts"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_accounts_user_id_users"),
    )
    op.create_table(
        "mail_links",
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_mail_links"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_mail_links_user_id_users"),
    )
    op.create_index("ix_mail_links_user_id", "mail_links", ["user_id"])
    op.create_table(
        "mail_jobs",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("letter", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mail_jobs"),
    )
    op.create_index("ix_mail_jobs_due_at", "mail_jobs", ["due_at"])
    op.create_table(
        "revocations",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("not_before", sa.Float(53), nullable=False),
        sa.Column("revoked_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revocations"),
    )
    op.create_index("ix_revocations_revoked_at", "revocations", ["revoked_at"])
    for table in TABLES:
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy {table}_scope on {table} using ({SYSTEM}) with check ({SYSTEM})")
    # Work for a tenant may end its members' sign-ins and have letters sent to them; it reads neither.
    for table in ("mail_jobs", "revocations"):
        op.execute(f"create policy {table}_add on {table} for insert with check (true)")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("refresh_families", "methods")
    op.drop_column("refresh_families", "authenticated_at")

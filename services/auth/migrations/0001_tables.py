"""Users, organizations, memberships, refresh tokens, signing keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.db import enable_row_level_security

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SYSTEM = "current_setting('app.system', true) = 'on'"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "users",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("password_hash", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "organizations",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("slug", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organizations"),
        sa.UniqueConstraint("slug", name="uq_organizations_slug"),
    )
    op.create_table(
        "memberships",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("roles", ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name="pk_memberships"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_memberships_organization_id_organizations"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_memberships_user_id_users"),
    )
    op.create_index("ix_memberships_user_id", "memberships", ["user_id"])
    op.create_table(
        "refresh_families",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("revoked_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_refresh_families"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_refresh_families_user_id_users"),
    )
    op.create_index("ix_refresh_families_organization_id_user_id", "refresh_families", ["organization_id", "user_id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("family_id", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("spent_at", moment),
        sa.Column("successor_hash", sa.LargeBinary),
        sa.PrimaryKeyConstraint("hash", name="pk_refresh_tokens"),
        sa.ForeignKeyConstraint(
            ["family_id"],
            ["refresh_families.id"],
            name="fk_refresh_tokens_family_id_refresh_families",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_refresh_tokens_family_id", "refresh_tokens", ["family_id"])
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("sealed_private_key", sa.LargeBinary, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signing_keys"),
    )
    op.create_table(
        "idempotency_records",
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("organization_id", "method", "request_id", name="pk_idempotency_records"),
    )
    for table in ("memberships", "refresh_families", "refresh_tokens", "idempotency_records"):
        enable_row_level_security(op, table)
    enable_row_level_security(op, "organizations", column="id")
    _secure_users()
    _secure_signing_keys()


def _secure_users() -> None:
    """A person belongs to no one tenant: a tenant sees its members, may add anybody, and changes nobody."""
    op.execute("alter table users enable row level security")
    op.execute("alter table users force row level security")
    # Row-level security of memberships already narrows the inner query to the tenant.
    member = "exists (select 1 from memberships where memberships.user_id = users.id)"
    op.execute(f"create policy users_read on users for select using ({SYSTEM} or {member})")
    op.execute("create policy users_add on users for insert with check (true)")
    op.execute(f"create policy users_change on users for update using ({SYSTEM}) with check ({SYSTEM})")
    op.execute(f"create policy users_remove on users for delete using ({SYSTEM})")


def _secure_signing_keys() -> None:
    op.execute("alter table signing_keys enable row level security")
    op.execute("alter table signing_keys force row level security")
    op.execute(f"create policy signing_keys_scope on signing_keys using ({SYSTEM}) with check ({SYSTEM})")


def downgrade() -> None:
    op.execute("drop policy users_read on users")
    for table in (
        "idempotency_records",
        "signing_keys",
        "refresh_tokens",
        "refresh_families",
        "memberships",
        "organizations",
        "users",
    ):
        op.drop_table(table)

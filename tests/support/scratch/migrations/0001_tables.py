"""A table of things, an outbox and request_ids: what most services have, for tests of what they share."""

import sqlalchemy as sa
from alembic import op

from services.common.db import enable_row_level_security, idempotency_table, new_metadata
from services.common.outbox import outbox_table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

metadata = new_metadata()
TABLES = (
    sa.Table(
        "things",
        metadata,
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, nullable=False),
    ),
    idempotency_table(metadata),
    outbox_table(metadata),
)


def upgrade() -> None:
    for table in TABLES:
        table.create(op.get_bind())
        enable_row_level_security(op, table.name)


def downgrade() -> None:
    for table in reversed(TABLES):
        table.drop(op.get_bind())

"""When tickets should be solved by, and which solved ones are to be closed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tickets opened before, or by the version before, have no due time."""
    op.add_column("tickets", sa.Column("due_at", sa.DateTime(timezone=True)))
    op.create_index("ix_tickets_due", "tickets", ["organization_id", "due_at", "number"])
    op.create_index("ix_tickets_solved", "tickets", ["solved_at"], postgresql_where=sa.text("status = 'solved'"))


def downgrade() -> None:
    """Take them away again."""
    op.drop_index("ix_tickets_solved", "tickets")
    op.drop_index("ix_tickets_due", "tickets")
    op.drop_column("tickets", "due_at")

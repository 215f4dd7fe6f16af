"""Find what events know of where somebody called from, which is kept for a shorter time than they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("events_context_idx", "events", ["id"], postgresql_where=sa.text("context IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("events_context_idx", table_name="events")

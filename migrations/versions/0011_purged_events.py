"""The log remembers up to where it was purged, so that nobody resumes across a gap.

Leaves the schema usable for the release before it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("event_counter", sa.Column("purged", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("event_counter_purged_check"), "event_counter", "purged BETWEEN 0 AND position")


def downgrade() -> None:
    op.drop_constraint(op.f("event_counter_purged_check"), "event_counter")
    op.drop_column("event_counter", "purged")

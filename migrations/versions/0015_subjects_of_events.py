"""Keep beside each change of a task what the task was after it, so that a watch can be asked for a filter."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("subject", JSONB, nullable=True))
    op.create_check_constraint(op.f("events_subject_check"), "events", "jsonb_typeof(subject) = 'object'")


def downgrade() -> None:
    op.drop_column("events", "subject")

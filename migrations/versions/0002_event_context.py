"""Events say where the call came from: address and user agent, for the audit of accounts.

Leaves the schema usable for the release before it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("context", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_check_constraint(op.f("events_context_check"), "events", "jsonb_typeof(context) = 'object'")


def downgrade() -> None:
    op.drop_constraint(op.f("events_context_check"), "events")
    op.drop_column("events", "context")

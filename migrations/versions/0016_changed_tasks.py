"""Find what changed last in the order of change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEXES = {
    "tasks_owner_changed_idx": (["owner_id", "update_time", "id"], "delete_time IS NULL"),
    "tasks_assigned_changed_idx": (
        ["assignee_id", "update_time", "id"],
        "assignee_id <> owner_id AND delete_time IS NULL",
    ),
    "tasks_changed_idx": (["update_time", "id"], "delete_time IS NULL AND version > 0"),
}


def upgrade() -> None:
    for name, (columns, where) in INDEXES.items():
        op.create_index(name, "tasks", columns, postgresql_where=sa.text(where))


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="tasks")

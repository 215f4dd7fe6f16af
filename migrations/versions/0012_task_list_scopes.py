"""Keep the indexes of everybody's tasks to everybody's lists, and give what people assign to themselves its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

EVERYBODYS = {
    "tasks_live_idx": (["create_time", "id"], "delete_time IS NULL"),
    "tasks_state_idx": (["state", "create_time", "id"], "delete_time IS NULL"),
    "tasks_due_idx": (["state", "due_time", "id"], "delete_time IS NULL"),
    "tasks_deleted_idx": (["create_time", "id"], "delete_time IS NOT NULL"),
}
SELF = sa.text("(assignee_id = owner_id) IS TRUE AND delete_time IS NULL")


def upgrade() -> None:
    for name, (columns, where) in EVERYBODYS.items():
        op.drop_index(name, table_name="tasks")
        op.create_index(name, "tasks", columns, postgresql_where=sa.text(f"{where} AND version > 0"))
    op.create_index("tasks_self_live_idx", "tasks", ["owner_id", "create_time", "id"], postgresql_where=SELF)
    op.create_index("tasks_self_state_idx", "tasks", ["owner_id", "state", "create_time", "id"], postgresql_where=SELF)


def downgrade() -> None:
    op.drop_index("tasks_self_state_idx", table_name="tasks")
    op.drop_index("tasks_self_live_idx", table_name="tasks")
    for name, (columns, where) in EVERYBODYS.items():
        op.drop_index(name, table_name="tasks")
        op.create_index(name, "tasks", columns, postgresql_where=sa.text(where))

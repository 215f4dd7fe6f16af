"""An index behind each common list of tasks: newest first, by state, by due time, by label, by word."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LIVE = sa.text("delete_time IS NULL")
DELETED = sa.text("delete_time IS NOT NULL")
ASSIGNED = sa.text("assignee_id <> owner_id AND delete_time IS NULL")
ASSIGNED_DELETED = sa.text("assignee_id <> owner_id AND delete_time IS NOT NULL")


def upgrade() -> None:
    op.drop_index("tasks_owner_id_live_idx", table_name="tasks")
    op.drop_index("tasks_owner_id_idx", table_name="tasks")
    op.drop_index("tasks_live_idx", table_name="tasks")
    op.create_index("tasks_owner_id_idx", "tasks", ["owner_id"])
    for whose, column, live, deleted in (
        ("owner_", ["owner_id"], LIVE, DELETED),
        ("assigned_", ["assignee_id"], ASSIGNED, ASSIGNED_DELETED),
        ("", [], LIVE, DELETED),
    ):
        newest = [*column, "create_time", "id"]
        op.create_index(f"tasks_{whose}live_idx", "tasks", newest, postgresql_where=live)
        op.create_index(
            f"tasks_{whose}state_idx", "tasks", [*column, "state", "create_time", "id"], postgresql_where=live
        )
        op.create_index(f"tasks_{whose}due_idx", "tasks", [*column, "state", "due_time", "id"], postgresql_where=live)
        op.create_index(f"tasks_{whose}deleted_idx", "tasks", newest, postgresql_where=deleted)
    op.create_index("tasks_labels_idx", "tasks", ["labels"], postgresql_using="gin")
    op.create_index(
        "tasks_search_idx",
        "tasks",
        [sa.text("to_tsvector('simple'::regconfig, (title || ' '::text) || description)")],
        postgresql_using="gin",
    )


def downgrade() -> None:
    for name in ("search", "labels", "owner_id"):
        op.drop_index(f"tasks_{name}_idx", table_name="tasks")
    for whose in ("owner_", "assigned_", ""):
        for name in ("live", "state", "due", "deleted"):
            op.drop_index(f"tasks_{whose}{name}_idx", table_name="tasks")
    op.create_index("tasks_live_idx", "tasks", ["id"], postgresql_where=LIVE)
    op.create_index("tasks_owner_id_idx", "tasks", ["owner_id", "id"])
    op.create_index("tasks_owner_id_live_idx", "tasks", ["owner_id", "id"], postgresql_where=LIVE)

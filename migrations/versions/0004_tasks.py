"""Tasks get an assignee, a parent and a time to be reminded at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("remind_time", sa.DateTime(timezone=True), nullable=True))
    op.add_column("tasks", sa.Column("assignee_id", sa.Uuid(), nullable=True))
    op.add_column("tasks", sa.Column("assignee_kind", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("parent_id", sa.Uuid(), nullable=True))
    op.create_check_constraint(op.f("tasks_assignee_check"), "tasks", "(assignee_id IS NULL) = (assignee_kind IS NULL)")
    op.create_check_constraint(op.f("tasks_parent_id_check"), "tasks", "parent_id <> id")
    op.create_foreign_key(
        op.f("tasks_assignee_id_fkey"),
        "tasks",
        "principals",
        ["assignee_id", "assignee_kind"],
        ["id", "kind"],
        ondelete="SET NULL",
    )
    op.create_foreign_key(op.f("tasks_parent_id_fkey"), "tasks", "tasks", ["parent_id"], ["id"])
    for column, following in (("assignee_id", ["id"]), ("parent_id", ["id"]), ("purge_time", [])):
        op.create_index(
            f"tasks_{column}_idx", "tasks", [column, *following], postgresql_where=sa.text(f"{column} IS NOT NULL")
        )


def downgrade() -> None:
    op.drop_index("tasks_purge_time_idx", table_name="tasks")
    for column in ("parent_id", "assignee_kind", "assignee_id", "remind_time"):
        op.drop_column("tasks", column)

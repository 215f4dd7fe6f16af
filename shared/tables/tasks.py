"""Tasks, and what an import knows them by."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.tables.columns import metadata, moment, now, owner

#: The words of a task, without stemming: nobody knows what language they are in. The planner finds the index only for
#: this very expression, and Alembic its change only where it is spelt as PostgreSQL spells it.
TASK_SEARCH = "to_tsvector('simple'::regconfig, (title || ' '::text) || description)"

_LIVE = text("delete_time IS NULL")
_DELETED = text("delete_time IS NOT NULL")
# What the owner has given to somebody else: together with what they own, that is all they can see, and nothing twice.
_ASSIGNED = text("assignee_id <> owner_id AND delete_time IS NULL")
_ASSIGNED_DELETED = text("assignee_id <> owner_id AND delete_time IS NOT NULL")
# IS TRUE keeps the planner from taking the equation apart, after which it would not find the index.
_SELF_ASSIGNED = text("(assignee_id = owner_id) IS TRUE AND delete_time IS NULL")
# Everybody's. Every version is above 0: the condition keeps these indexes to queries that name it. For one owner the
# planner would take them as well, and pass over everybody else's tasks to find the owner's.
_ANY = text("delete_time IS NULL AND version > 0")
_ANY_DELETED = text("delete_time IS NOT NULL AND version > 0")

tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, primary_key=True),
    *owner(),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False, server_default="TODO"),
    Column("priority", SmallInteger, nullable=False, server_default="2"),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    moment("due_time", nullable=True),
    moment("remind_time", nullable=True),
    Column("assignee_id", Uuid, nullable=True),
    Column("assignee_kind", Text, nullable=True),
    Column("parent_id", Uuid, nullable=True),
    Column("version", Integer, nullable=False, server_default="1"),
    now("create_time"),
    now("update_time"),
    moment("complete_time", nullable=True),
    moment("delete_time", nullable=True),
    moment("purge_time", nullable=True),
    CheckConstraint("length(title) BETWEEN 1 AND 200", name="title"),
    CheckConstraint("length(description) <= 10000", name="description"),
    CheckConstraint("state IN ('TODO', 'IN_PROGRESS', 'DONE', 'CANCELLED')", name="state"),
    CheckConstraint("priority BETWEEN 1 AND 4", name="priority"),
    CheckConstraint("jsonb_typeof(labels) = 'object'", name="labels"),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("(state = 'DONE') = (complete_time IS NOT NULL)", name="complete_time"),
    CheckConstraint("(delete_time IS NULL) = (purge_time IS NULL)", name="purge_time"),
    CheckConstraint("(assignee_id IS NULL) = (assignee_kind IS NULL)", name="assignee"),
    CheckConstraint("parent_id <> id", name="parent_id"),
    ForeignKeyConstraint(["assignee_id", "assignee_kind"], ["principals.id", "principals.kind"], ondelete="SET NULL"),
    # Nothing is purged before its subtasks; an account takes whole trees along.
    ForeignKeyConstraint(["parent_id"], ["tasks.id"]),
    # deleting a principal
    Index("tasks_owner_id_idx", "owner_id"),
    Index("tasks_assignee_id_idx", "assignee_id", "id", postgresql_where=text("assignee_id IS NOT NULL")),
    # subtasks of one task
    Index("tasks_parent_id_idx", "parent_id", "id", postgresql_where=text("parent_id IS NOT NULL")),
    # housekeeping
    Index("tasks_purge_time_idx", "purge_time", postgresql_where=text("purge_time IS NOT NULL")),
    # ListTasks of one owner: newest first, by state, by due time (which is asked for state by state), last changed
    # first, deleted ones
    Index("tasks_owner_live_idx", "owner_id", "create_time", "id", postgresql_where=_LIVE),
    Index("tasks_owner_state_idx", "owner_id", "state", "create_time", "id", postgresql_where=_LIVE),
    Index("tasks_owner_due_idx", "owner_id", "state", "due_time", "id", postgresql_where=_LIVE),
    Index("tasks_owner_changed_idx", "owner_id", "update_time", "id", postgresql_where=_LIVE),
    Index("tasks_owner_deleted_idx", "owner_id", "create_time", "id", postgresql_where=_DELETED),
    # the same of what others have assigned to somebody
    Index("tasks_assigned_live_idx", "assignee_id", "create_time", "id", postgresql_where=_ASSIGNED),
    Index("tasks_assigned_state_idx", "assignee_id", "state", "create_time", "id", postgresql_where=_ASSIGNED),
    Index("tasks_assigned_due_idx", "assignee_id", "state", "due_time", "id", postgresql_where=_ASSIGNED),
    Index("tasks_assigned_changed_idx", "assignee_id", "update_time", "id", postgresql_where=_ASSIGNED),
    Index("tasks_assigned_deleted_idx", "assignee_id", "create_time", "id", postgresql_where=_ASSIGNED_DELETED),
    # what somebody has assigned to themselves: with the ones before, what is assigned to them
    Index("tasks_self_live_idx", "owner_id", "create_time", "id", postgresql_where=_SELF_ASSIGNED),
    Index("tasks_self_state_idx", "owner_id", "state", "create_time", "id", postgresql_where=_SELF_ASSIGNED),
    # ListTasks of an administrator
    Index("tasks_live_idx", "create_time", "id", postgresql_where=_ANY),
    Index("tasks_state_idx", "state", "create_time", "id", postgresql_where=_ANY),
    Index("tasks_due_idx", "state", "due_time", "id", postgresql_where=_ANY),
    Index("tasks_changed_idx", "update_time", "id", postgresql_where=_ANY),
    Index("tasks_deleted_idx", "create_time", "id", postgresql_where=_ANY_DELETED),
    # filters by label and by words
    Index("tasks_labels_idx", "labels", postgresql_using="gin"),
    Index("tasks_search_idx", text(TASK_SEARCH), postgresql_using="gin"),
)

# By what the caller calls its lines: the same key again makes no second task.
import_keys = Table(
    "import_keys",
    metadata,
    Column("owner_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("task_id", Uuid, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    CheckConstraint("length(key) BETWEEN 1 AND 255", name="key"),
    Index("import_keys_task_id_idx", "task_id"),  # deleting a task
)

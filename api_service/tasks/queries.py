"""The SQL of tasks."""

from __future__ import annotations

import uuid
from typing import Any

from psycopg.types.json import Jsonb

from api_service.database import Connection
from api_service.tasks.task import Task
from shared.events import INSERT_EVENT
from shared.idempotency import CLAIM

COLUMNS = ", ".join(Task._fields)
_VALUES = ", ".join(f"%({field})s" for field in Task._fields)
_LAST_ID = uuid.UUID(int=2**128 - 1)

_INSERT = f"""
WITH event AS ({INSERT_EVENT})
INSERT INTO tasks ({COLUMNS}) VALUES ({_VALUES})
"""

# One round trip: where the key is taken, the claim is empty and nothing else happens.
_INSERT_ONCE = f"""
WITH claim AS ({CLAIM}),
event AS (
    INSERT INTO events (kind, resource, actor, owner_id, changes)
    SELECT %(event_kind)s, %(event_resource)s, %(event_actor)s, %(event_owner_id)s, %(event_changes)s::jsonb FROM claim
),
task AS (
    INSERT INTO tasks ({COLUMNS})
    SELECT %(id)s::uuid, %(owner_id)s::uuid, %(owner_kind)s, %(title)s, %(description)s, %(state)s,
           %(priority)s::smallint, %(labels)s::jsonb, %(due_time)s::timestamptz, %(version)s::integer,
           %(create_time)s::timestamptz, %(update_time)s::timestamptz, %(complete_time)s::timestamptz,
           %(delete_time)s::timestamptz, %(purge_time)s::timestamptz
    FROM claim
)
SELECT 1 FROM claim
"""

_SELECT = f"SELECT {COLUMNS} FROM tasks WHERE id = %s AND (owner_id = %s OR %s)"

_UPDATE = f"""
WITH event AS ({INSERT_EVENT})
UPDATE tasks SET ({COLUMNS}) = ({_VALUES}) WHERE id = %(id)s
"""


async def insert(connection: Connection, task: Task, event: dict[str, Any]) -> None:
    """Writes a new task and its event."""
    await connection.execute(_INSERT, _parameters(task) | event)


async def insert_once(connection: Connection, task: Task, event: dict[str, Any], claim: dict[str, Any]) -> bool:
    """Writes a new task, its event and its idempotency record with the answer; or nothing, where the key is taken."""
    cursor = await connection.execute(_INSERT_ONCE, _parameters(task) | event | claim)
    return cursor.rowcount == 1


async def get(connection: Connection, id_: uuid.UUID, *, reader: uuid.UUID, reads_all: bool) -> Task | None:
    """Returns a task that the reader may see, deleted ones included, or None."""
    cursor = await connection.execute(_SELECT, (id_, reader, reads_all), binary=True)
    row = await cursor.fetchone()
    return Task._make(row) if row else None


async def lock(connection: Connection, id_: uuid.UUID, *, writer: uuid.UUID, writes_all: bool) -> Task | None:
    """Returns a task that the writer may change, locked until the end of the transaction, or None."""
    cursor = await connection.execute(_SELECT + " FOR UPDATE", (id_, writer, writes_all))
    row = await cursor.fetchone()
    return Task._make(row) if row else None


async def update(connection: Connection, task: Task, event: dict[str, Any]) -> None:
    """Writes a locked task as it is now, and its event."""
    await connection.execute(_UPDATE, _parameters(task) | event)


async def page(
    connection: Connection, *, owner: uuid.UUID | None, show_deleted: bool, before: uuid.UUID | None, limit: int
) -> list[Task]:
    """Returns up to `limit` tasks, newest first, of one owner or of everybody, older than `before`."""
    conditions = ["id < %(before)s"]
    if owner is not None:
        conditions.append("owner_id = %(owner)s")
    if not show_deleted:
        conditions.append("delete_time IS NULL")
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM tasks WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %(limit)s",
        {"owner": owner, "before": before or _LAST_ID, "limit": limit},
    )
    return [Task._make(row) for row in await cursor.fetchall()]


def _parameters(task: Task) -> dict[str, Any]:
    return task._asdict() | {"labels": Jsonb(task.labels)}

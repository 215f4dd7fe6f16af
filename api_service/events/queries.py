"""The SQL of the log: by id for the history of one resource, by position for those who follow it."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from api_service.database import Connection

_LAST_ID = 2**63 - 1


class EventRow(NamedTuple):
    """A line of the log. `changes` is JSON, still as text: most readers of a line have no use for it."""

    id: int
    position: int | None
    kind: str
    resource: str
    actor: str
    changes: str
    create_time: datetime
    #: Who may know of it: the owner of the resource then, and whoever the task is assigned to now.
    owner_id: uuid.UUID | None = None
    assignee_id: uuid.UUID | None = None
    #: What the resource was after it, as JSON, where that cannot be told from the changes.
    subject: str | None = None


_COLUMNS = "id, position, kind, resource, actor, changes::text, create_time"

#: What else calls itself a task must not stop the readers of everything after it.
_TASK = "^tasks/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

# The assignee by a look at one row each, never by a join that could read all tasks.
_AFTER = f"""
SELECT {_COLUMNS}, owner_id, (
    SELECT assignee_id FROM tasks WHERE tasks.id = CASE WHEN resource ~ '{_TASK}' THEN substr(resource, 7)::uuid END
), subject::text
FROM events WHERE position > %s ORDER BY position LIMIT %s
"""


async def after(connection: Connection, position: int, limit: int) -> list[EventRow]:
    """Returns up to `limit` events after a position, in the order of positions."""
    cursor = await connection.execute(_AFTER, (position, limit))
    return [EventRow(*row) for row in await cursor.fetchall()]


async def bounds(connection: Connection) -> tuple[int, int]:
    """Returns the position up to which events are no longer kept, and the last one given out."""
    cursor = await connection.execute("SELECT purged, position FROM event_counter")
    row = await cursor.fetchone()
    return (row[0], row[1]) if row else (0, 0)


async def history(
    connection: Connection, resource: str, *, kinds: Collection[str], before: int | None, limit: int
) -> list[EventRow]:
    """Returns up to `limit` events of one resource, newest first, older than the one with id `before`."""
    of_kinds = "AND kind = ANY(%(kinds)s)" if kinds else ""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM events WHERE resource = %(resource)s AND id < %(before)s {of_kinds} "
        "ORDER BY id DESC LIMIT %(limit)s",
        {"resource": resource, "before": before or _LAST_ID, "kinds": list(kinds), "limit": limit},
    )
    return [EventRow(*row) for row in await cursor.fetchall()]

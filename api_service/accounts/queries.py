"""The SQL that accounts of every kind share."""

from __future__ import annotations

import uuid
from datetime import datetime

from psycopg.types.json import Jsonb

from api_service.database import Connection
from shared.events import TASK_SUBJECT


async def delete_tasks(
    connection: Connection, owner_id: uuid.UUID, actor: str, delete_time: datetime, purge_time: datetime
) -> None:
    """Marks every live task of an account as deleted, with an event each. They are purged when the account is."""
    await connection.execute(
        f"""
        WITH deleted AS (
            UPDATE tasks SET delete_time = %(delete_time)s, purge_time = %(purge_time)s,
                             update_time = %(delete_time)s, version = version + 1
            WHERE owner_id = %(owner)s AND delete_time IS NULL
            RETURNING id, {TASK_SUBJECT} AS subject
        )
        INSERT INTO events (kind, resource, actor, owner_id, changes, subject)
        SELECT 'task.deleted', 'tasks/' || id, %(actor)s, %(owner)s, %(changes)s, subject FROM deleted ORDER BY id
        """,
        {
            "owner": owner_id,
            "actor": actor,
            "delete_time": delete_time,
            "purge_time": purge_time,
            "changes": Jsonb(
                {"delete_time": [None, delete_time.isoformat()], "purge_time": [None, purge_time.isoformat()]}
            ),
        },
    )


async def unassign(connection: Connection, assignee: str, assignee_id: uuid.UUID, actor: str) -> None:
    """Takes an account from every live task that it was to do, with an event each."""
    await connection.execute(
        f"""
        WITH changed AS (
            UPDATE tasks SET assignee_id = NULL, assignee_kind = NULL, update_time = now(), version = version + 1
            WHERE assignee_id = %(id)s AND delete_time IS NULL
            RETURNING id, owner_id, {TASK_SUBJECT} AS subject
        )
        INSERT INTO events (kind, resource, actor, owner_id, changes, subject)
        SELECT 'task.updated', 'tasks/' || id, %(actor)s, owner_id, %(changes)s, subject FROM changed ORDER BY id
        """,
        {"id": assignee_id, "actor": actor, "changes": Jsonb({"assignee": [assignee, None]})},
    )

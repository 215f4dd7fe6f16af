"""The tasks that a deleted account leaves behind: so many at a time, since nobody knows how many there are."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from shared.events import TASK_SUBJECT

#: Marks live tasks of a deleted account as deleted, with an event each. They are purged when the account is.
#: Takes the parameters of `orphans`, and `limit`.
DELETE_OWNED = f"""
WITH doomed AS (
    SELECT id FROM tasks WHERE owner_id = %(account)s AND delete_time IS NULL
    ORDER BY create_time, id LIMIT %(limit)s FOR NO KEY UPDATE
), deleted AS (
    UPDATE tasks SET delete_time = %(delete_time)s, purge_time = %(purge_time)s,
                     update_time = greatest(update_time, %(delete_time)s), version = version + 1
    FROM doomed WHERE tasks.id = doomed.id
    RETURNING tasks.id, {TASK_SUBJECT} AS subject
)
INSERT INTO events (kind, resource, actor, owner_id, changes, subject)
SELECT 'task.deleted', 'tasks/' || id, %(actor)s, %(account)s, %(deletion)s::jsonb, subject FROM deleted ORDER BY id
"""

#: Takes a deleted account from live tasks that it was to do, with an event each. Takes the same parameters.
UNASSIGN = f"""
WITH given AS (
    SELECT id FROM tasks WHERE assignee_id = %(account)s AND delete_time IS NULL
    ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE
), changed AS (
    UPDATE tasks SET assignee_id = NULL, assignee_kind = NULL, update_time = now(), version = version + 1
    FROM given WHERE tasks.id = given.id
    RETURNING tasks.id, owner_id, {TASK_SUBJECT} AS subject
)
INSERT INTO events (kind, resource, actor, owner_id, changes, subject)
SELECT 'task.updated', 'tasks/' || id, %(actor)s, owner_id, %(unassignment)s::jsonb, subject FROM changed ORDER BY id
"""


def orphans(account: uuid.UUID, name: str, actor: str, delete_time: datetime, purge_time: datetime) -> dict[str, Any]:
    """Returns the parameters of the statements, for an account that was deleted by `actor`."""
    return {
        "account": account,
        "actor": actor,
        "delete_time": delete_time,
        "purge_time": purge_time,
        "deletion": json.dumps(
            {"delete_time": [None, delete_time.isoformat()], "purge_time": [None, purge_time.isoformat()]}
        ),
        "unassignment": json.dumps({"assignee": [name, None]}),
    }

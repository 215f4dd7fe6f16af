"""New tasks of an import, a batch in one statement: key, task, event and reminders, all or none of each."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from shared.events import beginnings
from shared.ids import new_id, resource_name
from shared.kinds import EMAIL
from shared.reminders import REMINDING, reminder_args
from shared.states import PrincipalKind, TaskState
from worker_service.database import Connection
from worker_service.files.lines import Line

#: In the order of the statement's arrays.
_ARRAYS = {
    "id": "uuid",
    "key": "text",
    "title": "text",
    "description": "text",
    "priority": "smallint",
    "labels": "jsonb",
    "due_time": "timestamptz",
    "remind_time": "timestamptz",
    "state": "text",
    "complete_time": "timestamptz",
    "assignee_id": "uuid",
    "assignee_kind": "text",
    "parent_id": "uuid",
    "changes": "jsonb",
}
_REMINDER_ARRAYS = {"job_id": "uuid", "job_task": "uuid", "job_args": "jsonb", "job_time": "timestamptz"}
_FIELDS = ", ".join(name for name in _ARRAYS if name not in ("id", "key", "changes"))


def _unnest(arrays: Mapping[str, str]) -> str:
    return ", ".join(f"%({name})s::{kind}[]" for name, kind in arrays.items())


# Tasks whose key is taken are left out. References are checked when the statement ends: a key may come before its task.
_INSERT = f"""
WITH line AS MATERIALIZED (
    SELECT * FROM unnest({_unnest(_ARRAYS)}) WITH ORDINALITY AS line ({", ".join(_ARRAYS)}, n)
), keyed AS (
    INSERT INTO import_keys (owner_id, key, task_id)
    SELECT %(owner_id)s, key, id FROM line WHERE key IS NOT NULL ORDER BY key
    ON CONFLICT DO NOTHING RETURNING task_id
), fresh AS MATERIALIZED (
    SELECT * FROM line WHERE key IS NULL OR id IN (SELECT task_id FROM keyed)
), task AS (
    INSERT INTO tasks (id, owner_id, owner_kind, {_FIELDS})
    SELECT id, %(owner_id)s, %(owner_kind)s, {_FIELDS} FROM fresh
), event AS (
    INSERT INTO events (kind, resource, actor, owner_id, changes)
    SELECT 'task.created', 'tasks/' || id, %(actor)s, %(owner_id)s, changes FROM fresh ORDER BY n
), reminder AS (
    INSERT INTO jobs (id, kind, args, queue, max_attempts, owner_id, owner_kind, task_id, schedule_time, rank)
    SELECT job_id, '{EMAIL.name}', job_args, '{EMAIL.queue}', {EMAIL.max_attempts}, %(owner_id)s, %(owner_kind)s,
        job_task, job_time, job_time
    FROM unnest({_unnest(_REMINDER_ARRAYS)}) AS reminder ({", ".join(_REMINDER_ARRAYS)})
    WHERE job_task IN (SELECT id FROM fresh)
)
SELECT id FROM fresh
"""

#: The arrays that are fields as they are.
_PLAIN = ("title", "description", "priority", "due_time", "remind_time", "state")

#: The states in which there is still something to do.
OPEN = frozenset({TaskState.TODO.value, TaskState.IN_PROGRESS.value})

_TAKEN = "SELECT key, task_id FROM import_keys WHERE owner_id = %(owner_id)s AND key = ANY(%(keys)s)"


class Owner(NamedTuple):
    """On whose behalf an import runs, and whose its tasks are."""

    id: uuid.UUID
    kind: str

    @property
    def name(self) -> str:
        """Resource name of the account."""
        return resource_name(self.kind, self.id)


class Made(NamedTuple):
    """The task that a line stands for, and whether the line is what made it."""

    id: uuid.UUID
    fresh: bool


def insert(connection: Connection, owner: Owner, lines: Sequence[Line]) -> list[Made]:
    """Writes the tasks of good lines; returns the task of each, new or known by its key."""
    rows = [(new_id(), line) for line in lines]
    now = datetime.now(UTC)
    parameters = {
        "id": [id_ for id_, _ in rows],
        "key": [line.key for line in lines],
        "labels": [json.dumps(line.fields["labels"]) for line in lines],
        "complete_time": [now if line.fields["state"] == TaskState.DONE else None for line in lines],
        "assignee_kind": [line.fields["assignee"] and line.fields["assignee"][0] for line in lines],
        "assignee_id": [line.fields["assignee"] and line.fields["assignee"][1] for line in lines],
        "parent_id": [line.parent_id for line in lines],
        "changes": [json.dumps(beginnings(_told(line, now))) for line in lines],
        **{name: [line.fields[name] for line in lines] for name in _PLAIN},
        **_reminders(owner, rows, now),
        "owner_id": owner.id,
        "owner_kind": owner.kind,
        "actor": owner.name,
    }
    fresh = {row["id"] for row in connection.execute(_INSERT, parameters)}
    known = taken(connection, owner, [line.key for id_, line in rows if id_ not in fresh])
    return [Made(id_, fresh=True) if id_ in fresh else Made(known[line.key], fresh=False) for id_, line in rows]


def _told(line: Line, now: datetime) -> dict[str, Any]:
    """Returns what the event says of the new task."""
    assignee, state = line.fields["assignee"], line.fields["state"]
    return {
        **line.fields,
        "assignee": assignee and resource_name(*assignee),
        "parent_task": line.parent_id and resource_name("tasks", line.parent_id),
        "complete_time": now if state == TaskState.DONE else None,
    }


def _reminders(owner: Owner, rows: Sequence[tuple[uuid.UUID, Line]], now: datetime) -> dict[str, list[Any]]:
    """Returns the reminders that new tasks want, as CreateTask makes them."""
    arrays: dict[str, list[Any]] = {name: [] for name in _REMINDER_ARRAYS}
    for id_, line in rows:
        kind = line.fields["assignee"][0] if line.fields["assignee"] else owner.kind
        if line.fields["state"] not in OPEN or kind != PrincipalKind.USER:
            continue
        for field in REMINDING:
            time = line.fields[field]
            if time is not None and time > now:
                values = (new_id(), id_, json.dumps(reminder_args(id_, field, time)), time)
                for name, value in zip(_REMINDER_ARRAYS, values, strict=True):
                    arrays[name].append(value)
    return arrays


def taken(connection: Connection, owner: Owner, keys: list[Any]) -> dict[Any, uuid.UUID]:
    """Returns the tasks of the keys that the account has imported before."""
    if not keys:
        return {}
    rows = connection.execute(_TAKEN, {"owner_id": owner.id, "keys": keys})
    return {row["key"]: row["task_id"] for row in rows}

"""The SQL of tasks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from psycopg import adapters
from psycopg.types.json import Jsonb

from api_service.connection import WatchedConnection
from api_service.database import Connection
from api_service.prepared import Statement
from api_service.tasks.task import OPEN, Task
from shared.assignees import ASSIGNABLE
from shared.events import INSERT_EVENT
from shared.idempotency import CLAIM

T = TypeVar("T")

COLUMNS = ", ".join(Task._fields)

_TYPES = {
    "id": "uuid",
    "owner_id": "uuid",
    "assignee_id": "uuid",
    "parent_id": "uuid",
    "priority": "smallint",
    "labels": "jsonb",
    "version": "integer",
    **{field: "timestamptz" for field in Task._fields if field.endswith("_time")},
}
_RECORD = ", ".join(f"{field} {_TYPES.get(field, 'text')}" for field in Task._fields)

#: What a new task can bring along; the rest is as the table has it. Each parameter costs a microsecond.
_FRESH = [
    field for field in Task._fields if field not in ("state", "version", "complete_time", "delete_time", "purge_time")
]
_FRESH_COLUMNS = ", ".join(_FRESH)
# Nothing has changed it since it was made.
_FRESH_VALUES = ", ".join(
    f"%({'create_time' if field == 'update_time' else field})s::{_TYPES.get(field, 'text')}" for field in _FRESH
)

_INSERT = f"""
WITH event AS ({INSERT_EVENT})
INSERT INTO tasks ({_FRESH_COLUMNS}) VALUES ({_FRESH_VALUES})
"""

# One round trip: where the key is taken, the claim is empty and nothing else happens.
_INSERT_ONCE = Statement(
    f"""
    WITH claim AS ({CLAIM}),
    event AS (
        INSERT INTO events (kind, resource, actor, owner_id, changes)
        SELECT %(event_kind)s, %(event_resource)s, %(event_actor)s, %(owner_id)s::uuid, %(event_changes)s::jsonb
        FROM claim
    ),
    task AS (
        INSERT INTO tasks ({_FRESH_COLUMNS}) SELECT {_FRESH_VALUES} FROM claim
    )
    SELECT 1 FROM claim
    """,
    adapters,
)

_VISIBLE = "(owner_id = %(caller)s OR assignee_id = %(caller)s OR %(all)s)"

_SELECT = f"SELECT {COLUMNS} FROM tasks WHERE id = %(id)s AND {_VISIBLE}"

# Every mutation locks what it reads in one statement, in the order of ids: no two can wait for each other.
_LOCK = f"""
SELECT {COLUMNS} FROM tasks WHERE id = ANY(%(ids)s) AND {_VISIBLE} ORDER BY id FOR NO KEY UPDATE
"""

_LOCK_FAMILY = f"""
WITH RECURSIVE mine AS (
    SELECT id, parent_id FROM tasks WHERE id = ANY(%(ids)s) AND {_VISIBLE}
), above AS (
    (
        SELECT id, parent_id FROM tasks WHERE id IN (SELECT parent_id FROM mine)
        UNION ALL
        SELECT id, parent_id FROM tasks WHERE id = ANY(%(parents)s) AND {_VISIBLE}
    )
    UNION
    SELECT tasks.id, tasks.parent_id FROM tasks JOIN above ON tasks.id = above.parent_id
), below AS (
    SELECT id FROM mine WHERE id = ANY(%(trunks)s)
    UNION
    SELECT tasks.id FROM tasks JOIN below ON tasks.parent_id = below.id
)
SELECT {COLUMNS} FROM tasks
WHERE id IN (SELECT id FROM mine UNION SELECT id FROM above UNION SELECT id FROM below)
ORDER BY id FOR NO KEY UPDATE
"""

_BELOW = """
WITH RECURSIVE below AS (
    SELECT id, parent_id, state, delete_time FROM tasks WHERE parent_id = ANY(%(ids)s)
    UNION
    SELECT tasks.id, tasks.parent_id, tasks.state, tasks.delete_time
    FROM tasks JOIN below ON tasks.parent_id = below.id
)
SELECT * FROM below
"""

_TREES = """
WITH RECURSIVE above AS (
    SELECT id, parent_id FROM tasks WHERE id = ANY(%(ids)s)
    UNION
    SELECT tasks.id, tasks.parent_id FROM tasks JOIN above ON tasks.id = above.parent_id
), trees AS (
    SELECT id, parent_id FROM above WHERE parent_id IS NULL
    UNION
    SELECT tasks.id, tasks.parent_id FROM tasks JOIN trees ON tasks.parent_id = trees.id
)
SELECT id, parent_id FROM trees
"""

_EVENTS = """
event AS (
    INSERT INTO events (kind, resource, actor, owner_id, changes, subject)
    SELECT event_kind, event_resource, event_actor, event_owner_id, event_changes::jsonb, event_subject
    FROM claim, jsonb_to_recordset(%(events)s::jsonb) AS event (
        event_kind text, event_resource text, event_actor text, event_owner_id uuid, event_changes text,
        event_subject jsonb
    )
)
"""

# A notice takes the place of the one that still waits, whose arguments it names, or else is a job of its own; one
# without a job of its own only ends what waits.
_NOTICES = """
notice AS (
    SELECT notice.* FROM claim, jsonb_to_recordset(%(notices)s::jsonb) AS notice (
        job_id uuid, job_kind text, job_args text, job_queue text, job_max_attempts integer, job_owner_id uuid,
        job_owner_kind text, job_task_id uuid, job_traceparent text, schedule_time timestamptz, replaces jsonb
    )
), moved AS (
    UPDATE jobs SET
        args = coalesce(job_args::jsonb, args), schedule_time = coalesce(notice.schedule_time, jobs.schedule_time),
        rank = coalesce(notice.schedule_time, rank), state = CASE WHEN job_id IS NULL THEN 'CANCELLED' ELSE state END,
        end_time = CASE WHEN job_id IS NULL THEN clock_timestamp() END
    FROM notice WHERE jobs.task_id = job_task_id AND jobs.state = 'WAITING' AND jobs.args = replaces
    RETURNING job_id
), made AS (
    INSERT INTO jobs (id, kind, args, queue, max_attempts, owner_id, owner_kind, task_id, traceparent,
        schedule_time, rank)
    SELECT job_id, job_kind, job_args::jsonb, job_queue, job_max_attempts, job_owner_id, job_owner_kind, job_task_id,
        job_traceparent, coalesce(schedule_time, now()), coalesce(schedule_time, now())
    FROM notice WHERE job_id IS NOT NULL AND job_id NOT IN (SELECT job_id FROM moved WHERE job_id IS NOT NULL)
)
"""

_INPUT = f"""
input AS (SELECT input.* FROM claim, jsonb_to_recordset(%(tasks)s::jsonb) AS input ({_RECORD}))
"""

_INSERT_ALL = f"INSERT INTO tasks ({COLUMNS}) SELECT {COLUMNS} FROM input"

_UPDATE_ALL = f"""
UPDATE tasks SET ({COLUMNS}) = ({", ".join(f"input.{field}" for field in Task._fields)})
FROM input WHERE tasks.id = input.id
"""


class Node(NamedTuple):
    """A task's place in its tree."""

    id: uuid.UUID
    parent_id: uuid.UUID | None


class Part(NamedTuple):
    """A task below another, as far as the other must know it."""

    id: uuid.UUID
    parent_id: uuid.UUID
    state: str
    delete_time: datetime | None

    @property
    def live(self) -> bool:
        """Whether it is not deleted."""
        return self.delete_time is None

    @property
    def open(self) -> bool:
        """Whether there is still something to do."""
        return self.live and self.state in OPEN


async def insert(connection: Connection, task: Task, event: dict[str, Any]) -> None:
    """Writes a new task and its event."""
    await connection.execute(_INSERT, _parameters(task) | event)


async def insert_once(connection: WatchedConnection, task: Task, event: dict[str, Any], claim: dict[str, Any]) -> bool:
    """Writes a new task, its event and its idempotency record with the answer; or nothing, where the key is taken."""
    parameters = {**task._asdict(), "labels": json.dumps(task.labels), **event, **claim}
    return bool(await _INSERT_ONCE.fetch(connection, parameters))


async def insert_all(
    connection: Connection,
    tasks: Sequence[Task],
    events: Sequence[dict[str, Any]],
    notices: Sequence[dict[str, Any]],
    claim: dict[str, Any] | None = None,
) -> bool:
    """Writes new tasks, their events and their notices in one statement; or nothing, where the key is taken."""
    return await _write(connection, _INSERT_ALL, tasks, events, notices, claim)


async def update_all(
    connection: Connection,
    tasks: Sequence[Task],
    events: Sequence[dict[str, Any]],
    notices: Sequence[dict[str, Any]],
) -> None:
    """Writes locked tasks as they are now, their events and their notices in one statement."""
    await _write(connection, _UPDATE_ALL, tasks, events, notices, None)


async def get(connection: Connection, id_: uuid.UUID, *, reader: uuid.UUID, reads_all: bool) -> Task | None:
    """Returns a task that the reader may see, deleted ones included, or None."""
    parameters = {"id": id_, "caller": reader, "all": reads_all}
    cursor = await connection.execute(_SELECT, parameters, binary=True)
    row = await cursor.fetchone()
    return Task._make(row) if row else None


async def get_all(
    connection: Connection, ids: Collection[uuid.UUID], *, reader: uuid.UUID, reads_all: bool
) -> dict[uuid.UUID, Task]:
    """Returns those of the tasks that the reader may see, deleted ones included."""
    statement = f"SELECT {COLUMNS} FROM tasks WHERE id = ANY(%(ids)s) AND {_VISIBLE}"
    parameters = {"ids": list(ids), "caller": reader, "all": reads_all}
    return _by_id(await (await connection.execute(statement, parameters, binary=True)).fetchall())


class Look(NamedTuple, Generic[T]):
    """A statement that reads, and what its rows amount to."""

    statement: str
    parameters: dict[str, Any]
    read: Callable[[Iterable[tuple[Any, ...]]], T]


async def ask(connection: Connection, look: Look[T]) -> T:
    """Returns what one look finds."""
    cursor = await connection.execute(look.statement, look.parameters)
    return look.read(await cursor.fetchall())


async def ask_all(connection: Connection, *looks: Look[Any]) -> Any:
    """Returns what each look finds, in one round trip. Each sees what was committed while the one before waited."""
    async with connection.pipeline():
        cursors = [await connection.execute(look.statement, look.parameters) for look in looks]
    # Not before the pipeline is left: it would be asked for what has come, and then once more for its end.
    return [look.read(await cursor.fetchall()) for look, cursor in zip(looks, cursors, strict=True)]


def lock(ids: Collection[uuid.UUID], *, writer: uuid.UUID, writes_all: bool) -> Look[dict[uuid.UUID, Task]]:
    """Finds those of the tasks that the writer may see, and locks them until the end of the transaction."""
    return Look(_LOCK, {"ids": list(ids), "caller": writer, "all": writes_all}, _by_id)


def lock_family(
    ids: Collection[uuid.UUID],
    parents: Collection[uuid.UUID],
    trunks: Collection[uuid.UUID],
    *,
    writer: uuid.UUID,
    writes_all: bool,
) -> Look[dict[uuid.UUID, Task]]:
    """Locks the tasks, what they are or will be part of up to the root, and what is part of those among `trunks`.

    Whether that is still all of it, the caller has to see afterwards: the family is found before it is locked.
    """
    parameters = {
        "ids": list(ids), "parents": list(parents), "trunks": list(trunks), "caller": writer, "all": writes_all,
    }  # fmt: skip
    return Look(_LOCK_FAMILY, parameters, _by_id)


def below(ids: Collection[uuid.UUID]) -> Look[list[Part]]:
    """Finds everything that is part of the tasks, at any depth, deleted or not."""
    return Look(_BELOW, {"ids": list(ids)}, lambda rows: [Part._make(row) for row in rows])


def trees(ids: Collection[uuid.UUID]) -> Look[list[Node]]:
    """Finds the whole trees that the tasks stand in."""
    return Look(_TREES, {"ids": list(ids)}, lambda rows: [Node._make(row) for row in rows])


def principals(ids: Collection[uuid.UUID]) -> Look[set[tuple[uuid.UUID, str]]]:
    """Finds the accounts among `ids` that tasks can be assigned to, each with its kind; none of them can go now."""
    return Look(ASSIGNABLE, {"ids": list(ids)}, lambda rows: {(id_, kind) for id_, kind in rows})


async def _write(
    connection: Connection,
    statement: str,
    tasks: Sequence[Task],
    events: Sequence[dict[str, Any]],
    notices: Sequence[dict[str, Any]],
    claim: dict[str, Any] | None,
) -> bool:
    claiming = CLAIM if claim else "SELECT true AS claimed"
    parts = [f"claim AS ({claiming})", _INPUT, _EVENTS, f"written AS ({statement})"]
    parameters = {"tasks": _rows(task._asdict() for task in tasks), "events": _rows(events)}
    if notices:
        parts.append(_NOTICES)
        parameters["notices"] = _rows(notices)
    cursor = await connection.execute(f"WITH {', '.join(parts)} SELECT 1 FROM claim", parameters | (claim or {}))
    return cursor.rowcount == 1


def _rows(rows: Iterable[dict[str, Any]]) -> str:
    return json.dumps(list(rows), default=str)


def _by_id(rows: Iterable[tuple[Any, ...]]) -> dict[uuid.UUID, Task]:
    return {row[0]: Task._make(row) for row in rows}


def _parameters(task: Task) -> dict[str, Any]:
    return task._asdict() | {"labels": Jsonb(task.labels)}

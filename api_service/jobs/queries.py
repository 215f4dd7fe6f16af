"""The SQL of jobs as resources."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from api_service.database import Connection
from shared.attempts import ATTEMPTS
from shared.outbox import INSERT_JOB


class JobRow(NamedTuple):
    """A job as callers see it; `state` is one of the names in the contract."""

    id: uuid.UUID
    kind: str
    args: dict[str, Any]
    queue: str
    priority: int
    state: str
    attempt: int
    max_attempts: int
    schedule_time: datetime
    lease_expire_time: datetime | None
    progress_fraction: float | None
    progress_note: str | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    task_id: uuid.UUID | None
    owner_id: uuid.UUID | None
    owner_kind: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None


class AttemptRow(NamedTuple):
    """One try at a job."""

    claim_token: int
    attempt: int
    state: str
    worker: str
    start_time: datetime
    end_time: datetime | None
    error: dict[str, Any] | None


# WAITING is one stored state; the clock tells the three apart that users see.
_STATE = """
CASE WHEN state <> 'WAITING' THEN state
     WHEN schedule_time <= now() THEN 'QUEUED'
     WHEN attempt > 0 THEN 'RETRYING'
     ELSE 'SCHEDULED' END AS state
"""
_COLUMNS = ", ".join(_STATE if field == "state" else field for field in JobRow._fields)

_CONDITIONS = {
    "SCHEDULED": "state = 'WAITING' AND schedule_time > now() AND attempt = 0",
    "RETRYING": "state = 'WAITING' AND schedule_time > now() AND attempt > 0",
    "QUEUED": "state = 'WAITING' AND schedule_time <= now()",
    "RUNNING": "state = 'RUNNING'",
    "SUCCEEDED": "state = 'SUCCEEDED'",
    "FAILED": "state = 'FAILED'",
    "CANCELLED": "state = 'CANCELLED'",
}
_LAST_ID = uuid.UUID(int=2**128 - 1)
_LAST_TOKEN = 2**63 - 1


async def get(connection: Connection, id_: uuid.UUID, *, reader: uuid.UUID, reads_all: bool) -> JobRow | None:
    """Returns a job that the reader may see, or None."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE id = %s AND (owner_id = %s OR %s)", (id_, reader, reads_all)
    )
    row = await cursor.fetchone()
    return JobRow._make(row) if row else None


class ResultRow(NamedTuple):
    """The file that a job left behind; nothing of it is there if there is none, or it is not complete."""

    file_id: uuid.UUID | None
    name: str | None
    content_type: str | None
    size: int | None
    sha256: bytes | None


async def result(connection: Connection, id_: uuid.UUID, *, reader: uuid.UUID, reads_all: bool) -> ResultRow | None:
    """Returns the file of a job that the reader may see, or None."""
    cursor = await connection.execute(
        """
        SELECT file.id, file.name, file.content_type, file.size, file.sha256 FROM jobs
        LEFT JOIN job_files AS file ON file.job_id = jobs.id AND file.role = 'RESULT' AND file.size IS NOT NULL
        WHERE jobs.id = %s AND (jobs.owner_id = %s OR %s)
        """,
        (id_, reader, reads_all),
    )
    row = await cursor.fetchone()
    return ResultRow._make(row) if row else None


async def insert(connection: Connection, job: dict[str, Any]) -> JobRow:
    """Enqueues a job of `new_job` and returns it."""
    cursor = await connection.execute(f"{INSERT_JOB} RETURNING {_COLUMNS}", job)
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101  what was inserted is returned
    return JobRow._make(row)


async def page(
    connection: Connection,
    *,
    owner: uuid.UUID | None,
    kind: str,
    state: str | None,
    before: uuid.UUID | None,
    limit: int,
) -> list[JobRow]:
    """Returns up to `limit` jobs, newest first, of one owner or of everybody, older than `before`."""
    conditions = ["id < %(before)s"]
    if owner is not None:
        conditions.append("owner_id = %(owner)s")
    if kind:
        conditions.append("kind = %(kind)s")
    if state is not None:
        conditions.append(_CONDITIONS[state])
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %(limit)s",
        {"owner": owner, "kind": kind, "before": before or _LAST_ID, "limit": limit},
    )
    return [JobRow._make(row) for row in await cursor.fetchall()]


async def attempts(connection: Connection, job_id: uuid.UUID, *, before: int | None, limit: int) -> list[AttemptRow]:
    """Returns up to `limit` attempts at a job, newest first, older than the one with claim token `before`."""
    cursor = await connection.execute(
        f"SELECT {', '.join(AttemptRow._fields)} FROM ({ATTEMPTS}) AS attempts "
        "WHERE job_id = %s AND claim_token < %s ORDER BY claim_token DESC LIMIT %s",
        (job_id, _LAST_TOKEN if before is None else before, limit),
    )
    return [AttemptRow._make(row) for row in await cursor.fetchall()]

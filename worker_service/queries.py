"""All SQL of the worker. Every statement stands alone unless its caller opened a transaction.

Times are PostgreSQL's. `clock_timestamp()` stands where the statement may be part of a long transaction, or wait for a
lock, since `now()` is when the transaction began.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import TaskHubError
from shared.events import CHANNEL as EVENTS_CHANNEL
from shared.outbox import CHANNEL as JOBS_CHANNEL
from shared.outbox import RANK_SLACK
from worker_service.database import Connection

#: Due, of a kind that this worker knows. The bound on `rank` keeps the scan away from jobs scheduled far ahead.
_DUE = f"""
    state = 'WAITING' AND kind = ANY(%(kinds)s) AND schedule_time <= now() AND rank <= now() + {RANK_SLACK}
"""

_FENCE = "id = %(id)s AND state = 'RUNNING' AND claim_token = %(claim_token)s"

#: Closes the attempt of the row that `ended` holds.
_CLOSE = """
UPDATE job_attempts SET state = %(attempt_state)s, error = %(error)s::jsonb, end_time = clock_timestamp()
FROM ended WHERE job_attempts.job_id = ended.id AND job_attempts.claim_token = ended.claim_token
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this process holds the lease of."""

    id: uuid.UUID
    kind: str
    queue: str
    args: Mapping[str, Any]
    attempt: int
    max_attempts: int
    #: The fencing token: whoever claims the job later has a higher one.
    claim_token: int
    traceparent: str | None
    #: Seconds between the time it was due and the claim.
    latency: float

    @property
    def fence(self) -> dict[str, Any]:
        """The parameters that make a write this claim's own."""
        return {"id": self.id, "claim_token": self.claim_token}


@dataclass(frozen=True, slots=True)
class Reaped:
    """A job whose lease had ended."""

    id: uuid.UUID
    kind: str
    state: str
    attempt: int


def claim(connection: Connection, queue: str, kinds: Sequence[str], lease: float, worker: str) -> Claimed | None:
    """Takes the next due job of `queue` under a lease, and opens its attempt."""
    row = connection.execute(
        f"""
        WITH next AS (
            SELECT id FROM jobs WHERE queue = %(queue)s AND {_DUE}
            ORDER BY rank, id LIMIT 1 FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE jobs SET state = 'RUNNING', attempt = attempt + 1, claim_token = claim_token + 1,
                start_time = now(), lease_expire_time = now() + make_interval(secs => %(lease)s)
            FROM next WHERE jobs.id = next.id
            RETURNING jobs.id, kind, queue, args, attempt, max_attempts, claim_token, traceparent,
                extract(epoch FROM now() - schedule_time)::float8 AS latency
        ), opened AS (
            INSERT INTO job_attempts (job_id, claim_token, attempt, worker)
            SELECT id, claim_token, attempt, %(worker)s FROM claimed
        )
        SELECT * FROM claimed
        """,
        {"queue": queue, "kinds": list(kinds), "lease": lease, "worker": worker},
    ).fetchone()
    return None if row is None else Claimed(**row)


def extend(connection: Connection, job: Claimed, lease: float) -> bool:
    """Extends the lease, or returns False if it is no longer ours."""
    return _changed(
        connection,
        f"UPDATE jobs SET lease_expire_time = clock_timestamp() + make_interval(secs => %(lease)s) WHERE {_FENCE}",
        {**job.fence, "lease": lease},
    )


def succeed(connection: Connection, job: Claimed, result: Mapping[str, Any] | None) -> bool:
    """Completes the job, or returns False if the lease was lost: then nothing of its transaction may be committed."""
    return _changed(
        connection,
        f"""
        WITH ended AS (
            UPDATE jobs SET state = 'SUCCEEDED', result = %(result)s::jsonb, error = NULL,
                lease_expire_time = NULL, end_time = clock_timestamp()
            WHERE {_FENCE} RETURNING id, claim_token
        ) {_CLOSE}
        """,
        {
            **job.fence,
            "result": None if result is None else json.dumps(result),
            "attempt_state": "SUCCEEDED",
            "error": None,
        },
    )


def fail(connection: Connection, job: Claimed, error: TaskHubError, delay: float | None) -> bool:
    """Ends the attempt: the job waits `delay` seconds for the next one, or is FAILED if there is no delay.

    Returns False if the lease was lost.
    """
    return _changed(
        connection,
        f"""
        WITH next AS (
            SELECT clock_timestamp() + make_interval(secs => %(delay)s::float8) AS due
        ), ended AS (
            UPDATE jobs SET state = CASE WHEN due IS NULL THEN 'FAILED' ELSE 'WAITING' END,
                schedule_time = coalesce(due, schedule_time), rank = coalesce(rank + (due - schedule_time), rank),
                error = %(error)s::jsonb, lease_expire_time = NULL,
                end_time = CASE WHEN due IS NULL THEN clock_timestamp() END
            FROM next WHERE {_FENCE} RETURNING id, claim_token
        ) {_CLOSE}
        """,
        {**job.fence, "delay": delay, "attempt_state": "FAILED", "error": status(error)},
    )


def release(connection: Connection, worker: str) -> int:
    """Hands back all that `worker` runs, without charging an attempt; returns how many jobs those were."""
    return connection.execute(
        f"""
        WITH ended AS (
            UPDATE jobs SET state = 'WAITING', attempt = jobs.attempt - 1, lease_expire_time = NULL
            FROM job_attempts
            WHERE jobs.state = 'RUNNING' AND job_attempts.job_id = jobs.id
                AND job_attempts.claim_token = jobs.claim_token AND job_attempts.worker = %(worker)s
            RETURNING jobs.id, jobs.claim_token
        ), woken AS (
            SELECT pg_notify('{JOBS_CHANNEL}', '') FROM ended LIMIT 1
        ), closed AS ({_CLOSE} RETURNING job_id)
        SELECT job_id, (SELECT count(*) FROM woken) FROM closed
        """,
        {"worker": worker, "attempt_state": "RELEASED", "error": None},
    ).rowcount


def reap(connection: Connection, lease: float, error: TaskHubError, limit: int = 100) -> list[Reaped]:
    """Ends the leases whose time is over. Attempts that are left begin at once.

    Not while PostgreSQL has been up for less than a lease: healthy workers need that long to extend theirs.
    """
    rows = connection.execute(
        f"""
        WITH over AS (
            SELECT id FROM jobs
            WHERE state = 'RUNNING' AND lease_expire_time < now()
                AND pg_postmaster_start_time() < now() - make_interval(secs => %(lease)s)
            ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), ended AS (
            UPDATE jobs SET state = CASE WHEN attempt < max_attempts THEN 'WAITING' ELSE 'FAILED' END,
                error = %(error)s::jsonb, lease_expire_time = NULL,
                end_time = CASE WHEN attempt < max_attempts THEN NULL ELSE now() END
            FROM over WHERE jobs.id = over.id
            RETURNING jobs.id, claim_token, kind, state, attempt
        ), woken AS (
            SELECT pg_notify('{JOBS_CHANNEL}', '') FROM ended LIMIT 1
        ), closed AS ({_CLOSE})
        SELECT id, kind, state, attempt FROM ended LEFT JOIN woken ON true
        """,
        {"lease": lease, "limit": limit, "attempt_state": "LOST", "error": status(error)},
    ).fetchall()
    return [Reaped(**row) for row in rows]


def due(connection: Connection, queues: Sequence[str], kinds: Sequence[str], limit: int) -> dict[str, int]:
    """Counts the due jobs of each queue that has any, up to `limit`."""
    rows = connection.execute(
        f"""
        SELECT queue, due FROM unnest(%(queues)s::text[]) AS wanted (queue), LATERAL (
            SELECT count(*) AS due FROM (
                SELECT FROM jobs WHERE jobs.queue = wanted.queue AND {_DUE} LIMIT %(limit)s
            ) AS found
        ) AS counted WHERE due > 0
        """,
        {"queues": list(queues), "kinds": list(kinds), "limit": limit},
    )
    return {row["queue"]: row["due"] for row in rows}


def listen(connection: Connection) -> None:
    """Subscribes to the hints that jobs were enqueued."""
    connection.execute(f"LISTEN {JOBS_CHANNEL}")


def notify_jobs(connection: Connection) -> None:
    """Hints that there is more to do."""
    connection.execute("SELECT pg_notify(%s, '')", [JOBS_CHANNEL])


def unsequenced(connection: Connection) -> bool:
    """Returns whether an event waits for its position."""
    row = connection.execute("SELECT EXISTS (SELECT FROM events WHERE position IS NULL) AS found").fetchone()
    return row is not None and bool(row["found"])


def sequence(connection: Connection, lock: int, limit: int) -> int:
    """Gives committed events the next positions, in id order, one process at a time; returns how many got one.

    The lock is a statement of its own, so that the snapshot of the second is taken under it.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
        return connection.execute(
            f"""
            WITH batch AS (
                SELECT id, row_number() OVER (ORDER BY id) AS n FROM events WHERE position IS NULL
                ORDER BY id LIMIT %(limit)s
            ), total AS (
                SELECT count(*) AS size FROM batch
            ), counter AS (
                UPDATE event_counter SET position = position + size FROM total WHERE size > 0
                RETURNING event_counter.position AS last, size
            ), woken AS (
                SELECT pg_notify('{EVENTS_CHANNEL}', last::text) FROM counter
            )
            UPDATE events SET position = last - size + n
            FROM batch, counter, (SELECT count(*) FROM woken) AS notified WHERE events.id = batch.id
            """,
            {"limit": limit},
        ).rowcount


def backlog(connection: Connection) -> list[dict[str, Any]]:
    """Counts the jobs that are not done, by queue and by the state that users see; finished ones are not counted."""
    return connection.execute(
        """
        SELECT queue, CASE
                WHEN state <> 'WAITING' THEN state
                WHEN schedule_time <= now() THEN 'QUEUED'
                WHEN attempt > 0 THEN 'RETRYING'
                ELSE 'SCHEDULED'
            END AS shown, count(*) AS jobs
        FROM jobs WHERE state IN ('WAITING', 'RUNNING', 'FAILED') GROUP BY 1, 2
        """
    ).fetchall()


def registration(connection: Connection, id_: uuid.UUID) -> dict[str, Any] | None:
    """Returns the address and display name of a registration that can still be confirmed."""
    return connection.execute(
        "SELECT email, display_name FROM registrations WHERE id = %s AND expire_time > now()", [id_]
    ).fetchone()


def user(connection: Connection, id_: uuid.UUID) -> dict[str, Any] | None:
    """Returns the address and display name of an account."""
    return connection.execute("SELECT email, display_name FROM users WHERE id = %s", [id_]).fetchone()


def bound_idleness(connection: Connection, seconds: float) -> None:
    """Ends the transaction if this process freezes inside it, before it can block its successor for ever."""
    connection.execute(
        "SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [str(max(1, int(seconds * 1000)))]
    )


def status(error: TaskHubError) -> str:
    """Returns `error` as `jobs.error` holds it (google.rpc.Status)."""
    return json.dumps({"code": int(error.code), "message": error.message, "reason": error.reason})


def _changed(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> bool:
    return connection.execute(statement, parameters).rowcount == 1

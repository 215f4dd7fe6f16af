"""All SQL of the worker. Every statement stands alone unless its caller opened a transaction.

Times are PostgreSQL's. `clock_timestamp()` stands where the statement may be part of a long transaction, or wait for a
lock, since `now()` is when the transaction began.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg.rows import tuple_row

from shared.errors import TaskHubError
from shared.events import CHANNEL as EVENTS_CHANNEL
from shared.outbox import CHANNEL as JOBS_CHANNEL
from shared.outbox import INSERT_JOB, RANK_SLACK
from worker_service.connection import JobConnection, Statement
from worker_service.database import Connection, Session
from worker_service.texts import printable

#: Due, of a kind that this worker knows. The bound on `rank` keeps the scan away from jobs scheduled far ahead.
_DUE = f"""
    state = 'WAITING' AND kind = ANY(%(kinds)s) AND schedule_time <= now() AND rank <= now() + {RANK_SLACK}
"""

_FENCE = "id = %(id)s AND state = 'RUNNING' AND claim_token = %(claim_token)s"

#: The rows of several claims, which are locked.
_HELD = """
SELECT jobs.id, jobs.claim_token FROM unnest(%(ids)s::uuid[], %(claim_tokens)s::bigint[]) AS mine (id, claim_token)
JOIN jobs ON jobs.id = mine.id AND jobs.state = 'RUNNING' AND jobs.claim_token = mine.claim_token
"""

#: Writes down the attempts that `ended` holds. Only those that did not succeed: see `shared.attempts`. (The release
#: before wrote a row at the claim.)
_CLOSE = """
INSERT INTO job_attempts (job_id, claim_token, attempt, state, worker, start_time, end_time, error)
SELECT id, claim_token, number, %(attempt_state)s, coalesce(worker, ''), coalesce(start_time, now()), clock_timestamp(),
    %(error)s::jsonb
FROM ended
ON CONFLICT (job_id, claim_token) DO UPDATE
    SET state = EXCLUDED.state, end_time = EXCLUDED.end_time, error = EXCLUDED.error
"""


#: How often a job may have been claimed uncharged and still be excused.
EXCUSES = 20


class Claimed(NamedTuple):
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


class Done(NamedTuple):
    """A job whose handler returned, and its result as JSON."""

    job: Claimed
    result: str | None


@dataclass(frozen=True, slots=True)
class Reaped:
    """A job whose lease had ended."""

    id: uuid.UUID
    kind: str
    state: str
    attempt: int


def claim(
    connection: Connection,
    queue: str,
    kinds: Sequence[str],
    lease: float,
    worker: str,
    *,
    session: Session | None = None,
    limit: int = 1,
) -> list[Claimed]:
    """Takes the next due jobs of `queue` under a lease.

    A job marked solo comes alone. So does one that nothing else was found beside, which is then marked as well: a loss
    of it tells who was the cause. The limit is part of the text, so that the plan is made for it. What waits has an
    attempt, even if somebody took it away since: one row that cannot be claimed would block its queue.
    """
    rows = (
        connection.cursor(row_factory=tuple_row, binary=True)
        .execute(
            f"""
        WITH found AS MATERIALIZED (
            SELECT id, solo FROM jobs WHERE queue = %(queue)s AND {_DUE}
            ORDER BY rank, schedule_time, id LIMIT {limit:d} FOR UPDATE SKIP LOCKED
        ), head AS MATERIALIZED (
            SELECT id, solo FROM found LIMIT 1
        ), chosen AS MATERIALIZED (
            SELECT found.id FROM found, head WHERE found.id = head.id OR NOT (found.solo OR head.solo)
        ), claimed AS (
            UPDATE jobs SET state = 'RUNNING', attempt = attempt + 1,
                max_attempts = greatest(max_attempts, attempt + 1), claim_token = claim_token + 1,
                start_time = now(), heartbeat_time = now(),
                lease_expire_time = now() + make_interval(secs => %(lease)s),
                worker = %(worker)s, session_pid = %(pid)s, session_start_time = %(session_start_time)s,
                solo = (SELECT count(*) FROM chosen) = 1
            WHERE id = ANY(ARRAY(SELECT id FROM chosen))
            RETURNING id, kind, queue, args, attempt, max_attempts, claim_token, traceparent,
                extract(epoch FROM now() - schedule_time)::float8 AS latency, rank, schedule_time
        )
        SELECT {", ".join(Claimed._fields)} FROM claimed ORDER BY rank, schedule_time, id
        """,
            {
                "queue": queue,
                "kinds": list(kinds),
                "lease": lease,
                "worker": worker,
                "pid": session and session.pid,
                "session_start_time": session and session.start_time,
            },
        )
        .fetchall()
    )
    return [Claimed._make(row) for row in rows]


def extend(connection: Connection, held: Mapping[uuid.UUID, int], lease: float) -> dict[uuid.UUID, bool]:
    """Extends the leases that are still ours; returns for each whether its cancellation was asked for.

    What another transaction has locked is left out: it is being finished, or taken away. A handler's own one may refer
    to its job.
    """
    rows = connection.execute(
        f"""
        WITH held AS ({_HELD} FOR NO KEY UPDATE OF jobs SKIP LOCKED)
        UPDATE jobs SET heartbeat_time = clock_timestamp(),
            lease_expire_time = clock_timestamp() + make_interval(secs => %(lease)s)
        FROM held WHERE jobs.id = held.id RETURNING jobs.id, cancel_requested
        """,
        {**_fences(held), "lease": lease},
    )
    return {row["id"]: row["cancel_requested"] for row in rows}


def report(connection: Connection, job: Claimed, fraction: float, note: str) -> None:
    """Writes how far the job is; a lost lease, or a row that is locked, changes nothing."""
    connection.execute(
        f"""
        UPDATE jobs SET progress_fraction = %(fraction)s, progress_note = %(note)s
        WHERE id = (SELECT id FROM jobs WHERE {_FENCE} FOR NO KEY UPDATE SKIP LOCKED)
        """,
        {**job.fence, "fraction": fraction, "note": note},
    )


_SUCCEED = f"""
WITH ended AS (
    UPDATE jobs SET state = 'SUCCEEDED', result = %(result)s::jsonb, error = NULL,
        lease_expire_time = NULL, end_time = clock_timestamp()
    WHERE {_FENCE} RETURNING id
)
"""


def succeed(connection: Connection, job: Claimed, result: str | None) -> bool:
    """Completes the job, or returns False if the lease was lost."""
    return _changed(connection, f"{_SUCCEED} SELECT FROM ended", _success(job, result))


_SUCCEED_OR_ABORT = Statement(
    b"taskhub_succeed",
    (f"{_SUCCEED} SELECT 1 / count(*) FROM ended" % {"id": "$1", "claim_token": "$2", "result": "$3"}).encode(),
)


def succeed_or_abort(connection: JobConnection, job: Claimed, result: str | None) -> None:
    """Completes the job and commits, or aborts the transaction (division by zero) if the lease was lost.

    The COMMIT is sent without waiting: it must not commit the effect of a lost lease.
    """
    values = [str(job.id).encode(), b"%d" % job.claim_token, None if result is None else result.encode()]
    connection.finish(_SUCCEED_OR_ABORT, values)


def _success(job: Claimed, result: str | None) -> dict[str, Any]:
    return {**job.fence, "result": result}


def succeed_all(connection: Connection, group: Sequence[Done]) -> int:
    """Completes a group, and returns how many of it were still ours. Rows are locked in id order: no deadlocks."""
    return connection.execute(
        """
        WITH done AS (
            SELECT * FROM unnest(%(ids)s::uuid[], %(claim_tokens)s::bigint[], %(results)s::text[])
                AS done (id, claim_token, result)
        ), held AS MATERIALIZED (
            SELECT jobs.id, done.result FROM done
            JOIN jobs ON jobs.id = done.id AND jobs.state = 'RUNNING' AND jobs.claim_token = done.claim_token
            ORDER BY jobs.id FOR UPDATE OF jobs
        )
        UPDATE jobs SET state = 'SUCCEEDED', result = held.result::jsonb, error = NULL,
            lease_expire_time = NULL, end_time = clock_timestamp()
        FROM held WHERE jobs.id = held.id
        """,
        {
            **_fences({done.job.id: done.job.claim_token for done in group}),
            "results": [done.result for done in group],
        },
    ).rowcount


def fail(
    connection: Connection, job: Claimed, error: TaskHubError, delay: float | None, *, cancelled: bool = False
) -> bool:
    """Ends the attempt: the job waits `delay` seconds for the next one, or is FAILED if there is no delay.

    It is CANCELLED if that is what ended it, or was asked for. Returns False if the lease was lost.
    """
    return _changed(
        connection,
        f"""
        WITH next AS (
            SELECT clock_timestamp() + make_interval(secs => %(delay)s::float8) AS due
        ), ended AS (
            UPDATE jobs SET
                state = CASE WHEN cancel_requested OR %(cancelled)s THEN 'CANCELLED' WHEN due IS NULL THEN 'FAILED'
                    ELSE 'WAITING' END,
                schedule_time = coalesce(due, schedule_time), rank = coalesce(rank + (due - schedule_time), rank),
                error = %(error)s::jsonb, lease_expire_time = NULL, solo = false,
                end_time = CASE WHEN cancel_requested OR %(cancelled)s OR due IS NULL THEN clock_timestamp() END
            FROM next WHERE {_FENCE} RETURNING id, claim_token, attempt AS number, worker, start_time
        ) {_CLOSE}
        """,
        {**job.fence, "delay": delay, "cancelled": cancelled, "attempt_state": "FAILED", "error": status(error)},
    )


def excuse(connection: Connection, job: Claimed, error: TaskHubError) -> bool:
    """Hands the job back uncharged if PostgreSQL was started since its claim, and so was gone meanwhile.

    Returns False if it was not, or if the lease was lost. A server process that crashes alone excuses nobody: the job
    may have been the cause. So it may where the machine ended all of PostgreSQL: who had many claims for nothing is
    charged from then on.
    """
    return _changed(
        connection,
        f"""
        WITH ended AS (
            UPDATE jobs SET
                state = CASE WHEN cancel_requested THEN 'CANCELLED' ELSE 'WAITING' END,
                end_time = CASE WHEN cancel_requested THEN clock_timestamp() END,
                attempt = attempt - 1, error = %(error)s::jsonb, lease_expire_time = NULL
            WHERE {_FENCE} AND start_time < pg_postmaster_start_time() AND claim_token - attempt < {EXCUSES}
            RETURNING id, claim_token, attempt + 1 AS number, worker, start_time
        ), woken AS (
            SELECT pg_notify('{JOBS_CHANNEL}', '') FROM ended
        ), closed AS ({_CLOSE} RETURNING job_id)
        SELECT job_id FROM closed LEFT JOIN woken ON true
        """,
        {**job.fence, "attempt_state": "LOST", "error": status(error)},
    )


#: Hands back what `held` holds: nobody is charged.
_RELEASE = f"""
ended AS (
    UPDATE jobs SET state = CASE WHEN cancel_requested THEN 'CANCELLED' ELSE 'WAITING' END,
        end_time = CASE WHEN cancel_requested THEN clock_timestamp() END,
        attempt = attempt - 1, lease_expire_time = NULL
    FROM held WHERE jobs.id = held.id RETURNING jobs.id, jobs.claim_token, attempt + 1 AS number, worker, start_time
), woken AS (
    SELECT pg_notify('{JOBS_CHANNEL}', '') FROM ended LIMIT 1
), closed AS ({_CLOSE} RETURNING job_id)
SELECT job_id, (SELECT count(*) FROM woken) FROM closed
"""


def release(connection: Connection, held: Mapping[uuid.UUID, int]) -> int:
    """Hands jobs back that have not started; returns how many of them were still ours."""
    return connection.execute(
        f"WITH held AS MATERIALIZED ({_HELD} ORDER BY jobs.id FOR UPDATE OF jobs), {_RELEASE}",
        {**_fences(held), "attempt_state": "RELEASED", "error": None},
    ).rowcount


def release_all(connection: Connection, worker: str) -> int:
    """Hands back all that `worker` runs; returns how many jobs those were."""
    return connection.execute(
        f"""
        WITH held AS MATERIALIZED (
            SELECT id FROM jobs WHERE state = 'RUNNING' AND worker = %(worker)s ORDER BY id FOR UPDATE
        ), {_RELEASE}
        """,
        {"worker": worker, "attempt_state": "RELEASED", "error": None},
    ).rowcount


def clock(connection: Connection) -> datetime:
    """Returns the time by PostgreSQL's clock."""
    row = connection.execute("SELECT clock_timestamp() AS time").fetchone()
    assert row is not None  # noqa: S101 - one row
    time: datetime = row["time"]
    return time


def reap(
    connection: Connection,
    lease: float,
    silence: float,
    error: TaskHubError,
    until: datetime | None = None,
    limit: int = 1000,
) -> list[Reaped]:
    """Ends the leases whose time is over, and those whose session is gone and whose worker was silent for `silence`.

    Neither begins before PostgreSQL, or this session, has been up for as long: healthy workers need that time to give
    a sign of life after an outage. A job that was lost beside others is charged nothing and marked: it comes alone the
    next time, and then the loss counts. Attempts that are left begin at once. Nothing is ended from `until` on.
    """
    rows = connection.execute(
        f"""
        WITH sessions AS MATERIALIZED (
            SELECT pid, backend_start FROM pg_stat_activity
        ), settled AS MATERIALIZED (
            SELECT pg_postmaster_start_time() < now() - make_interval(secs => %(lease)s) AS for_lease,
                coalesce(max(backend_start) < now() - make_interval(secs => %(silence)s), false) AS for_silence
            FROM sessions WHERE pid = pg_backend_pid()
        ), over AS MATERIALIZED (
            -- Their columns as they are now, not as they were when the statement began: one may be cancelled meanwhile.
            SELECT id, attempt, max_attempts, solo, cancel_requested FROM jobs, settled
            WHERE state = 'RUNNING' AND now() < %(until)s AND (
                lease_expire_time < now() AND for_lease
                OR heartbeat_time < now() - make_interval(secs => %(silence)s) AND for_silence
                    AND heartbeat_time > pg_postmaster_start_time() AND session_pid IS NOT NULL
                    AND NOT EXISTS (
                        SELECT FROM sessions WHERE pid = session_pid
                            -- Of sessions of another role only the pid can be seen.
                            AND coalesce(backend_start, session_start_time) = session_start_time
                    )
            )
            ORDER BY id LIMIT %(limit)s FOR UPDATE OF jobs SKIP LOCKED
        ), verdict AS (
            SELECT id, attempt AS number, CASE WHEN cancel_requested THEN 'CANCELLED'
                WHEN solo AND attempt >= max_attempts THEN 'FAILED' ELSE 'WAITING' END AS state
            FROM over
        ), ended AS (
            UPDATE jobs SET state = verdict.state, solo = true,
                attempt = CASE WHEN solo THEN attempt ELSE attempt - 1 END,
                error = %(error)s::jsonb, lease_expire_time = NULL,
                end_time = CASE WHEN verdict.state <> 'WAITING' THEN now() END
            FROM verdict WHERE jobs.id = verdict.id
            RETURNING jobs.id, claim_token, kind, jobs.state, attempt, number, worker, start_time
        ), woken AS (
            SELECT pg_notify('{JOBS_CHANNEL}', '') FROM ended LIMIT 1
        ), closed AS ({_CLOSE})
        SELECT id, kind, state, attempt FROM ended LEFT JOIN woken ON true
        """,
        {
            "lease": lease,
            "silence": silence,
            "until": until or datetime.max.replace(tzinfo=UTC),
            "limit": limit,
            "attempt_state": "LOST",
            "error": status(error),
        },
    ).fetchall()
    return [Reaped(**row) for row in rows]


def steps(connection: Connection, job: Claimed) -> dict[str, Any]:
    """Returns what the steps of earlier attempts returned, by name."""
    rows = connection.execute("SELECT name, result FROM job_steps WHERE job_id = %s", [job.id])
    return {row["name"]: row["result"] for row in rows}


def remember(connection: Connection, job: Claimed, name: str, result: str) -> bool:
    """Keeps the result of a step, or returns False if the lease was lost: then its effect may not be committed.

    The lock keeps the lease ours until the transaction ends.
    """
    return _changed(
        connection,
        f"""
        INSERT INTO job_steps (job_id, name, result)
        SELECT id, %(name)s, %(result)s::jsonb FROM (SELECT id FROM jobs WHERE {_FENCE} FOR NO KEY UPDATE) AS held
        """,
        {**job.fence, "name": name, "result": result},
    )


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


def enqueue_once_a_period(connection: Connection, lock: int, period: float, job: Mapping[str, Any]) -> None:
    """Enqueues the job, unless one of its kind is younger than `period` seconds or has not ended.

    The lock is a statement of its own, so that the snapshot of the second is taken under it.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
        last = connection.execute(
            """
            SELECT create_time > now() - make_interval(secs => %s) OR end_time IS NULL AS enough
            FROM jobs WHERE kind = %s ORDER BY id DESC LIMIT 1
            """,
            [period, job["job_kind"]],
        ).fetchone()
        if last is None or not last["enough"]:
            connection.execute(INSERT_JOB, job)


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


def bound_idleness(connection: Connection, seconds: float) -> None:
    """Ends the transaction if this process freezes inside it, before it can block its successor for ever."""
    connection.execute(
        "SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [str(max(1, int(seconds * 1000)))]
    )


def status(error: TaskHubError) -> str:
    """Returns `error` as `jobs.error` holds it (google.rpc.Status)."""
    return json.dumps({"code": int(error.code), "message": printable(error.message), "reason": error.reason})


def _fences(held: Mapping[uuid.UUID, int]) -> dict[str, Any]:
    return {"ids": list(held), "claim_tokens": list(held.values())}


def _changed(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> bool:
    return connection.execute(statement, parameters).rowcount == 1

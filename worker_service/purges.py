"""What housekeeping deletes, in batches that are each a transaction of their own and lock nothing for long.

Rows that somebody else has locked are left for the next time. Who adds a table adds its purge to `PURGES`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from shared.events import SYSTEM, TASK_PURGED, TASK_SUBJECT
from shared.files import DELETE_ABANDONED
from shared.orphans import DELETE_OWNED, UNASSIGN, orphans
from worker_service.database import Connection
from worker_service.settings import WorkerSettings

#: Yields how many rows each batch has deleted, until nothing is left to delete.
Purge = Callable[[Connection, WorkerSettings], Iterator[int]]

#: Rows of one batch.
BATCH = 500

#: So that whoever a task was assigned to may know that it is gone.
_UNASSIGNED = "jsonb_build_array(assignee_kind || '/' || assignee_id, NULL)"


def orphaned(connection: Connection, account: uuid.UUID) -> Iterator[int]:
    """What DeleteUser has left of very many tasks: those that a deleted account owns, and those that it was to do."""
    row = connection.execute(
        """
        SELECT 'users/' || id AS name, delete_time, purge_time FROM users WHERE id = %(id)s AND delete_time IS NOT NULL
        UNION ALL
        SELECT 'serviceAccounts/' || id, delete_time, purge_time FROM service_accounts
        WHERE id = %(id)s AND delete_time IS NOT NULL
        """,
        {"id": account},
    ).fetchone()
    if row is not None:
        parameters = orphans(account, row["name"], SYSTEM, row["delete_time"], row["purge_time"])
        for statement in (DELETE_OWNED, UNASSIGN):
            yield from _batches(connection, statement, **parameters)


def tasks(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Deleted tasks that can no longer be brought back, subtasks first. Whoever watches them hears of it."""
    return _batches(
        connection,
        f"""
        WITH gone AS (
            DELETE FROM tasks WHERE id IN (
                SELECT id FROM tasks WHERE purge_time <= now()
                    AND NOT EXISTS (SELECT FROM tasks AS part WHERE part.parent_id = tasks.id)
                ORDER BY purge_time LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            )
            RETURNING *
        ), event AS (
            INSERT INTO events (kind, resource, actor, owner_id, changes, subject)
            SELECT '{TASK_PURGED}', 'tasks/' || id, '{SYSTEM}', owner_id, jsonb_strip_nulls(jsonb_build_object(
                'assignee', CASE WHEN assignee_id IS NOT NULL THEN {_UNASSIGNED} END
            )), {TASK_SUBJECT} FROM gone ORDER BY id
        )
        SELECT FROM gone
        """,
    )


def principals(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """What is left of deleted accounts, once none of their tasks is left; theirs are purged before."""
    return _batches(
        connection,
        """
        DELETE FROM principals WHERE id IN (
            SELECT id FROM (
                SELECT id, purge_time FROM users WHERE purge_time <= now()
                UNION ALL
                SELECT id, purge_time FROM service_accounts WHERE purge_time <= now()
            ) gone
            WHERE NOT EXISTS (SELECT FROM tasks WHERE tasks.owner_id = gone.id)
            ORDER BY purge_time LIMIT %(limit)s
        )
        """,
    )


def idempotency_records(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Answers that are kept no longer."""
    return _batches(
        connection,
        """
        DELETE FROM idempotency_records WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM idempotency_records WHERE expire_time <= now()
            ORDER BY expire_time LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ))
        """,
    )


def events(connection: Connection, settings: WorkerSettings) -> Iterator[int]:
    """Old events that have their position. The counter of positions stands where it stood, and knows what is gone."""
    return _batches(
        connection,
        """
        WITH oldest AS (
            SELECT id, position, create_time FROM events ORDER BY id LIMIT %(limit)s
        ), doomed AS (
            SELECT id, position FROM oldest
            WHERE position IS NOT NULL AND create_time < now() - make_interval(secs => %(retention)s)
        ), noted AS (
            UPDATE event_counter SET purged = last FROM (SELECT max(position) AS last FROM doomed) AS gone
            WHERE last > purged
        )
        DELETE FROM events USING doomed WHERE events.id = doomed.id
        """,
        retention=settings.event_retention_seconds,
    )


def jobs(connection: Connection, settings: WorkerSettings) -> Iterator[int]:
    """Jobs that ended long ago, with their attempts, steps and files.

    Walks the ids, which rise with the time of creation, up to those of that time: no index has to be kept for this.
    """
    walked: uuid.UUID | None = uuid.UUID(int=0)
    while walked is not None:
        row = connection.execute(
            """
            WITH batch AS (
                SELECT id FROM jobs WHERE id > %(walked)s AND id < rpad(lpad(to_hex(
                    (extract(epoch FROM now() - make_interval(secs => %(retention)s)) * 1000)::bigint
                ), 12, '0'), 32, '0')::uuid
                ORDER BY id LIMIT %(limit)s
            ), gone AS (
                DELETE FROM jobs USING batch
                WHERE jobs.id = batch.id AND end_time < now() - make_interval(secs => %(retention)s) RETURNING 1
            )
            SELECT (SELECT count(*) FROM gone) AS gone, (SELECT id FROM batch ORDER BY id DESC LIMIT 1) AS walked
            """,
            {"walked": walked, "retention": settings.job_retention_seconds, "limit": BATCH},
        ).fetchone() or {"gone": 0, "walked": None}
        yield row["gone"]
        walked = row["walked"]


def uploads(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Files whose call ended before a job took them over. Few at a time, since each may be large."""
    return _batches(connection, DELETE_ABANDONED, limit=20)


def registrations(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Registrations that nobody has confirmed, a week after their link: until then they say that there were several."""
    return _expired(connection, "registrations", "id", "expire_time", "7 days")


def links(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Links of which no mail has anything to tell any more."""
    return _expired(connection, "links", "id", "expire_time", "7 days")


def sessions(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Sessions that ended, with their refresh tokens: a token that comes back later is an unknown one."""
    return _expired(connection, "sessions", "id", "idle_expire_time", "7 days")


def lockouts(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Failures of long ago. The longest lock and all that is remembered of it are over before."""
    return _expired(connection, "lockouts", "subject", "update_time", "7 days")


def devices(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Devices that nobody has signed in from for a year: they will be new ones."""
    return _expired(connection, "devices", "(user_id, fingerprint)", "use_time", "1 year")


def origins(connection: Connection, settings: WorkerSettings) -> Iterator[int]:
    """What old events know of where somebody called from. The events stay."""
    return _batches(
        connection,
        """
        UPDATE events SET context = NULL WHERE id IN (
            SELECT id FROM (
                SELECT id, create_time FROM events WHERE context IS NOT NULL ORDER BY id LIMIT %(limit)s
            ) oldest
            WHERE create_time < now() - make_interval(secs => %(retention)s)
        )
        """,
        retention=settings.origin_retention_seconds,
    )


def signing_keys(connection: Connection, _: WorkerSettings) -> Iterator[int]:
    """Keys that are published no more: of each, the last token has expired and every cache has let it go."""
    return _batches(
        connection,
        """
        DELETE FROM signing_keys WHERE kid IN (
            SELECT kid FROM signing_keys WHERE expire_time <= now() LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        """,
    )


PURGES: dict[str, Purge] = {
    "tasks": tasks,
    "principals": principals,
    "idempotency_records": idempotency_records,
    "registrations": registrations,
    "links": links,
    "sessions": sessions,
    "lockouts": lockouts,
    "devices": devices,
    "signing_keys": signing_keys,
    "jobs": jobs,
    "uploads": uploads,
    "events": events,
    "origins": origins,
}


def _expired(connection: Connection, table: str, key: str, column: str, age: str) -> Iterator[int]:
    return _batches(
        connection,
        f"""
        DELETE FROM {table} WHERE {key} IN (
            SELECT {key.strip("()")} FROM {table} WHERE {column} < now() - interval '{age}'
            ORDER BY {column} LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        """,
    )


def _batches(connection: Connection, statement: str, **parameters: Any) -> Iterator[int]:
    while gone := connection.execute(statement, {"limit": BATCH, **parameters}).rowcount:
        yield gone

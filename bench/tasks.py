"""Two million tasks: half of them belong to one account, which is assigned more; the rest are a thousand accounts'."""

from __future__ import annotations

import uuid

from psycopg import Connection
from psycopg.rows import TupleRow

COUNT = 2_000_000

#: Owns every second task, and is assigned one in ten of the others.
BIG = uuid.UUID("00000000-0000-7000-8000-000000000001")
#: One task in a hundred is part of one of two hundred.
PARENT = uuid.UUID("00000000-0000-7000-8000-0000000003e8")

_ACCOUNTS = """
INSERT INTO users (id, email, password_hash)
SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'bench-' || n || '@example.com', 'x'
FROM generate_series(1, 1000) AS n ON CONFLICT DO NOTHING
"""

# Numbers instead of chance, so that every run measures the same rows.
_TASKS = """
INSERT INTO tasks (id, owner_id, title, description, state, priority, labels, due_time, assignee_id, assignee_kind,
                   parent_id, create_time, update_time, complete_time, delete_time, purge_time)
SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       ('00000000-0000-7000-8000-' || lpad(to_hex(owner), 12, '0'))::uuid,
       'Write report ' || n || ' for customer' || n %% 5000,
       CASE WHEN n %% 3 = 0
            THEN 'Ask word' || n %% 997 || ' about word' || n %% 9973 || ' before the meeting' ELSE '' END,
       state, 1 + n %% 4,
       CASE WHEN n %% 100000 = 1 THEN '{"rare": "yes"}'
            ELSE jsonb_build_object('team', 'team' || n %% 50, 'env', 'env' || n %% 3) END,
       CASE WHEN n / 2 %% 2 = 0 THEN timestamptz '2026-01-01' + hashint4(n) / 100 * interval '1 second' END,
       CASE WHEN n %% 20 = 1 THEN '00000000-0000-7000-8000-000000000001'::uuid END,
       CASE WHEN n %% 20 = 1 THEN 'users' END,
       CASE WHEN n %% 100 = 7 AND n > 200000
            THEN ('00000000-0000-7000-8000-' || lpad(to_hex(1000 * (1 + n / 100 %% 200)), 12, '0'))::uuid END,
       time, time, CASE WHEN state = 'DONE' THEN time END,
       CASE WHEN n %% 100 = 99 THEN time END, CASE WHEN n %% 100 = 99 THEN time + interval '30 days' END
FROM (SELECT n::integer, timestamptz '2024-01-01' + n * interval '30 seconds' AS time,
             CASE WHEN n %% 2 = 0 THEN 1 ELSE 2 + n / 2 %% 999 END AS owner,
             CASE WHEN n / 2 %% 1000 = 0 THEN 'IN_PROGRESS' WHEN n / 2 %% 10 = 0 THEN 'TODO'
                  WHEN n / 2 %% 10 = 1 THEN 'CANCELLED' ELSE 'DONE' END AS state
      FROM generate_series(1, %(count)s) AS n) AS numbered
"""


def fill(connection: Connection[TupleRow], count: int = COUNT) -> None:
    """Writes them, the indexes and the statistics, in a minute or two.

    Indexes are built behind the rows, and foreign keys, which hold, are not checked row by row.
    """
    connection.execute(_ACCOUNTS)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica; SET LOCAL maintenance_work_mem = '512MB'")
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'tasks' AND indexname <> 'tasks_pkey'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"')
        connection.execute(_TASKS, {"count": count})
        for _, definition in indexes:
            connection.execute(definition)
    connection.execute("VACUUM ANALYZE tasks")

"""Two kinds of job beside those of `tests.support.kinds`, which the stack's workers get along with these.

| kind | what it does | args |
| --- | --- | --- |
| chaos.row | works half its time before `transaction()`, and half inside, after its row was written | `seconds` |
| chaos.hold | the same for long, so that a fault can catch it | `seconds`, `inside`: all of the time inside, where it \
holds a lock that its successor needs, else all of it before |

Effects are rows of `probe_ledger`, which has no constraint that could hide a duplicate.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from shared.kinds import JobKind
from tests.support import kinds as probes
from worker_service.context import Context
from worker_service.database import Connection
from worker_service.jobs import Job

TABLES = f"""
{probes.LEDGER};
CREATE TABLE IF NOT EXISTS chaos_locks (name text, taken bigint);
INSERT INTO chaos_locks SELECT 'one', 0 WHERE NOT EXISTS (SELECT FROM chaos_locks);
"""

QUEUE = probes.QUEUE


def environment() -> dict[str, str]:
    """Returns what the environment of a worker needs so that it finds these kinds and the probes."""
    path = probes.environment()["PYTHONPATH"]
    return {"PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("kinds.dist")), path])}


def _write(context: Context, connection: Connection) -> None:
    connection.execute(
        "INSERT INTO probe_ledger (job_id, attempt, step, pid) VALUES (%s, %s, '', %s)",
        [context.job.id, context.attempt, os.getpid()],
    )


def _row(context: Context) -> None:
    seconds = float(context.args["seconds"])
    time.sleep(seconds / 2)
    with context.transaction() as connection:
        _write(context, connection)
        time.sleep(seconds / 2)


def _hold(context: Context) -> None:
    seconds, inside = float(context.args["seconds"]), bool(context.args["inside"])
    if not inside:
        time.sleep(seconds)
    with context.transaction() as connection:
        if inside:
            connection.execute("UPDATE chaos_locks SET taken = taken + 1 WHERE name = 'one'")
        _write(context, connection)
        if inside:
            time.sleep(seconds)


# More attempts than a row has faults: where a job fails, the engine failed, not the limit.
ROW = Job(JobKind("chaos.row", QUEUE, max_attempts=40), _row)
HOLD = Job(JobKind("chaos.hold", QUEUE, max_attempts=5), _hold)

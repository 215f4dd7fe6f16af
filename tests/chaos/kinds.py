"""Kinds of job beside those of `tests.support.kinds`, which the stack's workers get along with these.

| kind | what it does | args |
| --- | --- | --- |
| chaos.row | works half its time before `transaction()`, and half inside, after its row was written | `seconds` |
| chaos.pure | nothing; pure | |
| chaos.steps | what probe.steps does | `steps` |
| chaos.hold | the same, but holds until it was stopped and woken, the first time | `seconds`: how long its successors \
hold; `where`: `before` its transaction, `inside`, where it has a lock that its successor needs, or `after`, when only \
its completion is missing |

Effects are rows of `probe_ledger`, which has no constraint that could hide a duplicate.
"""

from __future__ import annotations

import os
import signal
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

#: Where a job of the kind chaos.hold can be caught.
PLACES = ("before", "inside", "after")


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


def _until_woken() -> None:
    """Returns after SIGCONT: however slow the machine is, it is caught."""
    woken: list[int] = []
    signal.signal(signal.SIGCONT, lambda number, _: woken.append(number))
    while not woken:
        time.sleep(0.01)


def _hold(context: Context) -> None:
    def hold(at: str) -> None:
        if context.args["where"] != at:
            return
        if context.job.claim_token == 1:
            _until_woken()
        else:
            time.sleep(float(context.args["seconds"]))

    hold("before")
    with context.transaction() as connection:
        if context.args["where"] == "inside":
            connection.execute("UPDATE chaos_locks SET taken = taken + 1 WHERE name = 'one'")
        _write(context, connection)
        hold("inside")
    hold("after")


# More attempts than a row has faults: where a job fails, the engine failed, not the limit.
ROW = Job(JobKind("chaos.row", QUEUE, max_attempts=40), _row)
STEPS = Job(JobKind("chaos.steps", QUEUE, max_attempts=40), probes.STEPS.handler)
PURE = Job(JobKind("chaos.pure", QUEUE, max_attempts=40), lambda _: None, pure=True)
HOLD = Job(JobKind("chaos.hold", QUEUE, max_attempts=5), _hold)

"""Kinds of job for tests, the chaos harness and the benchmarks, brought by an entry point as a team's own would be.

`environment()` hands them to a worker: `kinds.dist` beside this file is what an installed distribution leaves on the
path. A job is enqueued with `shared.outbox.INSERT_JOB` and `new_job(NOOP.kind, args)`. All wait in the queue `probe`.

| kind | what it does | args |
| --- | --- | --- |
| probe.noop | nothing; pure | `stamp`: true makes the result `{"started": seconds since 1970}` |
| probe.row | writes one row in `transaction()` | `seconds`: how long it works before |
| probe.sleep | sleeps, or stops once it was cancelled | `seconds` |
| probe.steps | writes one row in each step | `steps`: how many; `crash_after`: dies after that step, the first time |
| probe.crash | kills its own process, every time | |
| probe.stall | stops its own process the first time (wake it with SIGCONT), then writes one row in `transaction()` | \
`inside`: true stops it after the row was written, inside the transaction |
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.kinds import JobKind
from worker_service.context import Context
from worker_service.database import Connection
from worker_service.errors import Cancelled
from worker_service.jobs import Job

QUEUE = "probe"

#: Where effects are written: without any unique constraint, so that a duplicate can appear.
LEDGER = """
CREATE TABLE IF NOT EXISTS probe_ledger (
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    step text NOT NULL,
    pid integer NOT NULL,
    write_time timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

_ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """Returns what the environment of a worker needs so that it finds these kinds."""
    paths = [str(Path(__file__).with_name("kinds.dist")), str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _write(context: Context, connection: Connection, step: str = "") -> None:
    connection.execute(
        "INSERT INTO probe_ledger (job_id, attempt, step, pid) VALUES (%s, %s, %s, %s)",
        [context.job.id, context.attempt, step, os.getpid()],
    )


def _noop(context: Context) -> Mapping[str, Any] | None:
    return {"started": time.time()} if context.args.get("stamp") else None


def _row(context: Context) -> None:
    if seconds := context.args.get("seconds"):  # a sleep of no time still gives the processor away
        time.sleep(seconds)
    with context.transaction() as connection:
        _write(context, connection)


def _sleep(context: Context) -> None:
    end = time.monotonic() + context.args.get("seconds", 1)
    while (left := end - time.monotonic()) > 0:
        if context.cancelled:
            raise Cancelled
        time.sleep(min(left, 0.05))


def _steps(context: Context) -> Mapping[str, Any]:
    done = []
    for number in range(1, context.args.get("steps", 3) + 1):
        name = f"step-{number}"

        def write(connection: Connection, name: str = name) -> str:
            _write(context, connection, name)
            return name

        done.append(context.step(name, write))
        if number == context.args.get("crash_after") and _first(context):
            os.kill(os.getpid(), signal.SIGKILL)
    return {"steps": done}


def _crash(_: Context) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stall(context: Context) -> None:
    inside = context.args.get("inside", False)
    if not inside:
        _freeze(context)
    with context.transaction() as connection:
        _write(context, connection)
        if inside:
            _freeze(context)


def _freeze(context: Context) -> None:
    if _first(context):
        os.kill(os.getpid(), signal.SIGSTOP)


def _first(context: Context) -> bool:
    """Returns whether the job has never been claimed before; `attempt` does not tell, since a loss may be free."""
    return context.job.claim_token == 1


NOOP = Job(JobKind("probe.noop", QUEUE, max_attempts=3), _noop, pure=True)
ROW = Job(JobKind("probe.row", QUEUE, max_attempts=3), _row)
SLEEP = Job(JobKind("probe.sleep", QUEUE, max_attempts=3), _sleep)
STEPS = Job(JobKind("probe.steps", QUEUE, max_attempts=3), _steps)
CRASH = Job(JobKind("probe.crash", QUEUE, max_attempts=3), _crash)
STALL = Job(JobKind("probe.stall", QUEUE, max_attempts=3), _stall)

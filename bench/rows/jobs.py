"""S7, S7b and S8: jobs drained beside plain Celery, and how soon one starts when nothing else runs.

There is no CreateJob yet: jobs are enqueued as the API does it, `shared.outbox.INSERT_JOB`, and a NOTIFY after the
commit.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from functools import partial

from psycopg.rows import TupleRow

from bench.harness import Bench, alternate
from bench.peers.peer import Peer
from shared.outbox import CHANNEL, INSERT_JOB, new_job
from tests.support.kinds import LEDGER, NOOP, ROW
from worker_service.jobs import Job

#: Seconds after which a drain is taken for what it has done until then.
LIMIT = 120.0
WARM_UP = 500

#: Seconds between two jobs that are started alone.
PAUSES = (0.004, 0.060)


_WAITING = "SELECT FROM jobs WHERE queue = 'probe' AND state = 'WAITING'"
_RUNNING = "SELECT FROM jobs WHERE state = 'RUNNING'"


@dataclass(frozen=True, slots=True)
class Drain:
    """What became of a queue full of jobs."""

    jobs: int
    done: int
    seconds: float

    @property
    def rate(self) -> float:
        """Jobs done in a second."""
        return self.done / self.seconds


def drains(bench: Bench, job: Job, task: str) -> list[tuple[Drain, Drain]]:
    """Returns rounds of our worker with a kind of job, and of plain Celery with the task that does the same."""
    bench.database.execute(LEDGER)
    peer = Peer(bench)
    _ours(bench, job, WARM_UP)
    sides = partial(_ours, bench, job, bench.effort.jobs), partial(_theirs, bench, peer, task, bench.effort.jobs)
    return alternate(bench.effort.job_rounds, *sides)


def _ours(bench: Bench, job: Job, count: int) -> Drain:
    """Drains from the commit that makes all jobs due at once."""
    bench.database.execute("TRUNCATE jobs, probe_ledger CASCADE")
    with bench.database.transaction(), bench.database.cursor() as cursor:
        cursor.executemany(INSERT_JOB, [new_job(job.kind, {}) for _ in range(count)])
    began = time.monotonic()
    bench.database.execute(f"NOTIFY {CHANNEL}")
    while _is_busy(bench) and time.monotonic() < began + LIMIT:
        time.sleep(0.05)
    seconds = time.monotonic() - began
    drain = Drain(
        count, _one(bench, "SELECT count(*) FROM jobs WHERE state = 'SUCCEEDED' AND queue = 'probe'")[0], seconds
    )
    _check_ledger(bench, drain, rows=job is ROW)
    bench.say(f"  {job.kind.name:<12} {drain.rate:7,.0f}/s  {drain.done} of {count} in {drain.seconds:.2f} s")
    return drain


def _is_busy(bench: Bench) -> bool:
    """Whether a job waits or runs: a look at two partial indexes, so that watching costs next to nothing."""
    return bool(_one(bench, f"SELECT EXISTS ({_WAITING}) OR EXISTS ({_RUNNING})")[0])


def _check_ledger(bench: Bench, drain: Drain, *, rows: bool) -> None:
    """Raises RuntimeError unless every job that is done has written one row, and no other has."""
    written, jobs = _one(bench, "SELECT count(*), count(DISTINCT job_id) FROM probe_ledger")
    if (written, jobs) != ((drain.done,) * 2 if rows else (0, 0)):
        raise RuntimeError(f"{drain.done} jobs are done, and {written} rows were written by {jobs}")


def _theirs(bench: Bench, peer: Peer, task: str, count: int) -> Drain:
    """Drains from the moment that a worker takes its first message: publishing and starting are not counted."""
    bench.database.execute("TRUNCATE probe_ledger")
    seconds = peer.drain(task, count, LIMIT)
    drain = Drain(count, count, seconds)
    if task == "row":
        _check_ledger(bench, drain, rows=True)
    bench.say(f"  {'plain Celery':<12} {drain.rate:7,.0f}/s  {count} in {seconds:.2f} s")
    return drain


def starts(bench: Bench) -> list[list[float]]:
    """Returns rounds of start latencies in ms: from the client's commit to the handler's first line, one at a time.

    The handler leaves the time of day in its result: all processes of one machine have the same clock.
    """
    bench.database.execute(LEDGER)
    _ours(bench, NOOP, WARM_UP)
    return [_start_some(bench, bench.effort.starts) for _ in range(bench.effort.job_rounds)]


def _start_some(bench: Bench, count: int) -> list[float]:
    bench.database.execute("TRUNCATE jobs CASCADE")
    committed = {}
    for _ in range(count):
        job = new_job(NOOP.kind, {"stamp": True})
        bench.database.execute(INSERT_JOB, job)
        committed[job["job_id"]] = time.time()
        bench.database.execute(f"NOTIFY {CHANNEL}")
        time.sleep(random.uniform(*PAUSES))  # noqa: S311  a pause, no secret
    end = time.monotonic() + LIMIT
    while _is_busy(bench) and time.monotonic() < end:
        time.sleep(0.05)
    rows: list[TupleRow] = bench.database.execute(
        "SELECT id, (result->>'started')::float8 FROM jobs WHERE queue = 'probe'"
    ).fetchall()
    return [(started - committed[id_]) * 1000 for id_, started in rows]


def _one(bench: Bench, statement: str) -> TupleRow:
    row = bench.database.execute(statement).fetchone()
    if row is None:
        raise RuntimeError(statement)
    return row

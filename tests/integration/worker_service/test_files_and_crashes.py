"""Exports and imports whose workers are killed: nothing is missing, and nothing is there twice."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.integration.worker_service.test_tasks_export import export, make_tasks, result
from tests.integration.worker_service.test_tasks_import import enqueue, report, titles
from tests.support.jobs import Jobs
from tests.support.servers import Processes, eventually, free_port

TASKS = 120_000
LINES = 40_000


@pytest.fixture
def jobs(database_url: str) -> Iterator[Jobs]:
    tables = Jobs(database_url)
    yield tables
    tables.connection.close()


@pytest.fixture
def kill(database_url: str, redis_url: str, processes: Processes, jobs: Jobs) -> Callable[[uuid.UUID], None]:
    """Starts a worker; kills whoever runs the job once it has begun to write, twice, and waits for its end."""
    environment = {
        "TASKHUB_DATABASE_URL": database_url,
        "TASKHUB_BROKER_URL": redis_url,
        "TASKHUB_SECRET_KEY": "k" * 32,
        "TASKHUB_LEASE_SECONDS": "300",  # whose session is gone is missed long before
        "TASKHUB_WORKER_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
    }

    def kill(id_: uuid.UUID) -> None:
        worker = psutil.Process(processes.start("worker_service", environment=environment).pid)
        for claim in (1, 2):
            eventually(lambda claim=claim: _writing(jobs, id_, claim))  # type: ignore[misc] # called at once
            pid = int(jobs.job(id_)["worker"].partition(":")[2])
            assert pid in {child.pid for child in worker.children(recursive=True)}
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: jobs.state(id_) == "SUCCEEDED")
        assert jobs.job(id_)["claim_token"] >= 3

    return kill


def _writing(jobs: Jobs, id_: uuid.UUID, claim: int) -> bool:
    """Whether an attempt is in the middle: its claim is there, and since then something has become of it."""
    job = jobs.job(id_)
    if (job["state"], job["claim_token"]) != ("RUNNING", claim):
        return False
    row = jobs.connection.execute("SELECT count(*) AS steps FROM job_steps WHERE job_id = %s", [id_]).fetchone()
    busy = jobs.connection.execute(
        """
        SELECT FROM pg_stat_activity
        WHERE application_name = 'taskhub-handler' AND xact_start < now() - interval '50 milliseconds'
        """
    ).fetchall()
    return row is not None and row["steps"] >= 2 and bool(busy)


def test_an_export_whose_workers_are_killed_has_each_task_once(jobs: Jobs, kill: Callable[[uuid.UUID], None]) -> None:
    owner = jobs.user()
    make_tasks(jobs, owner, TASKS)
    id_ = export(jobs, owner, "CSV")
    kill(id_)
    lines = result(jobs, id_).decode().split("\r\n")
    assert [line.split(",")[1] for line in lines[1:-1]] == [f"task {n}" for n in range(1, TASKS + 1)]


@pytest.mark.parametrize("mode", ["ALL_OR_NOTHING", "SKIP_INVALID"])
def test_an_import_whose_workers_are_killed_makes_each_task_once(
    jobs: Jobs, kill: Callable[[uuid.UUID], None], mode: str
) -> None:
    data = b"".join(b'{"title": "task %d"}\n' % n for n in range(LINES))
    id_ = enqueue(jobs, jobs.user(), data, mode=mode)
    kill(id_)
    assert sorted(titles(jobs)) == sorted(f"task {n}" for n in range(LINES))
    assert [line["line"] for line in report(jobs, id_)] == list(range(1, LINES + 1))
    assert len(jobs.connection.execute("SELECT FROM events WHERE kind = 'task.created'").fetchall()) == LINES

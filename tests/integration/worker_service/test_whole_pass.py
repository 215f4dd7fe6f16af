"""From the row of a job to the mail in the mailbox, through real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
import uuid
from collections.abc import Callable, Iterator

import psutil
import pytest

from shared.crypto import Secrets
from tests.support import kinds
from tests.support.jobs import Jobs
from tests.support.servers import PATIENCE, Mailbox, Postgres, Processes, Redis, eventually, free_port

KEY = "k" * 32
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def jobs(database_url: str) -> Iterator[Jobs]:
    tables = Jobs(database_url)
    yield tables
    tables.connection.close()


@pytest.fixture
def environment(database_url: str, redis_url: str, mailbox: Mailbox) -> dict[str, str]:
    return {
        "TASKHUB_DATABASE_URL": database_url,
        "TASKHUB_BROKER_URL": redis_url,
        "TASKHUB_SECRET_KEY": KEY,
        "TASKHUB_SMTP_URL": mailbox.url,
        "TASKHUB_LEASE_SECONDS": "300",  # whose session is gone is missed long before
        "TASKHUB_SHUTDOWN_GRACE_SECONDS": "0.5",
        "TASKHUB_RETRY_BASE_SECONDS": "0.2",
        "TASKHUB_WORKER_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
    }


@pytest.fixture
def start(processes: Processes, environment: dict[str, str]) -> Start:
    def start(*command: str, **more: str) -> subprocess.Popen[bytes]:
        return processes.start("worker_service", *command, environment={**environment, **more})

    return start


def test_a_job_becomes_a_mail(start: Start, jobs: Jobs, mailbox: Mailbox) -> None:
    worker = start()
    registration = jobs.registration()
    id_ = jobs.enqueue(args={"template": "verification", "registration": str(registration)})
    eventually(lambda: jobs.state(id_) == "SUCCEEDED")
    (message,) = mailbox.messages
    token = Secrets(KEY).link_token("verify-email", registration)
    text = message.get_body(("plain",))
    assert text is not None
    assert f"http://127.0.0.1:8080/verify#token={token}" in text.get_content()
    assert token in text.get_content().splitlines()
    assert jobs.job(id_)["result"] == {"message_id": message["Message-ID"]}
    assert jobs.attempts(id_) == ["SUCCEEDED"]
    worker.terminate()
    assert worker.wait(PATIENCE) == 0


def _pool_pid(jobs: Jobs, id_: uuid.UUID) -> int:
    """Returns the process that runs the job."""
    return int(jobs.job(id_)["worker"].rpartition(":")[2])


def _stopped(worker: psutil.Process) -> list[int]:
    """Returns the processes of a worker that have been stopped."""
    return [each.pid for each in worker.children(recursive=True) if each.status() == psutil.STATUS_STOPPED]


def _blocked(jobs: Jobs, mailbox: Mailbox) -> uuid.UUID:
    """Enqueues a mail, and returns once the mail server holds it at DATA."""
    mailbox.open.clear()
    id_ = jobs.verification()
    eventually(lambda: mailbox.begun == 1)
    return id_


def _one_identity(mailbox: Mailbox) -> bool:
    return len({message["Message-ID"] for message in mailbox.messages}) == 1


def test_a_killed_pool_process_costs_a_lease_and_no_mail(start: Start, jobs: Jobs, mailbox: Mailbox) -> None:
    start()
    id_ = _blocked(jobs, mailbox)
    os.kill(_pool_pid(jobs, id_), signal.SIGKILL)
    mailbox.open.set()
    eventually(lambda: jobs.state(id_) == "SUCCEEDED")
    assert jobs.attempts(id_) == ["LOST", "SUCCEEDED"]
    assert _one_identity(mailbox)


def test_a_killed_worker_leaves_nothing_behind_and_loses_nothing(start: Start, jobs: Jobs, mailbox: Mailbox) -> None:
    worker = start()
    id_ = _blocked(jobs, mailbox)
    family = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    worker.wait()
    eventually(lambda: not any(process.is_running() for process in family))
    assert jobs.state(id_) == "RUNNING"
    mailbox.open.set()
    start()
    eventually(lambda: jobs.state(id_) == "SUCCEEDED")
    assert jobs.attempts(id_) == ["LOST", "SUCCEEDED"]
    assert _one_identity(mailbox)


def test_a_stopped_worker_hands_back_what_it_runs(start: Start, jobs: Jobs, mailbox: Mailbox) -> None:
    worker = start()
    id_ = _blocked(jobs, mailbox)
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert (jobs.state(id_), jobs.job(id_)["attempt"], jobs.attempts(id_)) == ("WAITING", 0, ["RELEASED"])
    mailbox.open.set()
    start()
    eventually(lambda: jobs.state(id_) == "SUCCEEDED")
    assert _one_identity(mailbox)


def test_a_job_that_kills_its_worker_fails_and_costs_its_neighbours_nothing(start: Start, jobs: Jobs) -> None:
    good = [jobs.enqueue(kinds.NOOP.kind) for _ in range(10)]
    killer = jobs.enqueue(kinds.CRASH.kind, max_attempts=2)
    good += [jobs.enqueue(kinds.NOOP.kind) for _ in range(10)]
    start(**kinds.environment())
    eventually(lambda: jobs.state(killer) == "FAILED")
    eventually(lambda: {jobs.state(id_) for id_ in good} == {"SUCCEEDED"})
    assert {jobs.job(id_)["attempt"] for id_ in good} == {1}
    assert jobs.job(killer)["error"]["reason"] == "ATTEMPT_LOST"


def test_a_worker_that_is_frozen_in_its_transaction_blocks_nobody_and_commits_nothing(start: Start, jobs: Jobs) -> None:
    jobs.connection.execute(kinds.LEDGER)
    id_ = jobs.enqueue(kinds.STALL.kind, {"inside": True}, max_attempts=20)
    worker = psutil.Process(start(TASKHUB_LEASE_SECONDS="2", **kinds.environment()).pid)
    [frozen] = eventually(lambda: _stopped(worker))
    eventually(lambda: jobs.state(id_) == "SUCCEEDED")
    os.kill(frozen, signal.SIGCONT)
    last = jobs.enqueue(kinds.ROW.kind)
    eventually(lambda: jobs.state(last) == "SUCCEEDED")
    (effect,) = jobs.connection.execute("SELECT pid FROM probe_ledger WHERE job_id = %s", [id_]).fetchall()
    assert effect["pid"] != frozen


def test_dead_processes_are_started_again(start: Start, jobs: Jobs, processes: Processes) -> None:
    worker = start()
    id_ = jobs.verification()
    eventually(lambda: jobs.state(id_) == "SUCCEEDED")
    for process in psutil.Process(worker.pid).children():
        process.kill()
    again = jobs.verification()
    eventually(lambda: jobs.state(again) == "SUCCEEDED")
    assert processes.log(worker).count('"event": "process_died"') == 2


def test_redis_is_disposable(start: Start, jobs: Jobs, mailbox: Mailbox, redis_server: Redis) -> None:
    start()
    for away in (lambda: redis_server.command("FLUSHALL"), redis_server.kill):
        id_ = jobs.verification()
        eventually(lambda id_=id_: jobs.state(id_) == "SUCCEEDED")  # type: ignore[misc] # bound at once
        away()
    meanwhile = jobs.verification()
    redis_server.start()
    eventually(lambda: jobs.state(meanwhile) == "SUCCEEDED")  # how soon, F3 of `make chaos` measures
    assert len(mailbox.messages) == 3


def test_postgres_may_restart(start: Start, jobs: Jobs, postgres: Postgres, database_url: str) -> None:
    worker = start()
    first = jobs.verification()
    eventually(lambda: jobs.state(first) == "SUCCEEDED")
    postgres.stop()
    postgres.start()
    fresh = Jobs(database_url)
    id_ = fresh.verification()
    eventually(lambda: fresh.state(id_) == "SUCCEEDED")
    fresh.connection.close()
    assert worker.poll() is None


def _metrics(environment: dict[str, str]) -> str:
    with urllib.request.urlopen(f"http://{environment['TASKHUB_WORKER_METRICS_ADDRESS']}/metrics") as answer:
        return str(answer.read().decode())


def test_health_and_metrics(start: Start, jobs: Jobs, environment: dict[str, str]) -> None:
    worker = start()
    id_ = jobs.verification()
    eventually(lambda: jobs.state(id_) == "SUCCEEDED")
    assert start("health").wait(PATIENCE) == 0
    for line in (
        'taskhub_jobs_finished_total{kind="email",outcome="SUCCEEDED"} 1.0',
        'taskhub_job_start_latency_seconds_count{queue="email"} 1.0',
        'taskhub_jobs{queue="email",state="QUEUED"}',
    ):
        eventually(lambda line=line: line in _metrics(environment))  # type: ignore[misc] # called at once
    worker.terminate()
    worker.wait()
    assert start("health").wait(PATIENCE) == 1

"""A real worker beside a real broker, when one of them is not well."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import redis

from tests.support import kinds
from tests.support.jobs import Jobs
from tests.support.servers import Processes, eventually
from worker_service.transport import RUN, make_app
from worker_service.watchdog import PATIENCE, STATUS

CELERY = ("celery", "-q", "-A", "worker_service.app", "worker", "--concurrency", "2", "-Q", kinds.QUEUE)


@pytest.fixture
def jobs(database_url: str) -> Iterator[Jobs]:
    tables = Jobs(database_url)
    yield tables
    tables.connection.close()


@pytest.fixture
def environment(database_url: str, redis_url: str) -> dict[str, str]:
    return {
        "TASKHUB_DATABASE_URL": database_url,
        "TASKHUB_BROKER_URL": redis_url,
        "TASKHUB_SECRET_KEY": "k" * 32,
        **kinds.environment(),
    }


def test_a_worker_that_is_deaf_hands_back_what_it_runs_and_ends(
    processes: Processes, jobs: Jobs, environment: dict[str, str], redis_url: str
) -> None:
    """It is deaf in one ear: it watches the queue `email`, and does not listen to it."""
    worker = processes.start(*CELERY, environment=environment)
    running = jobs.enqueue(kinds.SLEEP.kind, {"seconds": 600})
    app = make_app(redis_url, ["email", kinds.QUEUE])
    app.send_task(RUN, args=[kinds.QUEUE], queue=kinds.QUEUE, ignore_result=True)
    eventually(lambda: jobs.state(running) == "RUNNING", 30)
    app.send_task(RUN, args=["email"], queue="email", ignore_result=True)
    assert worker.wait(4 * PATIENCE) == STATUS
    assert "worker_stopped_consuming" in processes.log(worker)
    assert (jobs.state(running), jobs.attempts(running)) == ("WAITING", ["RELEASED"])


def test_a_broker_that_refuses_to_write_costs_no_job_its_worker(
    processes: Processes, jobs: Jobs, environment: dict[str, str], redis_url: str
) -> None:
    """It is full when the worker wants to write down what it has taken."""
    worker = processes.start(*CELERY, environment=environment)
    running = jobs.enqueue(kinds.SLEEP.kind, {"seconds": 600})
    app = make_app(redis_url, [kinds.QUEUE])

    def hint() -> None:
        app.send_task(RUN, args=[kinds.QUEUE], queue=kinds.QUEUE, ignore_result=True)

    def hinted() -> bool:
        hint()
        return jobs.state(later) == "SUCCEEDED"

    hint()
    eventually(lambda: jobs.state(running) == "RUNNING")
    later = jobs.enqueue(kinds.NOOP.kind)
    os.kill(worker.pid, signal.SIGSTOP)
    hint()
    with redis.Redis.from_url(redis_url) as broker:
        broker.config_set("maxmemory", 1)
        try:
            os.kill(worker.pid, signal.SIGCONT)
            eventually(lambda: "OutOfMemoryError" in processes.log(worker))
        finally:
            broker.config_set("maxmemory", 0)
    eventually(hinted)
    assert (worker.poll(), jobs.attempts(running)) == (None, ["RUNNING"])

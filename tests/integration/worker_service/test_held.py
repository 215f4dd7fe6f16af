"""What a process holds, while something is in the way of its heartbeat."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tests.integration.worker_service.conftest import PROBE, Run
from tests.support.jobs import Jobs
from tests.support.servers import eventually
from worker_service import attempt, queries
from worker_service.context import Context
from worker_service.errors import Leaving


@pytest.fixture
def heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """While jobs run, groups are the heartbeat's alone to write; else a slow machine's main thread might be first."""
    monkeypatch.setattr(attempt, "GROUP", 3600.0)


@pytest.mark.usefixtures("heartbeats")
def test_a_group_that_the_heartbeat_could_not_write_is_written_all_the_same(
    jobs: Jobs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the process had nothing else to do by then: its job, which is done, waits for no lease."""
    first, second = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    succeed_all, taken = queries.succeed_all, threading.Event()

    def write(*arguments: Any) -> int:
        if threading.current_thread() is threading.main_thread() or taken.is_set():
            return succeed_all(*arguments)
        taken.set()
        eventually(lambda: jobs.state(second) == "SUCCEEDED")
        raise psycopg.OperationalError

    monkeypatch.setattr(queries, "succeed_all", write)

    def handler(context: Context) -> None:
        if context.job.id == second:
            taken.wait()

    run(handler, pure=True, batch=2)
    assert [jobs.attempts(id_) for id_ in (first, second)] == [["SUCCEEDED"]] * 2


@pytest.mark.usefixtures("heartbeats")
def test_a_row_that_somebody_has_locked_costs_no_other_job_its_lease(jobs: Jobs, run: Run, database_url: str) -> None:
    first, second = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    waits = "SELECT FROM pg_stat_activity WHERE application_name = 'taskhub-heartbeat' AND wait_event_type = 'Lock'"
    with psycopg.connect(database_url) as stranger:

        def handler(context: Context) -> None:
            if context.job.id == first:
                stranger.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", [first])
                return
            eventually(lambda: jobs.connection.execute(waits).fetchall())
            before = jobs.job(second)["lease_expire_time"]
            eventually(lambda: jobs.job(second)["lease_expire_time"] > before)
            stranger.rollback()

        run(handler, pure=True, batch=2)
    assert [jobs.attempts(id_) for id_ in (first, second)] == [["SUCCEEDED"]] * 2


def test_a_lease_is_kept_of_a_job_that_its_own_transaction_refers_to(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            connection.execute("INSERT INTO job_steps (job_id, name, result) VALUES (%s, 'effect', '1')", [id_])
            before = jobs.job(id_)["lease_expire_time"]
            eventually(lambda: jobs.job(id_)["lease_expire_time"] > before)

    run(handler)
    assert jobs.attempts(id_) == ["SUCCEEDED"]


@pytest.mark.usefixtures("impatient")
def test_what_could_not_be_handed_back_is_with_the_next_look(
    jobs: Jobs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    release = queries.release

    def interrupted(*_: Any) -> int:
        monkeypatch.setattr(queries, "release", release)
        raise psycopg.OperationalError

    def handler(context: Context) -> None:
        if context.job.id == slow:
            eventually(lambda: jobs.state(other) == "WAITING")

    monkeypatch.setattr(queries, "release", interrupted)
    run(handler, batch=2)
    assert (jobs.attempts(slow), jobs.attempts(other)) == (["SUCCEEDED"], ["RELEASED", "SUCCEEDED"])


def test_who_leaves_hands_back_nothing_of_a_namesake(jobs: Jobs, run: Run) -> None:
    """Containers may share the name of their host, and number their processes alike."""
    first, second = jobs.enqueue(PROBE), jobs.enqueue(PROBE)

    def handler(_: Context) -> None:
        with pytest.raises(Leaving):
            run(lambda _: run.runners[1].leave())
        jobs.connection.execute("UPDATE jobs SET schedule_time = now() + interval '1 hour' WHERE state = 'WAITING'")

    run(handler)
    assert (jobs.attempts(first), jobs.attempts(second)) == (["SUCCEEDED"], ["RELEASED"])

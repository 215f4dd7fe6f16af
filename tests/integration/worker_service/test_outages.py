"""What jobs see of a connection that PostgreSQL has ended."""

from __future__ import annotations

import contextlib

import psycopg
import pytest

from tests.integration.worker_service.conftest import PROBE, Run
from tests.support.jobs import Jobs
from worker_service import queries
from worker_service.commits import CONNECTIONS
from worker_service.context import Context


def _hang_up(jobs: Jobs, *names: str) -> None:
    """Ends the sessions of these names, and returns once they are gone."""
    jobs.connection.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = ANY(%s)",
        [list(names)],
    )


def _write(context: Context) -> None:
    with context.transaction() as connection:
        connection.execute("INSERT INTO job_steps (job_id, name, result) VALUES (%s, 'effect', '1')", [context.job.id])


def _effects(jobs: Jobs) -> int:
    row = jobs.connection.execute("SELECT count(*) AS n FROM job_steps").fetchone()
    assert row is not None
    return int(row["n"])


def test_nobody_is_charged_for_connections_that_ended_while_idle(jobs: Jobs, run: Run) -> None:
    before = [jobs.enqueue(PROBE) for _ in range(CONNECTIONS)]
    run(_write)
    _hang_up(jobs, "taskhub-worker", "taskhub-handler", "taskhub-heartbeat")
    after = [jobs.enqueue(PROBE) for _ in range(2 * CONNECTIONS)]
    run.runners[0].run(PROBE.queue)
    assert [jobs.attempts(id_) for id_ in before + after] == [["SUCCEEDED"]] * 3 * CONNECTIONS


def test_a_handler_that_overlooks_the_end_of_its_connection_does_not_succeed_without_its_effect(
    jobs: Jobs, run: Run
) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        _write(context)
        _hang_up(jobs, "taskhub-handler")
        with contextlib.suppress(psycopg.OperationalError):
            context.connection.execute("SELECT 1")

    run(handler)
    assert (jobs.attempts(id_), _effects(jobs)) == (["FAILED"], 0)


def test_a_transaction_that_could_not_be_opened_is_none(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        context.connection.execute("SELECT 1")
        _hang_up(jobs, "taskhub-handler")
        with contextlib.suppress(psycopg.OperationalError):
            _write(context)
        _write(context)

    run(handler)
    assert (jobs.attempts(id_), _effects(jobs)) == (["SUCCEEDED"], 1)


def test_a_job_that_postgresql_went_away_under_is_not_charged(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        context.connection.execute("SELECT 1")
        if context.job.claim_token == 1:
            # As if it had been claimed before PostgreSQL was started.
            jobs.connection.execute("UPDATE jobs SET start_time = pg_postmaster_start_time() - interval '1 second'")
            _hang_up(jobs, "taskhub-handler")
        _write(context)

    run(handler)
    assert (jobs.attempts(id_), jobs.job(id_)["attempt"], _effects(jobs)) == (["LOST", "SUCCEEDED"], 1, 1)


def test_a_job_that_postgresql_goes_away_under_again_and_again_is_charged(
    jobs: Jobs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "EXCUSES", 1)
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        context.connection.execute("SELECT 1")
        jobs.connection.execute("UPDATE jobs SET start_time = pg_postmaster_start_time() - interval '1 second'")
        _hang_up(jobs, "taskhub-handler")
        _write(context)

    run(handler)
    assert (jobs.attempts(id_), jobs.job(id_)["attempt"]) == (["LOST", "FAILED"], 1)

"""What a handler can do with its context: steps, progress, cancellation, time."""

from __future__ import annotations

import time
from typing import Any, NoReturn

import psycopg
import pytest

from tests.integration.worker_service.conftest import PROBE, Clock, Run, lose
from tests.support.jobs import Jobs
from tests.support.servers import eventually
from worker_service import heartbeat, queries
from worker_service.context import Context
from worker_service.database import Database
from worker_service.errors import Cancelled


def _note(connection: psycopg.Connection[Any]) -> str:
    connection.execute("INSERT INTO events (kind, resource, actor) VALUES ('probe.noted', 'probe', 'worker')")
    return "noted"


def _notes(jobs: Jobs) -> int:
    return len(jobs.connection.execute("SELECT FROM events").fetchall())


def _due(jobs: Jobs) -> None:
    jobs.connection.execute("UPDATE jobs SET schedule_time = now(), rank = now() WHERE state = 'WAITING'")


def _cancel(jobs: Jobs) -> None:
    jobs.connection.execute("UPDATE jobs SET cancel_requested = true")


def test_a_step_that_was_taken_is_not_taken_again(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    outside = []

    def handler(context: Context) -> dict[str, Any]:
        sent = context.step("send", lambda: outside.append("sent") or {"n": (1,)})  # type: ignore[func-returns-value]
        noted = context.step("note", _note)
        if context.attempt == 1:
            raise ValueError
        return {"sent": sent, "noted": noted}

    run(handler)
    _due(jobs)
    run(handler)
    assert (outside, _notes(jobs)) == (["sent"], 1)
    assert jobs.job(id_)["result"] == {"sent": {"n": [1]}, "noted": "noted"}
    assert jobs.attempts(id_) == ["FAILED", "SUCCEEDED"]


def test_a_step_is_taken_once_its_effect_is_committed_not_before(jobs: Jobs, run: Run) -> None:
    jobs.enqueue(PROBE)

    def broken(connection: psycopg.Connection[Any]) -> NoReturn:
        _note(connection)
        raise ValueError

    run(lambda context: context.step("note", broken))
    assert _notes(jobs) == 0
    assert jobs.connection.execute("SELECT FROM job_steps").fetchall() == []


def test_a_step_of_a_lost_lease_commits_nothing(jobs: Jobs, run: Run, database: Database) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        lose(database, id_)
        assert queries.claim(database.connection, PROBE.queue, [PROBE.name], 60, "other:1")
        context.step("note", _note)

    run(handler)
    assert _notes(jobs) == 0
    assert jobs.attempts(id_) == ["LOST", "RUNNING"]


def test_a_step_inside_the_transaction_shares_its_fate(jobs: Jobs, run: Run) -> None:
    jobs.enqueue(PROBE)

    def handler(context: Context) -> NoReturn:
        with context.transaction():
            context.step("note", _note)
        raise ValueError

    run(handler)
    assert _notes(jobs) == 0
    assert jobs.connection.execute("SELECT FROM job_steps").fetchall() == []


def test_progress_is_shown_while_the_job_runs(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        context.progress(0.5, "half")
        eventually(lambda: jobs.job(id_)["progress_note"] == "half")

    run(handler)
    assert (jobs.state(id_), jobs.job(id_)["progress_fraction"]) == ("SUCCEEDED", 0.5)


def test_a_handler_that_heeds_a_cancellation_ends_cancelled(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> NoReturn:
        with context.transaction() as connection:
            _note(connection)
            _cancel(jobs)
            eventually(lambda: context.cancelled)
            raise Cancelled

    run(handler)
    assert (jobs.state(id_), _notes(jobs), jobs.job(id_)["error"]["reason"]) == ("CANCELLED", 0, "CANCELLED")


def test_a_failure_after_a_cancellation_was_asked_for_is_the_end(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(_: Context) -> NoReturn:
        _cancel(jobs)
        raise ValueError

    run(handler)
    assert jobs.state(id_) == "CANCELLED"


def _forever(_: Context) -> None:
    time.sleep(60)


def test_a_job_that_takes_too_long_is_interrupted_and_its_neighbour_goes_at_once(
    jobs: Jobs, interruptible: Run, database: Database, clock: Clock
) -> None:
    slow, neighbour = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    seen = []

    def handler(context: Context) -> None:
        assert context.job.id == slow
        eventually(lambda: jobs.state(neighbour) == "WAITING")
        (other,) = queries.claim(database.connection, PROBE.queue, [PROBE.name], 60, "other:1")
        seen.append(other.id)
        clock.ahead = 3600
        _forever(context)

    interruptible(handler, timeout=1800, batch=2)
    assert seen == [neighbour]
    assert (jobs.state(slow), jobs.job(slow)["error"]["reason"]) == ("WAITING", "TIMED_OUT")
    assert (jobs.job(neighbour)["attempt"], jobs.attempts(neighbour)) == (1, ["RELEASED", "RUNNING"])


def test_a_handler_that_does_not_heed_a_cancellation_is_interrupted(
    jobs: Jobs, interruptible: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "CANCEL_GRACE", 0.1)
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        _cancel(jobs)
        _forever(context)

    interruptible(handler)
    assert jobs.state(id_) == "CANCELLED"

"""Handlers that do what handlers should not: it costs them an attempt, and nobody else anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import NoReturn

import psycopg
import pytest
from psycopg.rows import tuple_row

from tests.integration.worker_service.conftest import PROBE, Clock, Run
from tests.support.jobs import Jobs
from tests.support.servers import eventually
from worker_service.attempt import FORKED
from worker_service.context import Context
from worker_service.database import Connection
from worker_service.errors import Leaving
from worker_service.jobs import Handler
from worker_service.texts import LARGEST


def _exit(_: Context) -> NoReturn:
    sys.exit(2)


def _give_up(_: Context) -> NoReturn:
    raise asyncio.CancelledError


@pytest.mark.parametrize("unruly", [_exit, _give_up])
def test_a_handler_that_exits_fails_alone_and_the_process_goes_on(jobs: Jobs, run: Run, unruly: Handler) -> None:
    bad, good = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    run(lambda context: unruly(context) if context.job.id == bad else None, batch=2)
    assert (jobs.attempts(bad), jobs.attempts(good)) == (["FAILED"], ["SUCCEEDED"])


def test_a_fork_that_comes_back_does_nothing(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    seen = []

    def handler(context: Context) -> dict[str, bool]:
        with context.transaction() as connection:
            connection.execute("SELECT 1")
        child = os.fork()
        if child:
            seen.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return {"parent": bool(child)}

    run(handler)
    assert (seen, jobs.attempts(id_), jobs.job(id_)["result"]) == ([FORKED], ["SUCCEEDED"], {"parent": True})


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_process_that_is_to_end_begins_nothing_more_whatever_its_handler_makes_of_that(
    jobs: Jobs, run: Run, *, stubborn: bool
) -> None:
    first, second = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    ran = []

    def handler(context: Context) -> None:
        ran.append(context.job.id)
        try:
            run.runners[0].leave()
        except BaseException:  # noqa: BLE001 - what no handler should do
            if not stubborn:
                raise ValueError from None

    with pytest.raises(Leaving):
        run(handler, batch=2)
    assert ran == [first]
    assert jobs.attempts(first) == ["SUCCEEDED" if stubborn else "RELEASED"]
    assert (jobs.attempts(second), jobs.job(second)["attempt"]) == (["RELEASED"], 0)


def test_what_an_interrupted_handler_waited_for_ends_in_postgresql_as_well(
    jobs: Jobs, interruptible: Run, clock: Clock
) -> None:
    """Else it kept its locks for as long as it took, and every later attempt waited for them."""
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            connection.execute("INSERT INTO job_steps (job_id, name, result) VALUES (%s, 'lock', '1')", [id_])
            clock.ahead = 3600
            connection.execute("SELECT pg_sleep(3600)")

    interruptible(handler, timeout=1800)
    assert jobs.job(id_)["error"]["reason"] == "TIMED_OUT"
    running = "SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND pid <> pg_backend_pid()"
    eventually(lambda: not jobs.connection.execute(running).fetchall())


def _write(context: Context, connection: Connection | None = None) -> None:
    statement = "INSERT INTO job_steps (job_id, name, result) VALUES (%s, 'effect', '1')"
    (connection or context.connection).execute(statement, [context.job.id])


def _effects(jobs: Jobs) -> int:
    return len(jobs.connection.execute("SELECT FROM job_steps WHERE name = 'effect'").fetchall())


def _left_by_an_error(context: Context) -> None:
    with contextlib.suppress(ValueError), context.transaction() as connection:
        _write(context, connection)
        raise ValueError


def _left_by_rollback(context: Context) -> None:
    with context.transaction() as connection:
        _write(context, connection)
        raise psycopg.Rollback


@pytest.mark.parametrize("left", [_left_by_an_error, _left_by_rollback])
def test_a_transaction_that_an_exception_left_is_none(jobs: Jobs, run: Run, left: Handler) -> None:
    ids = [jobs.enqueue(PROBE), jobs.enqueue(PROBE)]

    def handler(context: Context) -> None:
        left(context)
        if context.job.id == ids[1]:
            with context.transaction() as connection:
                _write(context, connection)

    run(handler)
    assert ([jobs.attempts(id_) for id_ in ids], _effects(jobs)) == ([["SUCCEEDED"]] * 2, 1)


def test_a_step_that_was_rolled_back_with_what_was_around_it_is_taken_again(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        for error in (ValueError, None):
            with contextlib.suppress(ValueError), context.transaction():
                context.step("note", lambda connection: _write(context, connection))
                if error:
                    raise error

    run(handler)
    assert (jobs.attempts(id_), _effects(jobs)) == (["SUCCEEDED"], 1)


def test_a_step_that_overlooks_the_end_of_its_connection_is_not_taken(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def careless(connection: Connection) -> None:
        pid = connection.info.backend_pid
        jobs.connection.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
        with contextlib.suppress(psycopg.OperationalError):
            connection.execute("SELECT 1")

    run(lambda context: context.step("careless", careless))
    assert (jobs.attempts(id_), jobs.connection.execute("SELECT FROM job_steps").fetchall()) == (["FAILED"], [])


def _begins(context: Context) -> None:
    context.connection.execute("BEGIN")
    _write(context)


def _begins_and_fails(context: Context) -> NoReturn:
    _begins(context)
    raise ValueError


def _commits_nothing_by_itself(context: Context) -> None:
    context.connection.autocommit = False
    context.connection.row_factory = tuple_row  # type: ignore[assignment]
    _write(context)


def _rolls_back(context: Context) -> None:
    with context.transaction() as connection:
        _write(context, connection)
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("unruly", [_begins, _begins_and_fails, _commits_nothing_by_itself, _rolls_back])
def test_a_handler_that_handles_its_transaction_itself_fails_alone(jobs: Jobs, run: Run, unruly: Handler) -> None:
    bad, good = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    run(lambda context: unruly(context) if context.job.id == bad else _write(context))
    assert (jobs.attempts(bad), jobs.attempts(good), _effects(jobs)) == (["FAILED"], ["SUCCEEDED"], 1)


def test_the_end_of_an_attempt_outlasts_a_database_that_is_read_only(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        context.connection.execute("SET default_transaction_read_only = on")

    run(handler)
    assert jobs.attempts(id_) == ["SUCCEEDED"]


def test_a_huge_result_fails_the_attempt(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    run(lambda _: {"text": "x" * LARGEST})
    assert jobs.attempts(id_) == ["FAILED"]

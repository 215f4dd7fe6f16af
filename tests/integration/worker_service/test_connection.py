"""The transaction of a job, begun with whatever its handler does first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from tests.integration.worker_service.conftest import PROBE, Run
from tests.support.jobs import Jobs
from tests.support.kinds import LEDGER
from worker_service.commits import CONNECTIONS
from worker_service.connection import JobConnection
from worker_service.context import Context

#: A pooler in transaction mode stands between: nothing is prepared.
POOLED = {"database_direct_url": "postgresql://elsewhere.invalid/db"}

NOTE = "INSERT INTO probe_ledger (job_id, attempt, step, pid) SELECT id, 1, '', 1 FROM jobs LIMIT 1"

First = Callable[[JobConnection], object]


def _many(connection: JobConnection) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(f"{NOTE} OFFSET %s", [[0], [0]])


def _copy(connection: JobConnection) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY probe_ledger (job_id, attempt, step, pid) FROM STDIN") as copy,
    ):
        copy.write_row(["00000000-0000-7000-8000-000000000001", 1, "", 1])


def _nested(connection: JobConnection) -> None:
    with connection.transaction():
        connection.execute(NOTE)


def _pipeline(connection: JobConnection) -> None:
    with connection.pipeline():
        connection.execute(NOTE)
        connection.execute("SELECT 1")


def _stream(connection: JobConnection) -> None:
    assert list(connection.cursor().stream(f"{NOTE} RETURNING step")) == [{"step": ""}]


def _named(connection: JobConnection) -> None:
    with connection.cursor("named", row_factory=tuple_row) as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]
    connection.execute(NOTE)


def _mistaken(connection: JobConnection) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        connection.execute("SELECT %s, %s", [1])  # psycopg itself refuses it
    connection.execute(NOTE)


def _raw(connection: JobConnection) -> None:
    psycopg.RawCursor(connection).execute(NOTE)


@pytest.fixture(autouse=True)
def ledger(jobs: Jobs) -> None:
    """Where effects are written."""
    jobs.connection.execute(LEDGER)
    jobs.connection.execute("TRUNCATE probe_ledger")


def _notes(jobs: Jobs) -> int:
    row = jobs.connection.execute("SELECT count(*) AS notes FROM probe_ledger").fetchone()
    assert row is not None
    return int(row["notes"])


def _one(connection: JobConnection) -> None:
    connection.execute(NOTE)


@pytest.mark.parametrize("first", [_one, _many, _copy, _nested, _pipeline, _stream, _named, _mistaken, _raw])
@pytest.mark.parametrize("changes", [{}, POOLED], ids=["direct", "pooled"])
def test_what_comes_first_is_in_the_transaction(jobs: Jobs, run: Run, first: First, changes: dict[str, Any]) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            assert isinstance(connection, JobConnection)
            first(connection)
            assert _notes(jobs) == 0
            if context.job.claim_token == 1:
                raise ValueError

    run(handler, **changes)
    assert (jobs.attempts(id_), _notes(jobs)) == (["FAILED"], 0)
    jobs.connection.execute("UPDATE jobs SET schedule_time = now(), rank = now()")
    run(handler, **changes)
    assert (jobs.attempts(id_), _notes(jobs)) == (["FAILED", "SUCCEEDED"], 2 if first is _many else 1)


def test_a_first_statement_that_fails_raises_where_it_stands(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    seen = []

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            with contextlib.suppress(psycopg.errors.DivisionByZero):
                connection.execute("SELECT 1 / 0")
                seen.append("went on")
            with contextlib.suppress(psycopg.errors.InFailedSqlTransaction):
                connection.execute(NOTE)
                seen.append("wrote")

    run(handler)
    assert (seen, jobs.attempts(id_), _notes(jobs)) == ([], ["FAILED"], 0)


@pytest.mark.parametrize("changes", [{}, POOLED], ids=["direct", "pooled"])
def test_a_transaction_may_hold_nothing(jobs: Jobs, run: Run, changes: dict[str, Any]) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> dict[str, str]:
        with context.transaction():
            return {"wrote": "nothing"}

    run(handler, **changes)
    assert (jobs.attempts(id_), jobs.job(id_)["result"]) == (["SUCCEEDED"], {"wrote": "nothing"})


def test_a_savepoint_rolled_back_takes_no_prepared_statement_with_it(jobs: Jobs, run: Run) -> None:
    """Of two jobs on each connection, so that the second finds everything prepared: psycopg then deallocates all."""
    ids = [jobs.enqueue(PROBE) for _ in range(3 * CONNECTIONS)]

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            connection.execute(NOTE)
            with contextlib.suppress(ValueError), connection.transaction():
                connection.execute(NOTE)
                raise ValueError

    run(handler)
    assert ([jobs.attempts(id_) for id_ in ids], _notes(jobs)) == ([["SUCCEEDED"]] * len(ids), len(ids))


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_nobody_ends_the_transaction_of_a_job_before_its_handler(jobs: Jobs, run: Run, end: str) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            connection.execute(NOTE)
            with pytest.raises(psycopg.ProgrammingError):
                getattr(connection, end)()

    run(handler)
    assert (jobs.attempts(id_), _notes(jobs)) == (["SUCCEEDED"], 1)


def test_a_transaction_may_be_opened_in_a_pipeline(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        with context.connection.pipeline(), context.transaction() as connection:
            connection.execute(NOTE)
            connection.execute(NOTE)
        assert _notes(jobs) == 0

    run(handler)
    assert (jobs.attempts(id_), _notes(jobs)) == (["SUCCEEDED"], 2)


def test_a_savepoint_that_is_not_left_fails_the_attempt(jobs: Jobs, run: Run) -> None:
    ids = [jobs.enqueue(PROBE), jobs.enqueue(PROBE)]
    left = []

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            connection.execute(NOTE)
            if context.job.id == ids[0]:
                left.append(connection.transaction())
                left[0].__enter__()

    run(handler)
    assert ([jobs.attempts(id_) for id_ in ids], _notes(jobs)) == ([["FAILED"], ["SUCCEEDED"]], 1)

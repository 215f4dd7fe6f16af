"""The life of an attempt: claim, run, finish."""

from __future__ import annotations

import json
import threading
import uuid
from contextlib import suppress
from typing import Any, NoReturn

import psycopg
import pytest

from shared.errors import Code, TaskHubError
from shared.kinds import JobKind
from tests.integration.worker_service.conftest import PROBE, Run, lose
from tests.support.jobs import Jobs
from tests.support.servers import PATIENCE, eventually
from worker_service import queries
from worker_service.context import Context
from worker_service.database import Database
from worker_service.errors import AttemptLost, PermanentError
from worker_service.jobs import Handler

SECRET = "hunter2"


def _nothing(_: Context) -> None:
    """Succeeds."""


def _explode(_: Context) -> NoReturn:
    raise ValueError(f"SELECT * FROM users -- {SECRET}")


def _note(connection: psycopg.Connection[Any]) -> None:
    """An effect in the database that a test can count."""
    connection.execute("INSERT INTO events (kind, resource, actor) VALUES ('probe.noted', 'probe', 'worker')")


def _notes(jobs: Jobs) -> int:
    row = jobs.connection.execute("SELECT count(*) AS n FROM events").fetchone()
    assert row is not None
    return int(row["n"])


def _run_until(jobs: Jobs, run: Run, id_: uuid.UUID, state: str, handler: Handler) -> None:
    def turn() -> bool:
        run(handler, retry_base_seconds=0.001)
        return jobs.state(id_) == state

    eventually(turn)


def test_a_job_runs_with_its_arguments_and_keeps_its_result(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE, {"n": 20})
    run(lambda context: {"n": context.args["n"] + 1, "key": context.idempotency_key})
    job = jobs.job(id_)
    assert (job["state"], job["result"], job["attempt"]) == ("SUCCEEDED", {"n": 21, "key": str(id_)}, 1)
    assert job["lease_expire_time"] is None
    assert job["end_time"] >= job["start_time"]


def test_a_second_hint_changes_nothing(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    run(_nothing)
    before = jobs.job(id_)
    run(_explode)
    assert jobs.job(id_) == before
    assert jobs.attempts(id_) == ["SUCCEEDED"]


def test_jobs_are_taken_by_rank(jobs: Jobs, run: Run) -> None:
    late = jobs.enqueue(PROBE)
    urgent = jobs.enqueue(PROBE)
    jobs.connection.execute("UPDATE jobs SET rank = rank - interval '1 minute' WHERE id = %s", [urgent])
    order = []
    run(lambda context: order.append(context.job.id))
    assert order == [urgent, late]


def test_jobs_that_are_not_due_or_of_no_known_kind_wait(jobs: Jobs, run: Run) -> None:
    later = jobs.enqueue(PROBE)
    jobs.connection.execute("UPDATE jobs SET schedule_time = now() + interval '1 hour' WHERE id = %s", [later])
    unknown = jobs.enqueue(JobKind("unknown", queue=PROBE.queue, max_attempts=1))
    run(_explode)
    assert [jobs.job(id_)["attempt"] for id_ in (later, unknown)] == [0, 0]


def test_effect_and_completion_commit_together(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    seen = []

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            _note(connection)
        seen.append((_notes(jobs), jobs.state(id_)))

    run(handler)
    assert seen == [(0, "RUNNING")]
    assert (_notes(jobs), jobs.state(id_)) == (1, "SUCCEEDED")


def test_a_failed_attempt_leaves_no_effect(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> NoReturn:
        with context.transaction() as connection:
            _note(connection)
        _explode(context)

    run(handler)
    assert (_notes(jobs), jobs.state(id_)) == (0, "WAITING")


def test_a_lost_lease_commits_nothing(jobs: Jobs, run: Run, database: Database) -> None:
    """The worker was away for so long that another has the job: the fence refuses the first one's commit."""
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            _note(connection)
        lose(database, id_)
        (other,) = queries.claim(database.connection, PROBE.queue, [PROBE.name], 60, "other:1")
        assert other.claim_token > context.job.claim_token

    run(handler)
    assert (_notes(jobs), jobs.state(id_)) == (0, "RUNNING")
    assert jobs.attempts(id_) == ["LOST", "RUNNING"]


def test_a_lost_lease_cannot_fail_the_job(jobs: Jobs, run: Run, database: Database) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        if context.attempt == 1:
            lose(database, id_)
            _explode(context)

    run(handler)
    run(handler)
    assert jobs.attempts(id_) == ["LOST", "SUCCEEDED"]


def test_a_failure_is_tried_again_after_a_pause(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    before = jobs.job(id_)
    run(_explode, retry_base_seconds=3600, retry_cap_seconds=3600)
    job = jobs.job(id_)
    pause = job["schedule_time"] - before["schedule_time"]
    assert job["state"] == "WAITING"
    assert job["end_time"] is None
    assert pause.total_seconds() >= 3600  # reckoned from the failure
    assert job["rank"] - before["rank"] == pause
    assert jobs.attempts(id_) == ["FAILED"]


def test_the_last_attempt_is_the_end(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    _run_until(jobs, run, id_, "FAILED", _explode)
    job = jobs.job(id_)
    assert job["attempt"] == PROBE.max_attempts
    assert job["end_time"] is not None
    assert jobs.attempts(id_) == ["FAILED"] * PROBE.max_attempts


def test_a_permanent_error_is_the_end_at_once(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(_: Context) -> NoReturn:
        raise PermanentError

    run(handler)
    assert (jobs.state(id_), jobs.job(id_)["attempt"]) == ("FAILED", 1)
    assert jobs.job(id_)["error"] == {
        "code": Code.FAILED_PRECONDITION,
        "message": "The job cannot succeed, however often it is tried.",
        "reason": "PERMANENT",
    }


def test_the_text_of_a_stranger_s_error_stays_inside(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    run(_explode)
    error = jobs.job(id_)["error"]
    assert error == {"code": 2, "message": "The handler failed with ValueError.", "reason": "HANDLER_FAILED"}
    rows = jobs.connection.execute("SELECT error FROM job_attempts").fetchall()
    assert SECRET not in json.dumps(rows)


def test_an_error_of_ours_is_shown(jobs: Jobs, run: Run) -> None:
    class Busy(TaskHubError):
        """The target is busy."""

        code = Code.UNAVAILABLE
        reason = "BUSY"

    def handler(_: Context) -> NoReturn:
        raise Busy

    id_ = jobs.enqueue(PROBE)
    run(handler)
    assert jobs.job(id_)["error"] == {"code": 14, "message": "The target is busy.", "reason": "BUSY"}


def test_success_clears_the_error_of_an_earlier_attempt(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    run(_explode)
    jobs.connection.execute("UPDATE jobs SET schedule_time = now()")
    _run_until(jobs, run, id_, "SUCCEEDED", _nothing)
    assert jobs.job(id_)["error"] is None
    assert jobs.attempts(id_) == ["FAILED", "SUCCEEDED"]


def test_a_result_that_is_not_json_fails_the_attempt(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)
    run(lambda _: {"bad": object()})
    assert jobs.job(id_)["error"]["message"] == "The handler failed with TypeError."


def test_the_heartbeat_keeps_the_lease_of_a_long_job(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(_: Context) -> None:
        first = jobs.job(id_)["lease_expire_time"]
        eventually(lambda: jobs.job(id_)["lease_expire_time"] > first)

    run(handler)
    assert jobs.attempts(id_) == ["SUCCEEDED"]


def test_a_note_that_cannot_be_stored_costs_no_lease(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        context.progress(0.5, "at \ud800\0")
        eventually(lambda: jobs.job(id_)["progress_fraction"] == 0.5)
        first = jobs.job(id_)["lease_expire_time"]
        eventually(lambda: jobs.job(id_)["lease_expire_time"] > first)

    run(handler)
    assert (jobs.attempts(id_), jobs.job(id_)["progress_note"]) == (["SUCCEEDED"], "at ??")


def test_an_error_that_cannot_be_stored_is_shown_without_what_is_in_the_way(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(_: Context) -> NoReturn:
        raise PermanentError("line 1: \ud800\0")

    run(handler)
    assert (jobs.state(id_), jobs.job(id_)["error"]["message"]) == ("FAILED", "line 1: ??")


def test_a_job_has_one_transaction(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        for _ in range(2):
            with context.transaction():
                pass

    run(handler)
    assert jobs.job(id_)["error"]["message"] == "The handler failed with RuntimeError."


def test_a_worker_frozen_in_its_transaction_is_cut_off(jobs: Jobs, run: Run) -> None:
    id_ = jobs.enqueue(PROBE)

    seen = []

    def handler(context: Context) -> None:
        with context.transaction() as connection:
            pid = connection.info.backend_pid
            with suppress(psycopg.OperationalError):  # a slow machine is cut off before
                _note(connection)
            cut = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = %s"
            eventually(lambda: (jobs.connection.execute(cut, [pid]).fetchone() or {})["n"] == 0)
            seen.append(pid)

    run(handler, lease_seconds=1)
    assert seen
    assert (_notes(jobs), jobs.attempts(id_)) == (0, ["FAILED"])


def test_many_claimers_never_share_a_job(jobs: Jobs, run: Run) -> None:
    ids = [jobs.enqueue(PROBE) for _ in range(100)]
    ran: list[object] = []
    threads = [threading.Thread(target=run, args=(lambda context: ran.append(context.job.id),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, ran)) == sorted(map(str, ids))


def test_a_run_ends_with_its_slice_and_wakes_the_dispatcher_for_the_rest(
    jobs: Jobs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [jobs.enqueue(PROBE), jobs.enqueue(PROBE)]
    jobs.connection.execute("LISTEN taskhub_jobs")
    monkeypatch.setattr("worker_service.runner.SLICE", 0)
    run(lambda _context: None)
    assert sorted(jobs.state(id_) for id_ in ids) == ["SUCCEEDED", "WAITING"]
    assert next(jobs.connection.notifies(timeout=PATIENCE)).channel == "taskhub_jobs"


def test_jobs_whose_claim_was_committed_and_its_answer_lost_wait_for_no_lease(
    jobs: Jobs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = jobs.enqueue(PROBE)
    claim = queries.claim

    def interrupted(*arguments: Any, **more: Any) -> NoReturn:
        assert claim(*arguments, **more)
        monkeypatch.setattr(queries, "claim", claim)
        raise psycopg.OperationalError

    monkeypatch.setattr(queries, "claim", interrupted)
    run(_nothing)
    assert (jobs.state(id_), jobs.job(id_)["attempt"], jobs.attempts(id_)) == ("WAITING", 0, ["RELEASED"])


def test_release_charges_no_attempt(jobs: Jobs, database: Database) -> None:
    id_ = jobs.enqueue(PROBE)
    other = jobs.enqueue(PROBE)
    queries.claim(database.connection, PROBE.queue, [PROBE.name], 60, "host:1")
    queries.claim(database.connection, PROBE.queue, [PROBE.name], 60, "host:2")
    assert queries.release_all(database.connection, "host:1") == 1
    assert (jobs.state(id_), jobs.job(id_)["attempt"], jobs.attempts(id_)) == ("WAITING", 0, ["RELEASED"])
    assert jobs.state(other) == "RUNNING"


@pytest.mark.parametrize("ended", [queries.succeed, queries.fail])
def test_an_old_token_ends_nothing(jobs: Jobs, database: Database, ended: Any) -> None:
    id_ = jobs.enqueue(PROBE)
    (first,) = queries.claim(database.connection, PROBE.queue, [PROBE.name], 60, "host:1")
    queries.release_all(database.connection, "host:1")
    (second,) = queries.claim(database.connection, PROBE.queue, [PROBE.name], 60, "host:2")
    arguments = (None,) if ended is queries.succeed else (AttemptLost(), None)
    assert not ended(database.connection, first, *arguments)
    assert not queries.extend(database.connection, {first.id: first.claim_token}, 60)
    assert jobs.state(id_) == "RUNNING"
    assert ended(database.connection, second, *arguments)

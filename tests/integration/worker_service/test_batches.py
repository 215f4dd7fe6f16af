"""Jobs that travel together."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.worker_service.conftest import PROBE, Run, lose
from tests.support.jobs import Jobs
from tests.support.servers import eventually
from worker_service import queries
from worker_service.context import Context
from worker_service.database import BY_INDEX, Database
from worker_service.queries import Claimed, Done


def _claim(database: Database, limit: int, worker: str = "host:1") -> list[Claimed]:
    return queries.claim(
        database.connection, PROBE.queue, [PROBE.name], 60, worker, session=database.session, limit=limit
    )


def test_a_batch_is_the_first_by_rank(jobs: Jobs, database: Database) -> None:
    ids = [jobs.enqueue(PROBE) for _ in range(5)]
    jobs.connection.execute("UPDATE jobs SET rank = rank - interval '1 minute' WHERE id = %s", [ids[4]])
    assert [job.id for job in _claim(database, 3)] == [ids[4], ids[0], ids[1]]
    assert not any(jobs.job(id_)["solo"] for id_ in ids)


def test_a_job_marked_solo_comes_alone(jobs: Jobs, database: Database) -> None:
    ids = [jobs.enqueue(PROBE) for _ in range(4)]
    jobs.connection.execute("UPDATE jobs SET solo = true WHERE id = ANY(%s)", [[ids[0], ids[2]]])
    assert [[job.id for job in _claim(database, 4)] for _ in range(3)] == [[ids[0]], [ids[1], ids[3]], [ids[2]]]


def test_a_job_whose_attempts_were_taken_away_blocks_no_other(jobs: Jobs, database: Database) -> None:
    ids = [jobs.enqueue(PROBE, attempt=2, max_attempts=2), jobs.enqueue(PROBE)]
    assert [(job.id, job.attempt, job.max_attempts) for job in _claim(database, 2)] == [(ids[0], 3, 3), (ids[1], 1, 3)]


def test_pure_jobs_are_written_while_a_later_one_still_runs(jobs: Jobs, run: Run) -> None:
    first, second = jobs.enqueue(PROBE), jobs.enqueue(PROBE)

    def handler(context: Context) -> None:
        if context.job.id == second:
            eventually(lambda: jobs.state(first) == "SUCCEEDED")

    run(handler, pure=True, batch=2)
    assert [jobs.attempts(id_) for id_ in (first, second)] == [["SUCCEEDED"]] * 2


def test_other_jobs_are_written_before_the_next_begins(jobs: Jobs, run: Run) -> None:
    first, second = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    seen = []

    def handler(context: Context) -> None:
        if context.job.id == second:
            seen.append(jobs.state(first))

    run(handler, batch=2)
    assert seen == ["SUCCEEDED"]


def test_a_group_writes_what_is_still_ours_and_nothing_else(jobs: Jobs, database: Database) -> None:
    ids = [jobs.enqueue(PROBE) for _ in range(3)]
    batch = _claim(database, 3)
    queries.release(database.connection, {ids[1]: batch[1].claim_token})
    (other,) = _claim(database, 1, "host:2")
    assert queries.succeed_all(database.connection, [Done(job, '{"n": 1}') for job in batch]) == 2
    assert [jobs.state(id_) for id_ in ids] == ["SUCCEEDED", "RUNNING", "SUCCEEDED"]
    assert (jobs.job(ids[0])["result"], jobs.job(ids[1])["result"]) == ({"n": 1}, None)
    assert other.claim_token > batch[1].claim_token


@pytest.mark.parametrize("poison", [{"n": float("nan")}, {"text": "a\0b"}, {"text": "\ud800"}])
def test_a_result_that_cannot_be_stored_fails_its_own_job_alone(jobs: Jobs, run: Run, poison: dict[str, Any]) -> None:
    bad, good = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    run(lambda context: poison if context.job.id == bad else {"text": "\U0001f600 \\u0000"}, pure=True, batch=2)
    assert jobs.attempts(bad)[0] == "FAILED"
    eventually(lambda: jobs.state(good) == "SUCCEEDED")  # the heartbeat may be writing it
    assert jobs.job(good)["result"] == {"text": "\U0001f600 \\u0000"}


def test_behind_a_lost_lease_no_job_begins_that_is_another_s(jobs: Jobs, run: Run, database: Database) -> None:
    first, second, third = (jobs.enqueue(PROBE) for _ in range(3))
    ran = []

    def handler(context: Context) -> None:
        ran.append(context.job.id)
        if len(ran) == 1:
            lose(database, first, second)
            assert [job.id for _ in range(2) for job in _claim(database, 1)] == [first, second]

    run(handler, batch=4, lease_seconds=30)
    assert ran == [first, third]
    assert [jobs.state(id_) for id_ in (first, second, third)] == ["RUNNING", "RUNNING", "SUCCEEDED"]


def test_one_beat_keeps_the_whole_batch(jobs: Jobs, database: Database) -> None:
    ids = [jobs.enqueue(PROBE) for _ in range(3)]
    batch = _claim(database, 3)
    before = [jobs.job(id_)["lease_expire_time"] for id_ in ids]
    kept = queries.extend(database.connection, {job.id: job.claim_token for job in batch}, 3600)
    assert set(kept) == set(ids)
    assert all(jobs.job(id_)["lease_expire_time"] > old for id_, old in zip(ids, before, strict=True))


@pytest.mark.usefixtures("impatient")
def test_jobs_behind_a_long_one_are_handed_back_uncharged(jobs: Jobs, run: Run) -> None:
    slow, other = jobs.enqueue(PROBE), jobs.enqueue(PROBE)
    seen: list[dict[str, Any]] = []

    def handler(context: Context) -> None:
        if context.job.id == slow:
            eventually(lambda: jobs.state(other) == "WAITING")
            seen.append(jobs.job(other))

    run(handler, batch=2)
    assert [job["attempt"] for job in seen] == [0]
    assert (jobs.state(slow), jobs.attempts(other)[0]) == ("SUCCEEDED", "RELEASED")


def test_the_claim_follows_the_index_and_sorts_no_backlog(jobs: Jobs, database_url: str) -> None:
    database = Database(database_url, "test", pooled=False, setup=BY_INDEX)
    jobs.connection.execute(
        "INSERT INTO jobs (id, kind, queue, max_attempts) "
        "SELECT gen_random_uuid(), 'probe', 'probes', 3 FROM generate_series(1, 3000)"
    )
    plan: list[str] = []

    class Planner:
        def cursor(self, **_: object) -> Planner:
            return self

        def execute(self, statement: str, parameters: Any) -> Planner:
            rows = database.connection.execute("EXPLAIN (COSTS OFF) " + statement, parameters).fetchall()
            plan.extend(row["QUERY PLAN"].strip() for row in rows)
            return self

        def fetchall(self) -> list[Any]:
            return []

    queries.claim(Planner(), PROBE.queue, [PROBE.name], 60, "host:1", limit=64)  # type: ignore[arg-type]
    database.close()
    assert "->  Index Scan using jobs_waiting_idx on jobs" in plan
    assert not any("Seq Scan" in line for line in plan)
    # The one sort is of the batch that was claimed.
    assert [line for line in plan if line.startswith("Sort Key")] == [
        "Sort Key: claimed.rank, claimed.schedule_time, claimed.id"
    ]

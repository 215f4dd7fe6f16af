"""What goes and what stays, in batches; and one job a period, however many ask for it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.crypto import Secrets
from shared.ids import new_id
from shared.kinds import EMAIL, HOUSEKEEPING
from shared.traces import Tracer
from tests.integration.worker_service.conftest import KEY
from tests.support.jobs import Jobs
from worker_service import purges
from worker_service.database import Database
from worker_service.housekeeper import Housekeeper
from worker_service.registry import installed
from worker_service.runner import Runner
from worker_service.sequencer import Sequencer
from worker_service.settings import WorkerSettings

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purges, "BATCH", 2)


def _aged(days: float) -> uuid.UUID:
    """Returns the id of something made that long ago (RFC 9562)."""
    millis = int((NOW - timedelta(days=days)).timestamp() * 1000)
    return uuid.UUID(int=(millis << 80) | (new_id().int & (2**80 - 1)))


def _keep_house(settings: WorkerSettings, jobs: Jobs, **args: str) -> dict[str, Any]:
    id_ = jobs.enqueue(HOUSEKEEPING, args=args)
    runner = Runner(settings, installed(), Secrets(KEY), Tracer("test", None))
    runner.run(HOUSEKEEPING.queue)
    runner.close()
    result = jobs.job(id_)["result"]
    assert isinstance(result, dict)
    return result


def _ids(jobs: Jobs, table: str) -> set[Any]:
    return {row["id"] for row in jobs.connection.execute(f"SELECT id FROM {table}")}


def _task(jobs: Jobs, owner: uuid.UUID, *, gone: float | None = None, parent: uuid.UUID | None = None) -> uuid.UUID:
    """Inserts a task; `gone` is how many days ago its time was over, or will be."""
    id_ = new_id()
    over = None if gone is None else NOW - timedelta(days=gone)
    jobs.connection.execute(
        "INSERT INTO tasks (id, owner_id, title, parent_id, delete_time, purge_time) VALUES (%s, %s, 'x', %s, %s, %s)",
        [id_, owner, parent, over, over],
    )
    return id_


def test_deleted_tasks_go_after_their_time_and_trees_from_below(settings: WorkerSettings, jobs: Jobs) -> None:
    owner = jobs.user()
    kept = {_task(jobs, owner), _task(jobs, owner, gone=-1)}
    parent = None
    for _ in range(5):
        parent = _task(jobs, owner, gone=1, parent=parent)
    _task(jobs, owner, gone=2)
    assert _keep_house(settings, jobs)["tasks"] == 6
    assert _ids(jobs, "tasks") == kept
    told = jobs.connection.execute("SELECT kind, actor, owner_id FROM events").fetchall()
    assert told == [{"kind": "task.purged", "actor": "system", "owner_id": owner}] * 6


def test_a_task_stays_while_a_part_of_it_does(settings: WorkerSettings, jobs: Jobs) -> None:
    owner = jobs.user()
    whole = _task(jobs, owner, gone=1)
    part = _task(jobs, owner, gone=-1, parent=whole)
    assert _keep_house(settings, jobs)["tasks"] == 0
    assert _ids(jobs, "tasks") == {whole, part}


def test_a_task_that_is_just_being_brought_back_is_left(settings: WorkerSettings, jobs: Jobs) -> None:
    task = _task(jobs, jobs.user(), gone=1)
    other = Jobs(settings.dsn)
    with other.connection.transaction():
        other.connection.execute("UPDATE tasks SET delete_time = NULL, purge_time = NULL WHERE id = %s", [task])
        assert _keep_house(settings, jobs)["tasks"] == 0
    other.connection.close()
    assert _ids(jobs, "tasks") == {task}


def test_deleted_accounts_go_after_their_time_and_after_their_tasks(settings: WorkerSettings, jobs: Jobs) -> None:
    delete = """
        UPDATE users SET email = NULL, password_hash = '', display_name = '', delete_time = %s, purge_time = %s
        WHERE id = %s
    """
    live, later, gone, owner = (jobs.user(f"{n}@example.com") for n in range(4))
    for id_, days in ((later, -1), (gone, 1), (owner, 1)):
        over = NOW - timedelta(days=days)
        jobs.connection.execute(delete, [over, over, id_])
    robot = new_id()
    jobs.connection.execute(
        "INSERT INTO service_accounts (id, display_name, scopes, delete_time, purge_time)"
        " VALUES (%s, 'Robot', '{}', now(), now())",
        [robot],
    )
    task = _task(jobs, gone, gone=1)
    brought_back = _task(jobs, owner)
    assert _keep_house(settings, jobs)["principals"] == 2
    assert _ids(jobs, "principals") == _ids(jobs, "users") == {live, later, owner}
    assert task not in _ids(jobs, "tasks")
    assert brought_back in _ids(jobs, "tasks")


def test_what_a_deleted_account_still_owned_is_deleted_with_its_times(settings: WorkerSettings, jobs: Jobs) -> None:
    live, gone = jobs.user("live@example.com"), jobs.user("gone@example.com")
    left = {_task(jobs, gone) for _ in range(5)}
    kept = _task(jobs, live)
    jobs.connection.execute("UPDATE tasks SET assignee_id = %s, assignee_kind = 'users' WHERE id = %s", [gone, kept])
    jobs.connection.execute(
        "UPDATE users SET email = NULL, password_hash = '', display_name = '', delete_time = now() - interval '1 day',"
        " purge_time = now() + interval '29 days' WHERE id = %s",
        [gone],
    )
    assert _keep_house(settings, jobs, account=str(gone))["orphaned"] == 6
    rows = jobs.connection.execute(
        "SELECT tasks.id FROM tasks JOIN users ON users.id = owner_id"
        " WHERE tasks.delete_time = users.delete_time AND tasks.purge_time = users.purge_time"
    )
    assert {row["id"] for row in rows} == left
    task = jobs.connection.execute("SELECT assignee_id, delete_time FROM tasks WHERE id = %s", [kept]).fetchone()
    assert task == {"assignee_id": None, "delete_time": None}
    told = jobs.connection.execute("SELECT kind, actor, resource FROM events WHERE kind ~ '^task' ORDER BY kind")
    assert [(row["kind"], row["actor"]) for row in told] == [("task.deleted", "system")] * 5 + [
        ("task.updated", "system")
    ]
    assert _keep_house(settings, jobs, account=str(live))["orphaned"] == 0


def test_expired_idempotency_records_go(settings: WorkerSettings, jobs: Jobs) -> None:
    for n, expires in enumerate([-1, -2, -3, 1]):
        jobs.connection.execute(
            """
            INSERT INTO idempotency_records (principal, method, key, fingerprint, create_time, expire_time)
            VALUES ('p', 'm', %s, %s, now() - interval '10 days', now() + %s * interval '1 day')
            """,
            [str(n), b"0" * 32, expires],
        )
    assert _keep_house(settings, jobs)["idempotency_records"] == 3
    assert [row["key"] for row in jobs.connection.execute("SELECT key FROM idempotency_records")] == ["3"]


def test_old_jobs_go_with_attempts_and_steps_and_what_waits_stays(settings: WorkerSettings, jobs: Jobs) -> None:
    def job(created: float, state: str, ended: float | None) -> uuid.UUID:
        id_ = _aged(created)
        end = None if ended is None else NOW - timedelta(days=ended)
        jobs.connection.execute(
            "INSERT INTO jobs (id, kind, queue, max_attempts, state, end_time) VALUES (%s, %s, 'email', 3, %s, %s)",
            [id_, EMAIL.name, state, end],
        )
        insert = "INSERT INTO job_attempts (job_id, claim_token, attempt, worker) VALUES (%s, 1, 1, 'w')"
        jobs.connection.execute(insert, [id_])
        jobs.connection.execute("INSERT INTO job_steps (job_id, name) VALUES (%s, 'one')", [id_])
        return id_

    jobs.connection.execute("UPDATE jobs SET schedule_time = now() + interval '1 day'")
    for state in ("SUCCEEDED", "FAILED", "CANCELLED"):
        job(40, state, 31)
    stay = {job(60, "WAITING", None), job(40, "SUCCEEDED", 29), job(1, "FAILED", 1)}
    jobs.connection.execute("UPDATE jobs SET schedule_time = now() + interval '1 day' WHERE state = 'WAITING'")
    assert _keep_house(settings, jobs)["jobs"] == 3
    left = {row["id"] for row in jobs.connection.execute("SELECT id FROM jobs WHERE kind = 'email'")}
    assert left == stay
    for table in ("job_attempts", "job_steps"):
        rows = jobs.connection.execute(f"SELECT DISTINCT job_id FROM {table} JOIN jobs ON id = job_id")
        assert {row["job_id"] for row in rows} >= stay


def test_uploads_that_nobody_took_over_go_after_a_day(settings: WorkerSettings, jobs: Jobs) -> None:
    files = {name: new_id() for name in ("old", "new", "taken")}
    taken = jobs.enqueue(EMAIL, schedule_time=NOW + timedelta(days=1))
    for name, id_ in files.items():
        jobs.connection.execute(
            """
            INSERT INTO job_files (id, job_id, role, name, content_type, create_time)
            VALUES (%s, %s, 'INPUT', 'x', 'x', now() - make_interval(hours => %s))
            """,
            [id_, taken if name == "taken" else None, 23 if name == "new" else 25],
        )
        jobs.connection.execute("INSERT INTO job_file_chunks (file_id, start, data) VALUES (%s, 0, 'x')", [id_])
    assert _keep_house(settings, jobs)["uploads"] == 1
    assert _ids(jobs, "job_files") == {files["new"], files["taken"]}
    assert len(jobs.connection.execute("SELECT FROM job_file_chunks").fetchall()) == 2


@pytest.mark.parametrize(
    ("table", "columns", "column", "days"),
    [
        ("registrations", "id, email, password_hash, expire_time", "expire_time", 7),
        ("links", "id, purpose, email, expire_time", "expire_time", 7),
        ("sessions", "id, user_id, expire_time, idle_expire_time", "idle_expire_time", 7),
        ("lockouts", "subject, failures, update_time", "update_time", 7),
        ("devices", "user_id, fingerprint, use_time", "use_time", 365),
    ],
)
def test_what_sign_ins_leave_goes_when_it_says_nothing_any_more(
    settings: WorkerSettings, jobs: Jobs, table: str, columns: str, column: str, days: int
) -> None:
    user = jobs.user()
    for age in (days + 2, days + 2, days - 1):
        id_ = new_id()
        values: dict[str, object] = {
            "id": id_,
            "user_id": user,
            "email": "a@example.com",
            "password_hash": "x",
            "purpose": "reset-password",
            "subject": id_.bytes * 2,
            "fingerprint": id_.bytes * 2,
            "failures": 1,
            "expire_time": NOW + timedelta(days=900),
            column: NOW - timedelta(days=age),
        }
        names = [name.strip() for name in columns.split(",")]
        created = {"registrations", "links", "sessions"} & {table}
        extra = ", create_time" if created else ""
        more = [NOW - timedelta(days=800)] if created else []
        places = ", ".join(["%s"] * (len(names) + len(more)))
        jobs.connection.execute(
            f"INSERT INTO {table} ({columns}{extra}) VALUES ({places})".encode(),
            [*(values[name] for name in names), *more],
        )
    assert _keep_house(settings, jobs)[table] == 2
    assert len(jobs.connection.execute(f"SELECT 1 FROM {table}".encode()).fetchall()) == 1


def test_old_events_go_and_positions_go_on(settings: WorkerSettings, jobs: Jobs, database: Database) -> None:
    def emit(days: float) -> None:
        jobs.connection.execute(
            "INSERT INTO events (kind, resource, actor, create_time) VALUES ('a.b', 'x', 'y', %s)",
            [NOW - timedelta(days=days)],
        )

    for days in (400, 399, 366):
        emit(days)
    Sequencer(database).run_once()
    emit(367)  # not in order yet: nobody can have read it
    assert _keep_house(settings, jobs)["events"] == 3
    emit(0)
    Sequencer(database).run_once()
    positions = jobs.connection.execute("SELECT position FROM events ORDER BY id").fetchall()
    assert [row["position"] for row in positions] == [4, 5]
    # So that nobody resumes across the gap.
    assert jobs.connection.execute("SELECT purged FROM event_counter").fetchone() == {"purged": 3}


def test_old_events_forget_where_somebody_called_from_and_stay(settings: WorkerSettings, jobs: Jobs) -> None:
    for days, context in ((200, "{}"), (100, "{}"), (91, None), (89, "{}"), (0, "{}")):
        jobs.connection.execute(
            "INSERT INTO events (kind, resource, actor, create_time, context) VALUES ('a.b', 'x', 'y', %s, %s)",
            [NOW - timedelta(days=days), context],
        )
    assert _keep_house(settings, jobs)["origins"] == 2
    rows = jobs.connection.execute("SELECT context IS NULL AS forgotten FROM events ORDER BY id").fetchall()
    assert [row["forgotten"] for row in rows] == [True, True, True, False, False]


def test_signing_keys_go_when_they_are_published_no_more(settings: WorkerSettings, jobs: Jobs) -> None:
    for kid, expires in (("over", "-1 second"), ("retired", "1 minute"), ("signs", None)):
        jobs.connection.execute(
            "INSERT INTO signing_keys (kid, public_key, sealed_private_key, sign_from_time, expire_time)"
            " VALUES (%s, %s, '', now() - interval '1 day', now() + %s::interval)",
            [kid, b"0" * 32, expires],
        )
    assert _keep_house(settings, jobs)["signing_keys"] == 1
    left = jobs.connection.execute("SELECT kid FROM signing_keys ORDER BY kid").fetchall()
    assert [row["kid"] for row in left] == ["retired", "signs"]


class TestHousekeeper:
    @pytest.fixture
    def copies(self, database_url: str) -> Iterator[list[Housekeeper]]:
        databases = [Database(database_url, "housekeeper", pooled=False) for _ in range(4)]
        yield [Housekeeper(database, 60) for database in databases]
        for database in databases:
            database.close()

    def _count(self, jobs: Jobs) -> int:
        return len(_ids(jobs, "jobs"))

    def test_many_copies_ask_once(self, copies: list[Housekeeper], jobs: Jobs) -> None:
        barrier = threading.Barrier(len(copies))

        def turn(copy: Housekeeper) -> None:
            barrier.wait()
            copy.run_once()

        threads = [threading.Thread(target=turn, args=(copy,)) for copy in copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self._count(jobs) == 1

    @pytest.mark.parametrize(
        ("age", "state", "expected"), [(61, "SUCCEEDED", 2), (59, "SUCCEEDED", 1), (61, "WAITING", 1)]
    )
    def test_the_next_comes_when_the_period_is_over_and_the_last_has_ended(
        self, copies: list[Housekeeper], jobs: Jobs, age: int, state: str, expected: int
    ) -> None:
        copies[0].run_once()
        jobs.connection.execute(
            """
            UPDATE jobs SET create_time = now() - make_interval(secs => %s), state = %s,
                end_time = CASE WHEN %s <> 'WAITING' THEN now() END
            """,
            [age, state, state],
        )
        copies[1].run_once()
        assert self._count(jobs) == expected

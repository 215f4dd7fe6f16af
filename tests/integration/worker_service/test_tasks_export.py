"""The kind `tasks.export`, from its arguments to the bytes that are kept."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import uuid
from typing import Any

import pytest
from google.protobuf import json_format
from taskhub.v1 import task_pb2

from shared.crypto import Secrets
from shared.ids import new_id
from shared.kinds import TASKS_EXPORT
from shared.traces import Tracer
from tests.integration.worker_service.conftest import KEY
from tests.support.jobs import Jobs
from worker_service.context import Context
from worker_service.files import store
from worker_service.jobs import tasks_export
from worker_service.registry import installed
from worker_service.runner import Runner
from worker_service.settings import WorkerSettings


def make_tasks(jobs: Jobs, owner: uuid.UUID, number: int, **columns: str) -> None:
    """Inserts tasks with ids that rise; `columns` are SQL, in which `n` counts from 1."""
    chosen = {"title": "'task ' || n", **columns}
    jobs.connection.execute(
        f"""
        INSERT INTO tasks (id, owner_id, {", ".join(chosen)})
        SELECT ('00000000-0000-7000-8000-' || lpad((%s + n)::text, 12, '0'))::uuid, %s, {", ".join(chosen.values())}
        FROM generate_series(1, %s) AS n
        """.encode(),
        [int(owner.int % 1000) * 1_000_000, owner, number],
    )


def export(jobs: Jobs, owner: uuid.UUID, format_: str = "NDJSON", **args: Any) -> uuid.UUID:
    """Enqueues an export."""
    args = {
        "format": format_,
        "filter": "",
        "show_deleted": False,
        "principal": f"users/{owner}",
        "reads_all": False,
    } | args
    return jobs.enqueue(TASKS_EXPORT, args, owner_id=owner)


def run(settings: WorkerSettings) -> None:
    runner = Runner(settings, installed(), Secrets(KEY), Tracer("test", None))
    runner.run(TASKS_EXPORT.queue)
    runner.close()


def result(jobs: Jobs, id_: uuid.UUID) -> bytes:
    """Returns the bytes of the result, once size and digest were compared."""
    file = jobs.connection.execute("SELECT * FROM job_files WHERE job_id = %s", [id_]).fetchone()
    assert file is not None
    chunks = jobs.connection.execute(
        "SELECT start, data FROM job_file_chunks WHERE file_id = %s ORDER BY start", [file["id"]]
    ).fetchall()
    data = b""
    for chunk in chunks:
        assert chunk["start"] == len(data)
        data += chunk["data"]
    assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).digest())
    return data


def test_users_me_is_whoever_asked(settings: WorkerSettings, jobs: Jobs) -> None:
    owner, other = jobs.user(), jobs.user("bob@example.com")
    make_tasks(jobs, owner, 2)
    assign = "UPDATE tasks SET assignee_id = %s, assignee_kind = 'users' WHERE title = 'task 2'"
    jobs.connection.execute(assign, [other])
    id_ = export(jobs, other, filter="assignee = users/me")
    nothing = export(jobs, owner, filter="assignee = users/me")
    run(settings)
    assert [len(result(jobs, each).splitlines()) for each in (id_, nothing)] == [1, 0]


def test_csv_has_every_field_and_every_task_that_is_the_callers(settings: WorkerSettings, jobs: Jobs) -> None:
    owner, other = jobs.user(), jobs.user("bob@example.com")
    make_tasks(
        jobs,
        owner,
        600,
        labels="""'{"team": "a, \\"b\\""}'""",
        description="E'two\\r\\nlines'",
        due_time="'2026-01-02T00:00:00Z'",
    )
    make_tasks(jobs, other, 3)
    jobs.connection.execute("UPDATE tasks SET delete_time = now(), purge_time = now() WHERE title = 'task 600'")
    id_ = export(jobs, owner, "CSV")
    run(settings)
    assert jobs.job(id_)["result"]["tasks"] == 599
    data = result(jobs, id_)
    assert data.count(b"\r\n") == 600 + 599
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert [row["title"] for row in rows] == [f"task {n}" for n in range(1, 600)]
    first = rows[0]
    assert (first["description"], json.loads(first["labels"])) == ("two\r\nlines", {"team": 'a, "b"'})
    assert (first["due_time"], first["priority"], first["state"]) == ("2026-01-02T00:00:00.000000Z", "NORMAL", "TODO")
    assert (first["owner"], first["etag"], first["complete_time"]) == (f"users/{owner}", '"1"', "")


def test_ndjson_has_the_tasks_as_rest_shows_them(settings: WorkerSettings, jobs: Jobs) -> None:
    owner = jobs.user()
    make_tasks(jobs, owner, 2, labels="""'{"a": "b"}'""", state="'DONE'", complete_time="'2026-01-02T03:04:05.678901Z'")
    id_ = export(jobs, owner)
    run(settings)
    lines = result(jobs, id_).splitlines()
    for line in lines:
        message = json_format.Parse(line, task_pb2.Task())
        assert (message.owner, message.etag, dict(message.labels)) == (f"users/{owner}", '"1"', {"a": "b"})
        assert message.state == task_pb2.Task.DONE
        assert message.complete_time.ToJsonString() == "2026-01-02T03:04:05.678901Z"
        assert not message.HasField("description")
        assert not message.HasField("due_time")
    assert len(lines) == 2


def test_an_export_is_of_what_its_caller_may_see(settings: WorkerSettings, jobs: Jobs) -> None:
    owner, other = jobs.user(), jobs.user("bob@example.com")
    make_tasks(jobs, owner, 2)
    make_tasks(jobs, other, 3)
    jobs.connection.execute(
        "UPDATE tasks SET delete_time = now(), purge_time = now() WHERE owner_id = %s AND title = 'task 1'", [other]
    )
    mine = export(jobs, owner, show_deleted=True)
    all_ = export(jobs, owner, reads_all=True)
    deleted = export(jobs, owner, reads_all=True, show_deleted=True)
    jobs.connection.execute(
        "UPDATE tasks SET assignee_id = %s, assignee_kind = 'users' WHERE title = 'task 2'", [owner]
    )
    found = export(jobs, owner, filter='state = TODO AND title = "task 2"')
    none = export(jobs, jobs.user("eve@example.com"), "CSV")
    run(settings)
    assert [jobs.job(id_)["result"]["tasks"] for id_ in (mine, all_, deleted, found, none)] == [3, 4, 5, 2, 0]
    assert result(jobs, none).startswith(b"name,title,")


def test_an_export_goes_on_where_the_last_attempt_ended(
    settings: WorkerSettings, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_export, "PART", 100)
    owner = jobs.user()
    make_tasks(jobs, owner, 1000)
    id_ = export(jobs, owner)
    written = store.Writer.close
    parts = []

    def fail_in_the_fifth_part(writer: store.Writer) -> int:
        size = written(writer)
        parts.append(size)
        if len(parts) == 6:
            jobs.connection.execute("INSERT INTO tasks (id, owner_id, title) VALUES (%s, %s, 'new')", [new_id(), owner])
            raise ValueError
        return size

    monkeypatch.setattr(store.Writer, "close", fail_in_the_fifth_part)
    run(settings)
    assert jobs.state(id_) == "WAITING"
    jobs.connection.execute("UPDATE jobs SET schedule_time = now(), rank = now()")
    run(settings)
    lines = [json.loads(line)["title"] for line in result(jobs, id_).splitlines()]
    assert lines == [f"task {n}" for n in range(1, 1001)]
    assert len(parts) == 1 + 10 + 1, "the begin, ten parts, and the one that was lost"


def test_a_cancelled_export_leaves_no_file(
    settings: WorkerSettings, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = jobs.user()
    make_tasks(jobs, owner, 3)
    id_ = export(jobs, owner)
    monkeypatch.setattr(Context, "cancelled", True)
    run(settings)
    assert jobs.state(id_) == "CANCELLED"
    assert jobs.connection.execute("SELECT FROM job_files").fetchall() == []

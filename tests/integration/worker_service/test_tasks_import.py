"""The kind `tasks.import`, from uploaded bytes to tasks, events and the report."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from shared import files
from shared.crypto import Secrets
from shared.ids import new_id
from shared.kinds import TASKS_IMPORT
from shared.traces import Tracer
from tests.integration.worker_service.conftest import KEY
from tests.integration.worker_service.test_tasks_export import export, result
from tests.support.jobs import Jobs
from worker_service.registry import installed
from worker_service.runner import Runner
from worker_service.settings import WorkerSettings

BOM = b"\xef\xbb\xbf"


def enqueue(jobs: Jobs, owner: uuid.UUID, data: bytes, format_: str = "NDJSON", **args: Any) -> uuid.UUID:
    """Uploads `data` in pieces that end anywhere, and enqueues its import."""
    args = {"format": format_, "mode": "ALL_OR_NOTHING", "key_field": "", "principal": f"users/{owner}"} | args
    id_ = jobs.enqueue(TASKS_IMPORT, args, owner_id=owner)
    file = files.new_file(new_id(), job_id=id_, role="INPUT", name="upload", content_type="text/plain")
    jobs.connection.execute(files.INSERT_FILE, file)
    size = max(7, len(data) // 50)
    for start in range(0, len(data), size):
        chunk = {"start": start, "data": data[start : start + size]}
        jobs.connection.execute(files.INSERT_CHUNK, file | chunk)
    digest = hashlib.sha256(data).digest()
    jobs.connection.execute(files.COMPLETE, file | {"size": len(data), "sha256": digest})
    return id_


def run(settings: WorkerSettings) -> None:
    runner = Runner(settings, installed(), Secrets(KEY), Tracer("test", None))
    runner.run(TASKS_IMPORT.queue)
    runner.close()


def report(jobs: Jobs, id_: uuid.UUID) -> list[dict[str, Any]]:
    rows = jobs.connection.execute(
        "SELECT data FROM job_file_chunks JOIN job_files ON id = file_id "
        "WHERE job_id = %s AND role = 'RESULT' AND size IS NOT NULL ORDER BY start",
        [id_],
    )
    return [json.loads(line) for line in b"".join(row["data"] for row in rows).splitlines()]


def titles(jobs: Jobs) -> list[str]:
    return [row["title"] for row in jobs.connection.execute("SELECT title FROM tasks ORDER BY id")]


@pytest.fixture
def owner(jobs: Jobs) -> uuid.UUID:
    return jobs.user()


GOOD = {
    "NDJSON": b'{"title": "one", "dueTime": "2030-01-02T03:04:05+01:00", "labels": {"a": "b"}, '
    b'"state": "IN_PROGRESS"}\n'
    b'\n{"title": "two", "priority": "URGENT", "description": "a\\nb"}',
    "CSV": b"title,due_time,labels,priority,description,state\r\n"
    b'one,2030-01-02T03:04:05+01:00,"{""a"": ""b""}",,,IN_PROGRESS\r\n\r\ntwo,,,URGENT,"a\nb",\r\n',
}


@pytest.mark.parametrize("begin", [b"", BOM], ids=["plain", "BOM"])
@pytest.mark.parametrize("format_", GOOD)
def test_lines_become_tasks_with_their_events(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, format_: str, begin: bytes
) -> None:
    id_ = enqueue(jobs, owner, begin + GOOD[format_], format_)
    run(settings)
    assert jobs.job(id_)["result"] == {"created": 2, "existing": 0, "invalid": 0, "first_invalid": []}
    one, two = jobs.connection.execute("SELECT * FROM tasks ORDER BY id").fetchall()
    assert (one["title"], one["labels"], one["state"], one["priority"]) == ("one", {"a": "b"}, "IN_PROGRESS", 2)
    assert one["due_time"] == datetime(2030, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert (two["priority"], two["description"], two["owner_id"]) == (4, "a\nb", owner)
    events = jobs.connection.execute("SELECT kind, resource, actor, owner_id FROM events ORDER BY id").fetchall()
    expected = {"kind": "task.created", "actor": f"users/{owner}", "owner_id": owner}
    assert events == [{**expected, "resource": f"tasks/{task['id']}"} for task in (one, two)]
    [first, _] = jobs.connection.execute("SELECT changes FROM events ORDER BY id").fetchall()
    assert first["changes"] == {
        "title": [None, "one"], "state": [None, "IN_PROGRESS"], "priority": [None, 2], "labels": [None, {"a": "b"}],
        "due_time": [None, "2030-01-02T02:04:05+00:00"],
    }  # fmt: skip
    header = format_ == "CSV"
    told = [{"line": n + header, "task": f"tasks/{task['id']}"} for n, task in ((1, one), (3, two))]
    assert report(jobs, id_) == told
    assert jobs.connection.execute("SELECT FROM job_files WHERE role = 'INPUT'").fetchall() == []


BAD = {
    "NDJSON": [
        (b"nonsense", "", "is not JSON"),
        (b"[1]", "", "must be an object"),
        (b'{"title": "a", "title": "b"}', "", "gives a name twice"),
        (b'{"dueTime": "2030-01-01T00:00:00Z", "due_time": null}', "", "gives due_time twice"),
        (b'{"titel": "a"}', "", "has a member that is none of a task: 'titel'"),
        (b"[" * 100_000, "", "nests too deep"),
        (b'{"title": "\xff"}', "", "is not UTF-8"),
        (b'{"title": "\\ud800"}', "title", "holds half a character"),
        (b'{"title": "a\\u0000"}', "title", "holds a control character"),
        (b'{"description": "x"}', "title", "value is required"),
        (b'{"title": "a", "labels": {"A": "x"}}', "labels", "has a key that is not"),
        (b'{"title": "a", "dueTime": "tomorrow"}', "due_time", "must be a time such as"),
        (b'{"title": "a", "assignee": "users/1"}', "assignee", "must be the name of an account"),
        (b'{"title": "a", "state": "LOST"}', "state", "must be one of TODO, IN_PROGRESS, DONE, CANCELLED"),
        (b'{"title": "a", "priority": ["LOW"]}', "priority", "must be one of LOW, NORMAL, HIGH, URGENT"),
        (b'{"title": "' + b"x" * 2_000_000 + b'"}', "", "is longer than 1048576 bytes"),
    ],
    "CSV": [
        (b"a,b,c", "", "has 3 values for 2 columns"),
        (b'"a"b,', "", "is not CSV: ',' expected after '\"'"),
        (b"\xff,", "", "is not UTF-8"),
        (b"a\0b,", "title", "holds a control character"),
        (b",x", "title", "value is required"),
        (b"x" * 201 + b",", "title", "must be at most 200 characters"),
        (b"a," + b"x" * 200_000, "", "is not CSV: field larger than field limit (131072)"),
    ],
}


@pytest.mark.parametrize(
    ("format_", "bad", "field", "said"), [(format_, *each) for format_, cases in BAD.items() for each in cases]
)
def test_a_bad_line_is_named_and_its_neighbours_are_imported(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, format_: str, bad: bytes, field: str, said: str
) -> None:
    begin, good, end = {
        "NDJSON": (b"", b'{"title": "good"}\n', b'{"title": "end"}'),
        "CSV": (b"title,description\n", b"good,\n", b"end,"),
    }[format_]
    id_ = enqueue(jobs, owner, begin + good + bad + b"\n" + end, format_, mode="SKIP_INVALID")
    run(settings)
    wrong = [line for line in report(jobs, id_) if "violations" in line]
    assert wrong[0]["line"] == 2 + (format_ == "CSV")
    assert wrong[0]["violations"][0]["field"] == field
    assert wrong[0]["violations"][0]["description"].startswith(said)
    assert titles(jobs)[0] == "good"
    assert titles(jobs)[-1] == "end"
    assert jobs.job(id_)["result"]["first_invalid"][0] == wrong[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "The header line names no column `title`."),
        (b"name,state\n", "The header line names no column `title`."),
        (b"title,titel\n", "The column 'titel' is no field of a task."),
        (b"title,due_time,dueTime\n", "There are two columns due_time."),
        (b"\xfftitle\n", "The header line cannot be read: it is not UTF-8."),
        (b"\xff\xfet\0i\0t\0l\0e\0\n\0", "The header line cannot be read: it is not UTF-8."),
        (b'"title', "The header line cannot be read: it is not CSV: unexpected end of data."),
    ],
)
def test_a_header_that_is_none_ends_the_job(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, data: bytes, said: str
) -> None:
    id_ = enqueue(jobs, owner, data, "CSV")
    run(settings)
    error = jobs.job(id_)["error"]
    assert (jobs.state(id_), error["reason"], error["message"]) == ("FAILED", "FILE_MALFORMED", said)


def test_a_key_that_no_column_holds_ends_the_job(settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID) -> None:
    id_ = enqueue(jobs, owner, b"title\na\n", "CSV", key_field="ticket")
    run(settings)
    assert jobs.job(id_)["error"]["message"] == "The header line names no column 'ticket', which is to be the key."


def test_a_file_without_lines_makes_no_tasks(settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID) -> None:
    ids = [enqueue(jobs, owner, b"title\n", "CSV"), enqueue(jobs, owner, b" \n")]
    run(settings)
    assert [jobs.job(id_)["result"]["created"] for id_ in ids] == [0, 0]


def test_all_or_nothing_makes_nothing_and_reports_every_bad_line(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID
) -> None:
    id_ = enqueue(jobs, owner, b'{"title": "good"}\n{"title": ""}\n{"title": "b", "labels": {"A": "x"}}\n' * 1000)
    run(settings)
    error = jobs.job(id_)["error"]
    assert (jobs.state(id_), error["reason"], titles(jobs)) == ("FAILED", "LINES_INVALID", [])
    assert error["message"].startswith(
        "2000 of 3000 lines are wrong and nothing was imported; the first is line 2: title"
    )
    whole = enqueue(jobs, owner, b"\xff")
    run(settings)
    assert "; the first is line 1: is not UTF-8. " in jobs.job(whole)["error"]["message"]
    assert [line["line"] for line in report(jobs, id_)] == [n for n in range(1, 3001) if n % 3 != 1]


@pytest.mark.parametrize("mode", ["ALL_OR_NOTHING", "SKIP_INVALID"])
def test_a_line_whose_key_is_known_makes_no_second_task(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, mode: str
) -> None:
    lines = b"title,ticket\none,A-1\ntwo,A-2\nagain,A-1\n"
    first = enqueue(jobs, owner, lines, "CSV", key_field="ticket", mode=mode)
    run(settings)
    second = enqueue(jobs, owner, b"title,ticket\nother,A-2\nthree,A-3", "CSV", key_field="ticket", mode=mode)
    strangers = enqueue(jobs, jobs.user("bob@example.com"), b"title,ticket\nhis,A-1", "CSV", key_field="ticket")
    run(settings)
    results = [jobs.job(id_)["result"] for id_ in (first, second, strangers)]
    assert [(result["created"], result["existing"]) for result in results] == [(2, 1), (1, 1), (1, 0)]
    assert titles(jobs) == ["one", "two", "three", "his"]
    assert report(jobs, second)[0] == {"line": 2, "task": report(jobs, first)[1]["task"], "existing": True}
    assert len(jobs.connection.execute("SELECT FROM events").fetchall()) == 4


def test_a_line_without_its_key_is_bad(settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID) -> None:
    data = b'{"title": "a"}\n{"title": "b", "id": 7}\n{"title": "c", "id": "7"}\n{"title": "d", "id": true}'
    id_ = enqueue(jobs, owner, data, key_field="id", mode="SKIP_INVALID")
    run(settings)
    assert [line.get("violations", [{}])[0].get("field") for line in report(jobs, id_)] == ["id", None, None, "id"]
    assert titles(jobs) == ["b"]


def test_times_ahead_remind_as_those_of_a_created_task_do(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID
) -> None:
    data = b'{"title": "a", "dueTime": "2999-01-01T00:00:00Z", "remindTime": "1999-01-01T00:00:00Z", "id": "1"}\n' * 2
    enqueue(jobs, owner, data, key_field="id")
    run(settings)
    (task,) = jobs.connection.execute("SELECT id FROM tasks").fetchall()
    (reminder,) = jobs.connection.execute("SELECT * FROM jobs WHERE kind = 'email'").fetchall()
    time = datetime(2999, 1, 1, tzinfo=UTC)
    assert reminder["args"] == {
        "template": "reminder", "task": str(task["id"]), "field": "due_time", "time": time.isoformat()
    }  # fmt: skip
    assert (reminder["task_id"], reminder["owner_id"], reminder["state"]) == (task["id"], owner, "WAITING")
    assert reminder["schedule_time"] == reminder["rank"] == time


def test_what_csv_export_guards_against_formulas_comes_back_as_it_was(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID
) -> None:
    texts = ["=1+1", "'=1+1", "''-2", "'quoted'", "@a", "+1", "\uff1d1", "plain", "'", "-"]
    for text in texts:
        jobs.connection.execute(
            "INSERT INTO tasks (id, owner_id, title, description) VALUES (%s, %s, %s, %s)",
            [new_id(), owner, text, "\t" + text],
        )
    id_ = export(jobs, owner, "CSV")
    run(settings)
    data = result(jobs, id_)
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert not [row for row in rows if row["title"][0] in "=-+@\uff1d" or row["description"][0] != "'"]
    jobs.connection.execute("DELETE FROM tasks")
    enqueue(jobs, owner, data, "CSV")
    run(settings)
    again = jobs.connection.execute("SELECT title, description FROM tasks ORDER BY id").fetchall()
    assert [(row["title"], row["description"]) for row in again] == [(text, "\t" + text) for text in texts]

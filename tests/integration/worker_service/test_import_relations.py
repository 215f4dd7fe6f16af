"""What lines say of accounts and of other tasks; and tasks that go from one account to another as a file."""

from __future__ import annotations

import csv
import io
import json
import uuid
from typing import Any

import pytest

from shared.ids import new_id
from tests.integration.worker_service.test_tasks_export import export, result
from tests.integration.worker_service.test_tasks_import import enqueue, owner, report, run, titles
from tests.support.jobs import Jobs
from worker_service.files import inserts
from worker_service.jobs import tasks_import
from worker_service.settings import WorkerSettings

__all__ = ["owner"]

#: What a copy in another account has in common with the original.
COPIED = "title, description, state, priority, labels, due_time, remind_time, assignee_id, assignee_kind"


def lines(*objects: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in objects)


def wrong(jobs: Jobs, id_: uuid.UUID) -> list[tuple[int, str, str]]:
    """Returns line, field and fault of each bad line."""
    told = [line for line in report(jobs, id_) if "violations" in line]
    return [(line["line"], each["field"], each["description"]) for line in told for each in line["violations"]]


def tree(jobs: Jobs, owner_: uuid.UUID) -> dict[str, str | None]:
    rows = jobs.connection.execute(
        "SELECT tasks.title, whole.title AS whole FROM tasks LEFT JOIN tasks whole ON whole.id = tasks.parent_id"
        " WHERE tasks.owner_id = %s",
        [owner_],
    ).fetchall()
    return {row["title"]: row["whole"] for row in rows}


@pytest.mark.parametrize("mode", ["ALL_OR_NOTHING", "SKIP_INVALID"])
@pytest.mark.parametrize("format_", ["CSV", "NDJSON"])
def test_what_one_account_exports_another_can_import(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, format_: str, mode: str
) -> None:
    other, assignee = jobs.user("bob@example.com"), jobs.user("carol@example.com")
    seed = lines(
        {
            "title": "whole",
            "id": "w",
            "state": "IN_PROGRESS",
            "labels": {"a": "b"},
            "dueTime": "2999-01-01T00:00:00.5Z",
        },
        {"title": "part", "id": "p", "parentTask": "w", "assignee": f"users/{assignee}", "priority": "URGENT"},
        {"title": "part of part", "id": "pp", "parent_task": "p", "state": "DONE", "description": "=1\n2"},
        {"title": "given up", "state": "CANCELLED", "id": "c", "remindTime": "2999-01-01T00:00:00Z"},
    )
    enqueue(jobs, owner, seed, key_field="id")
    run(settings)
    first = export(jobs, owner, format_)
    run(settings)
    for created, existing in ((4, 0), (0, 4)):
        id_ = enqueue(jobs, other, result(jobs, first), format_, key_field="name", mode=mode)
        run(settings)
        assert jobs.job(id_)["error"] is None
        found = jobs.job(id_)["result"]
        assert (found["created"], found["existing"], found["invalid"]) == (created, existing, 0)
    copies = [
        jobs.connection.execute(f"SELECT {COPIED} FROM tasks WHERE owner_id = %s ORDER BY id", [who]).fetchall()
        for who in (owner, other)
    ]
    assert copies[0] == copies[1]
    assert tree(jobs, other) == {"whole": None, "part": "whole", "part of part": "part", "given up": None}
    mails = jobs.connection.execute("SELECT args ->> 'field' AS field FROM jobs WHERE kind = 'email'").fetchall()
    assert [mail["field"] for mail in mails] == ["due_time"] * 2  # none for what is closed, and none of assignments


@pytest.mark.parametrize("mode", ["ALL_OR_NOTHING", "SKIP_INVALID"])
def test_a_relation_that_cannot_be_is_a_bad_line(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, mode: str
) -> None:
    stranger = jobs.user("bob@example.com")
    foreign, done, gone = new_id(), new_id(), new_id()
    insert = "INSERT INTO tasks (id, owner_id, title, state, complete_time, delete_time, purge_time) VALUES "
    jobs.connection.execute(insert + "(%s, %s, 'foreign', 'TODO', NULL, NULL, NULL)", [foreign, stranger])
    jobs.connection.execute(insert + "(%s, %s, 'done', 'DONE', now(), NULL, NULL)", [done, owner])
    jobs.connection.execute(insert + "(%s, %s, 'gone', 'TODO', NULL, now(), now())", [gone, owner])
    objects: list[dict[str, Any]] = [
        {"title": "good", "id": "1"},
        {"title": "nobody's", "id": "2", "assignee": f"users/{new_id()}"},
        {"title": "foreign", "id": "3", "parent_task": f"tasks/{foreign}"},
        {"title": "done", "id": "4", "parent_task": f"tasks/{done}"},
        {"title": "gone", "id": "5", "parent_task": f"tasks/{gone}"},
        {"title": "later", "id": "6", "parent_task": "8"},
        {"title": "of a bad one", "id": "7", "parent_task": "2"},
        {"title": "closed like its parent", "id": "8", "parent_task": f"tasks/{done}", "state": "CANCELLED"},
    ]
    id_ = enqueue(jobs, owner, lines(*objects), key_field="id", mode=mode)
    run(settings)
    none = ("parent_task", "is no task of yours, and no key of a line that was imported")
    assert sorted(wrong(jobs, id_)) == [
        (2, "assignee", "is no account that a task can be assigned to"), (3, *none),
        (4, "parent_task", "is DONE, and this task is open"), (5, "parent_task", "is deleted"),
        (6, "parent_task", "is CANCELLED, and this task is open"), (7, *none),
    ]  # fmt: skip
    made = [] if mode == "ALL_OR_NOTHING" else ["closed like its parent", "good"]
    assert sorted(set(titles(jobs)) - {"foreign", "done", "gone"}) == made
    assert jobs.state(id_) == ("FAILED" if mode == "ALL_OR_NOTHING" else "SUCCEEDED")


def test_a_tree_of_lines_keeps_to_its_bounds(settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID) -> None:
    deep = [{"title": f"{n}", "id": f"d{n}"} | ({"parent_task": f"d{n - 1}"} if n else {}) for n in range(9)]
    wide = [{"title": "root", "id": "w"}, *({"title": "leaf", "id": f"w{n}", "parent_task": "w"} for n in range(1001))]
    id_ = enqueue(jobs, owner, lines(*deep, *wide), key_field="id", mode="SKIP_INVALID")
    run(settings)
    assert [(line, said.split(",")[0]) for line, _, said in wrong(jobs, id_)] == [
        (9, "stands at the bottom of a tree"), (1010, "is in a full tree"), (1011, "is in a full tree"),
    ]  # fmt: skip


@pytest.mark.parametrize("format_", ["CSV", "NDJSON"])
@pytest.mark.parametrize("mode", ["ALL_OR_NOTHING", "SKIP_INVALID"])
def test_a_line_may_stand_above_what_it_is_part_of(
    settings: WorkerSettings,
    jobs: Jobs,
    owner: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    format_: str,
) -> None:
    monkeypatch.setattr(tasks_import, "PART", 5)
    monkeypatch.setattr(tasks_import, "BATCH", 2)
    # Each is part of the one below it, with others, empty lines and texts over several lines in between.
    said = [(f"{n}", f"p{n + 1}" if n < 7 else "") for n in range(8)]
    objects: list[dict[str, Any]] = []
    for title, whole in said:
        objects.append({"title": title, "id": f"p{title}", "parent_task": whole, "description": "a\nb"})
        objects.append({"title": f"alone {title}", "id": f"a{title}", "parent_task": "", "description": ""})
    data = lines(*objects).replace(b"\n", b"\n\n")
    if format_ == "CSV":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(objects[0]))
        writer.writeheader()
        writer.writerows(objects)
        data = text.getvalue().encode()
    before = last_event(jobs)
    id_ = enqueue(jobs, owner, data, format_, key_field="id", mode=mode)
    run(settings)
    assert wrong(jobs, id_) == []
    expected = dict.fromkeys((f"alone {n}" for n in range(8)), None)
    assert tree(jobs, owner) == {**expected, **{title: whole[1:] or None for title, whole in said}}
    told = report(jobs, id_)
    assert sorted(line["line"] for line in told) == sorted({line["line"] for line in told})
    names = {str(row["id"]): row["title"] for row in jobs.connection.execute("SELECT id, title FROM tasks").fetchall()}
    numbers = {line["line"]: names[line["task"].removeprefix("tasks/")] for line in told}
    assert [numbers[number] for number in sorted(numbers)] == [each["title"] for each in objects]
    # Numbers of events are not given back: no line was written and taken back.
    assert last_event(jobs) - before == len(objects)


def last_event(jobs: Jobs) -> int:
    row = jobs.connection.execute("SELECT nextval(pg_get_serial_sequence('events', 'id')) AS id").fetchone()
    assert row is not None
    jobs.connection.execute("SELECT setval(pg_get_serial_sequence('events', 'id'), %s, false)", [row["id"]])
    return int(row["id"]) - 1


@pytest.mark.parametrize("mode", ["ALL_OR_NOTHING", "SKIP_INVALID"])
def test_lines_that_wait_for_each_other_are_bad(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, mode: str
) -> None:
    circle = [{"title": f"{n}", "id": f"{n}", "parent_task": f"{(n + 1) % 3}"} for n in range(3)]
    id_ = enqueue(jobs, owner, lines(*circle, {"title": "good", "id": "good"}), key_field="id", mode=mode)
    run(settings)
    assert [line for line, _, _ in wrong(jobs, id_)] == [1, 2, 3]
    assert titles(jobs) == ([] if mode == "ALL_OR_NOTHING" else ["good"])


def test_no_more_lines_wait_than_a_worker_can_remember(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_import, "MOST_WAITING", 2)
    parts = [{"title": f"{n}", "id": f"{n}", "parent_task": "whole"} for n in range(4)]
    id_ = enqueue(jobs, owner, lines(*parts, {"title": "w", "id": "whole"}), key_field="id", mode="SKIP_INVALID")
    run(settings)
    assert [line for line, _, _ in wrong(jobs, id_)] == [3, 4]
    assert titles(jobs) == ["w", "0", "1"]


def test_what_waits_is_remembered_by_the_next_attempt(
    settings: WorkerSettings, jobs: Jobs, owner: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_import, "PART", 2)
    inserted: list[list[str]] = []

    def insert(connection: Any, owner: Any, lines: Any) -> Any:
        inserted.append([line.fields["title"] for line in lines])
        if len(inserted) == 3:
            raise RuntimeError("lost")
        return inserts.insert(connection, owner, lines)

    monkeypatch.setattr(tasks_import, "insert", insert)
    objects = [
        {"title": "part", "id": "p", "parent_task": "w"},
        {"title": "other", "id": "o"},
        {"title": "whole", "id": "w"},
    ]
    id_ = enqueue(jobs, owner, lines(*objects), key_field="id", mode="SKIP_INVALID")
    run(settings)
    assert jobs.state(id_) == "WAITING"
    jobs.connection.execute("UPDATE jobs SET schedule_time = now(), rank = now() WHERE id = %s", [id_])
    run(settings)
    assert inserted == [["other"], ["whole"], ["part"], ["part"]]
    assert tree(jobs, owner) == {"part": "whole", "other": None, "whole": None}
    assert [line["line"] for line in report(jobs, id_)] == [2, 3, 1]

"""Reminders: one job for each time, which follows what becomes of the task."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from taskhub.v1 import task_pb2, task_service_pb2

from tests.support.api import Account, Api

v1 = task_service_pb2
Task = task_pb2.Task

SOON, LATER = Timestamp(seconds=4_000_000_000), Timestamp(seconds=4_100_000_000, nanos=250_000_000)


def reminders(api: Api, name: str) -> list[tuple[Any, ...]]:
    """Returns field, state and whether job and arguments name the same time."""
    return api.execute(
        """
        SELECT args ->> 'field', state, extract(epoch FROM schedule_time)::float8,
               schedule_time = (args ->> 'time')::timestamptz AND rank = schedule_time
        FROM jobs WHERE task_id = %s AND args ->> 'template' = 'reminder' ORDER BY id
        """,
        (name[6:],),
    )


def seconds(time: Timestamp) -> float:
    return time.ToNanoseconds() / 1e9


def update(api: Api, who: Account, name: str, *paths: str, **fields: Any) -> None:
    mask = FieldMask(paths=paths) if paths else None
    request = v1.UpdateTaskRequest(task=Task(name=name, **fields), update_mask=mask)
    api.tasks.UpdateTask(request, metadata=who.metadata)


@pytest.mark.parametrize("keyed", [False, True])
def test_a_new_task_has_a_reminder_for_each_of_its_times(api: Api, alice: Account, keyed: bool) -> None:  # noqa: FBT001
    request = v1.CreateTaskRequest(task=Task(title="x", due_time=LATER, remind_time=SOON))
    for _ in range(2 if keyed else 1):
        task = api.tasks.CreateTask(request, metadata=alice.with_key("once") if keyed else alice.metadata)
    assert reminders(api, task.name) == [
        ("due_time", "WAITING", seconds(LATER), True),
        ("remind_time", "WAITING", seconds(SOON), True),
    ]


def test_a_reminder_moves_with_its_time(api: Api, alice: Account) -> None:
    name = api.task(alice, due_time=SOON).name
    update(api, alice, name, title="Other")
    update(api, alice, name, due_time=LATER)
    assert reminders(api, name) == [("due_time", "WAITING", seconds(LATER), True)]
    update(api, alice, name, "due_time")
    assert [state for _, state, *_ in reminders(api, name)] == ["CANCELLED"]


def test_one_that_is_being_sent_stays_and_another_is_made(api: Api, alice: Account) -> None:
    name = api.task(alice, due_time=SOON).name
    api.execute(
        "UPDATE jobs SET state = 'RUNNING', lease_expire_time = now() + interval '1 hour' WHERE task_id = %s",
        (name[6:],),
    )
    update(api, alice, name, due_time=LATER)
    assert [row[1:3] for row in reminders(api, name)] == [("RUNNING", seconds(SOON)), ("WAITING", seconds(LATER))]
    api.execute("UPDATE jobs SET state = 'WAITING', lease_expire_time = NULL WHERE task_id = %s", (name[6:],))
    update(api, alice, name, due_time=Timestamp(seconds=4_200_000_000))
    assert [row[2] for row in reminders(api, name)] == [seconds(SOON), 4_200_000_000]


def test_a_time_that_has_passed_reminds_nobody(api: Api, alice: Account) -> None:
    past = Timestamp(seconds=int(time.time()) - 60)
    name = api.task(alice, due_time=past).name
    assert reminders(api, name) == []
    update(api, alice, name, due_time=SOON)
    update(api, alice, name, due_time=past)
    assert [state for _, state, *_ in reminders(api, name)] == ["CANCELLED"]


@pytest.mark.parametrize(
    ("away", "back"),
    [
        ("CompleteTask", "ReopenTask"),
        ("CancelTask", "ReopenTask"),
        ("DeleteTask", "UndeleteTask"),
    ],
)
def test_what_is_closed_or_deleted_reminds_nobody_until_it_is_back(
    api: Api, alice: Account, away: str, back: str
) -> None:
    name = api.task(alice, due_time=SOON).name
    getattr(api.tasks, away)(getattr(v1, f"{away}Request")(name=name), metadata=alice.metadata)
    assert [state for _, state, *_ in reminders(api, name)] == ["CANCELLED"]
    getattr(api.tasks, back)(getattr(v1, f"{back}Request")(name=name), metadata=alice.metadata)
    assert [state for _, state, *_ in reminders(api, name)] == ["CANCELLED", "WAITING"]


def test_parts_that_go_along_take_their_reminders_along(api: Api, alice: Account) -> None:
    whole = api.task(alice).name
    part = api.task(alice, parent_task=whole, due_time=SOON).name
    api.tasks.CompleteTask(v1.CompleteTaskRequest(name=whole, force=True), metadata=alice.metadata)
    assert [state for _, state, *_ in reminders(api, part)] == ["CANCELLED"]


def test_another_assignee_needs_no_other_job(api: Api, alice: Account, bob: Account) -> None:
    name = api.task(alice, due_time=SOON).name
    update(api, alice, name, assignee=bob.name)
    assert reminders(api, name) == [("due_time", "WAITING", seconds(SOON), True)]

"""Batches: all of them or none, each element's fault by its place, and no two that wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from taskhub.v1 import task_pb2, task_service_pb2

from tests.support.api import Account, Api, refusal, refused

v1 = task_service_pb2
Task = task_pb2.Task


def create(*tasks: task_pb2.Task, **arguments: Any) -> task_service_pb2.BatchCreateTasksRequest:
    return v1.BatchCreateTasksRequest(requests=[v1.CreateTaskRequest(task=task) for task in tasks], **arguments)


def update(*tasks: task_pb2.Task) -> task_service_pb2.BatchUpdateTasksRequest:
    return v1.BatchUpdateTasksRequest(requests=[v1.UpdateTaskRequest(task=task) for task in tasks])


def delete(*names: str, **arguments: Any) -> task_service_pb2.BatchDeleteTasksRequest:
    return v1.BatchDeleteTasksRequest(requests=[v1.DeleteTaskRequest(name=name, **arguments) for name in names])


def get(api: Api, who: Account, names: Sequence[str]) -> Sequence[task_pb2.Task]:
    found: Sequence[task_pb2.Task] = api.tasks.BatchGetTasks(
        v1.BatchGetTasksRequest(names=names), metadata=who.metadata
    ).tasks
    return found


def test_a_thousand_tasks_are_made_changed_read_and_deleted_in_order(api: Api, alice: Account) -> None:
    wanted = create(*(Task(title=f"No. {i}", labels={"n": str(i)}) for i in range(1000)))
    made = api.tasks.BatchCreateTasks(wanted, metadata=alice.metadata).tasks
    names = [task.name for task in made]
    assert [task.title for task in get(api, alice, names)] == [f"No. {i}" for i in range(1000)]
    changed = api.tasks.BatchUpdateTasks(
        update(*(Task(name=name, description="more") for name in reversed(names))), metadata=alice.metadata
    ).tasks
    assert [task.name for task in changed] == names[::-1]
    assert {(task.description, task.etag) for task in get(api, alice, names)} == {("more", '"2"')}
    gone = api.tasks.BatchDeleteTasks(delete(*names), metadata=alice.metadata).tasks
    assert [task.name for task in gone] == names
    assert len({task.purge_time.ToNanoseconds() for task in gone}) == 1
    [(counted,)] = api.execute("SELECT count(*) FROM events WHERE owner_id = %s AND kind LIKE 'task.%%'", (alice.id,))
    assert counted == 3000


def test_more_than_a_thousand_are_refused(api: Api, alice: Account) -> None:
    found = refused(api.tasks.BatchCreateTasks, create(*[Task(title="x")] * 1001), metadata=alice.metadata)
    assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["requests"])


def test_a_batch_with_parents_assignees_and_times_is_checked_and_written_whole(
    api: Api, alice: Account, bob: Account
) -> None:
    parent = api.task(alice).name
    request = create(
        Task(title="part", parent_task=parent, due_time=Timestamp(seconds=4_000_000_000)),
        Task(title="his", assignee=bob.name),
    )
    for _ in range(2):
        made = api.tasks.BatchCreateTasks(request, metadata=alice.with_key("once")).tasks
    assert [task.parent_task for task in get(api, alice, [task.name for task in made])] == [parent, ""]
    rows = api.execute(
        "SELECT args ->> 'template' FROM jobs WHERE task_id = ANY(%s::uuid[]) ORDER BY id",
        ([task.name[6:] for task in made],),
    )
    assert rows == [("reminder",), ("assigned",)]


def test_one_bad_element_is_named_and_stops_all(api: Api, alice: Account, bob: Account) -> None:
    mine, done, his = api.task(alice).name, api.task(alice).name, api.task(bob).name
    api.tasks.CompleteTask(v1.CompleteTaskRequest(name=done), metadata=alice.metadata)
    state = api.execute("SELECT count(*), sum(version) FROM tasks")
    tries: list[tuple[Any, Any, str, str]] = [
        (api.tasks.BatchCreateTasks, create(Task(title="x"), Task()), "FIELD_INVALID", "requests[1].task.title"),
        (
            api.tasks.BatchCreateTasks,
            create(Task(title="x"), Task(title=" ")),
            "FIELD_INVALID",
            "requests[1].task.title",
        ),
        (
            api.tasks.BatchCreateTasks,
            create(Task(title="x"), Task(title="y", assignee="users/00000000-0000-7000-8000-0000000000ff")),
            "FIELD_INVALID",
            "requests[1].task.assignee",
        ),
        (api.tasks.BatchCreateTasks, create(Task(title="x"), Task(title="y", parent_task=done)), "PARENT_CLOSED", ""),
        (
            api.tasks.BatchCreateTasks,
            v1.BatchCreateTasksRequest(requests=[v1.CreateTaskRequest(task=Task(title="x"), validate_only=True)]),
            "FIELD_INVALID",
            "requests[0].validate_only",
        ),
        (
            api.tasks.BatchUpdateTasks,
            update(Task(name=mine, title="x"), Task(name=his, title="x")),
            "RESOURCE_NOT_FOUND",
            "",
        ),
        (
            api.tasks.BatchUpdateTasks,
            update(Task(name=mine, title="x"), Task(name=done, title="x", etag="no")),
            "ETAG_MISMATCH",
            "",
        ),
        (
            api.tasks.BatchUpdateTasks,
            update(Task(name=mine, title="x"), Task(name=done)),
            "FIELD_INVALID",
            "requests[1].update_mask",
        ),
        (
            api.tasks.BatchUpdateTasks,
            update(Task(name=mine, title="x"), Task(name=mine, title="y")),
            "FIELD_INVALID",
            "requests[1].task.name",
        ),
        (api.tasks.BatchDeleteTasks, delete(mine, his), "RESOURCE_NOT_FOUND", ""),
        (api.tasks.BatchDeleteTasks, delete(mine, mine), "FIELD_INVALID", "requests[1].name"),
        (api.tasks.BatchGetTasks, v1.BatchGetTasksRequest(names=[mine, his]), "RESOURCE_NOT_FOUND", ""),
    ]
    for method, request, reason, field in tries:
        found = refused(method, request, metadata=alice.metadata)
        assert (found.reason, found.fields) == (reason, [field] if field else [])
        place = "requests[0]" if field == "requests[0].validate_only" else "[1]"
        assert place in found.message
        assert found.metadata["element"].endswith(place[-3:])
    assert api.execute("SELECT count(*), sum(version) FROM tasks") == state


def test_parts_go_with_their_whole_or_are_left(api: Api, alice: Account) -> None:
    whole = api.task(alice).name
    part = api.task(alice, parent_task=whole).name
    found = refused(api.tasks.BatchDeleteTasks, delete(api.task(alice).name, whole), metadata=alice.metadata)
    assert (found.reason, found.metadata["element"]) == ("SUBTASKS_EXIST", "requests[1]")
    api.tasks.BatchDeleteTasks(delete(part, whole), metadata=alice.metadata)
    api.tasks.UndeleteTask(v1.UndeleteTaskRequest(name=whole), metadata=alice.metadata)
    missing = "tasks/00000000-0000-7000-8000-0000000000ff"
    request = v1.BatchDeleteTasksRequest(
        requests=[v1.DeleteTaskRequest(name=missing, allow_missing=True), v1.DeleteTaskRequest(name=whole, force=True)]
    )
    assert api.tasks.BatchDeleteTasks(request, metadata=alice.metadata).tasks[0] == Task(name=missing)
    assert [task.HasField("delete_time") for task in get(api, alice, [whole, part])] == [True, True]


def test_tasks_that_a_batch_hangs_on_each_other_in_a_circle(api: Api, alice: Account) -> None:
    names = [api.task(alice).name for _ in range(3)]
    circle = update(*(Task(name=names[i], parent_task=names[(i + 1) % 3]) for i in range(3)))
    found = refused(api.tasks.BatchUpdateTasks, circle, metadata=alice.metadata)
    assert (found.reason, found.metadata["element"]) == ("SUBTASK_CYCLE", "requests[2]")


@pytest.mark.parametrize("turns", [8])
def test_batches_in_opposite_orders_never_wait_for_each_other(api: Api, alice: Account, turns: int) -> None:
    names = [api.task(alice).name for _ in range(40)]
    faults: list[str] = []

    def run(order: Sequence[str]) -> None:
        for turn in range(turns):
            try:
                api.tasks.BatchUpdateTasks(
                    update(*(Task(name=name, title=f"{order[0]} {turn}") for name in order)), metadata=alice.metadata
                )
            except grpc.RpcError as error:
                faults.append(refusal(error).reason)

    threads = [threading.Thread(target=run, args=(order,)) for order in (names, names[::-1], names[::-1], names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len({task.title for task in get(api, alice, names)}) == 1

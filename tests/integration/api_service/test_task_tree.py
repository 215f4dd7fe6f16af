"""Subtasks: what may be part of what, and what becomes of the parts."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc
import pytest
from taskhub.v1 import task_pb2, task_service_pb2

from tests.support.api import Account, Api, refusal, refused

v1 = task_service_pb2
Task = task_pb2.Task


def get(api: Api, who: Account, name: str) -> task_pb2.Task:
    answer = api.tasks.GetTask(v1.GetTaskRequest(name=name), metadata=who.metadata)
    assert isinstance(answer, Task)
    return answer


def chain(api: Api, who: Account, length: int) -> list[str]:
    """Makes a task, a part of it, a part of that, and so on."""
    names = [api.task(who).name]
    while len(names) < length:
        names.append(api.task(who, parent_task=names[-1]).name)
    return names


def put(name: str, parent: str) -> task_service_pb2.UpdateTaskRequest:
    return v1.UpdateTaskRequest(task=Task(name=name, parent_task=parent))


def reasons(calls: Sequence[Callable[..., Any]], who: Account) -> list[str]:
    """Calls all at the same time, and returns the reasons of the refusals."""
    found: list[str] = []
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[..., Any]) -> None:
        barrier.wait()
        try:
            call(metadata=who.metadata)
        except grpc.RpcError as error:
            found.append(refusal(error).reason)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_task_becomes_a_part_and_stands_alone_again(api: Api, alice: Account) -> None:
    parent, child = api.task(alice).name, api.task(alice).name
    assert api.tasks.UpdateTask(put(child, parent), metadata=alice.metadata).parent_task == parent
    assert get(api, alice, child).parent_task == parent
    assert api.tasks.UpdateTask(put(child, ""), metadata=alice.metadata).parent_task == ""


@pytest.mark.parametrize("target", [0, 1, 2])
def test_a_task_is_never_part_of_itself(api: Api, alice: Account, target: int) -> None:
    names = chain(api, alice, 3)
    found = refused(api.tasks.UpdateTask, put(names[0], names[target]), metadata=alice.metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SUBTASK_CYCLE")


def test_a_tree_is_eight_deep(api: Api, alice: Account) -> None:
    names = chain(api, alice, 8)
    wanted = v1.CreateTaskRequest(task=Task(title="x", parent_task=names[-1]))
    assert refused(api.tasks.CreateTask, wanted, metadata=alice.metadata).reason == "TREE_LIMIT_EXCEEDED"
    taller = chain(api, alice, 2)
    found = refused(api.tasks.UpdateTask, put(taller[0], names[6]), metadata=alice.metadata)
    assert found.reason == "TREE_LIMIT_EXCEEDED"
    api.tasks.UpdateTask(put(taller[0], names[5]), metadata=alice.metadata)


def test_a_tree_holds_a_thousand(api: Api, alice: Account) -> None:
    root = api.task(alice).name
    api.execute(
        """
        INSERT INTO tasks (id, owner_id, title, parent_id) SELECT gen_random_uuid(), owner_id, 'part', id
        FROM tasks, generate_series(1, 998) WHERE id = %s
        """,
        (root[6:],),
    )
    api.task(alice, parent_task=root)
    wanted = v1.CreateTaskRequest(task=Task(title="x", parent_task=root))
    assert refused(api.tasks.CreateTask, wanted, metadata=alice.metadata).reason == "TREE_LIMIT_EXCEEDED"


def test_a_parent_that_the_caller_does_not_own_is_named(api: Api, alice: Account, bob: Account) -> None:
    hidden, assigned = api.task(alice).name, api.task(alice, assignee=bob.name).name
    for parent in (hidden, assigned):
        wanted = v1.CreateTaskRequest(task=Task(title="x", parent_task=parent))
        found = refused(api.tasks.CreateTask, wanted, metadata=bob.metadata)
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["task.parent_task"])


def test_a_closed_or_deleted_parent_takes_no_open_part(api: Api, alice: Account) -> None:
    done, gone, part = api.task(alice).name, api.task(alice).name, api.task(alice).name
    api.tasks.CompleteTask(v1.CompleteTaskRequest(name=done), metadata=alice.metadata)
    api.tasks.DeleteTask(v1.DeleteTaskRequest(name=gone), metadata=alice.metadata)
    for parent, reason in ((done, "PARENT_CLOSED"), (gone, "PARENT_DELETED")):
        assert refused(api.tasks.UpdateTask, put(part, parent), metadata=alice.metadata).reason == reason
        wanted = v1.CreateTaskRequest(task=Task(title="x", parent_task=parent))
        assert refused(api.tasks.CreateTask, wanted, metadata=alice.metadata).reason == reason


@pytest.mark.parametrize(
    ("method", "request_of", "state"),
    [("CompleteTask", v1.CompleteTaskRequest, Task.DONE), ("CancelTask", v1.CancelTaskRequest, Task.CANCELLED)],
)
def test_a_task_is_closed_after_its_parts_or_with_them(
    api: Api, alice: Account, bob: Account, method: str, request_of: Any, state: int
) -> None:
    names = chain(api, alice, 3)
    api.tasks.UpdateTask(v1.UpdateTaskRequest(task=Task(name=names[0], assignee=bob.name)), metadata=alice.metadata)
    call = getattr(api.tasks, method)
    found = refused(call, request_of(name=names[0]), metadata=alice.metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SUBTASKS_OPEN")
    assert refused(call, request_of(name=names[0], force=True), metadata=bob.metadata).reason == "OWNER_ONLY"
    call(request_of(name=names[0], force=True), metadata=alice.metadata)
    assert [get(api, alice, name).state for name in names] == [state] * 3
    reopen = v1.ReopenTaskRequest(name=names[1])
    assert refused(api.tasks.ReopenTask, reopen, metadata=alice.metadata).reason == "PARENT_CLOSED"
    api.tasks.ReopenTask(v1.ReopenTaskRequest(name=names[0]), metadata=alice.metadata)
    api.tasks.ReopenTask(reopen, metadata=alice.metadata)


def test_a_task_is_deleted_after_its_parts_or_with_them_and_returns_with_those(api: Api, alice: Account) -> None:
    names = chain(api, alice, 4)
    plain = v1.DeleteTaskRequest(name=names[0])
    assert refused(api.tasks.DeleteTask, plain, metadata=alice.metadata).reason == "SUBTASKS_EXIST"
    api.tasks.DeleteTask(v1.DeleteTaskRequest(name=names[3]), metadata=alice.metadata)
    gone = api.tasks.DeleteTask(v1.DeleteTaskRequest(name=names[0], force=True), metadata=alice.metadata)
    assert [get(api, alice, name).purge_time for name in names[:3]] == [gone.purge_time] * 3
    part = v1.UndeleteTaskRequest(name=names[1])
    assert refused(api.tasks.UndeleteTask, part, metadata=alice.metadata).reason == "PARENT_DELETED"
    api.tasks.UndeleteTask(v1.UndeleteTaskRequest(name=names[0]), metadata=alice.metadata)
    assert [get(api, alice, name).HasField("delete_time") for name in names] == [False, False, False, True]
    api.tasks.UndeleteTask(v1.UndeleteTaskRequest(name=names[3]), metadata=alice.metadata)


def test_two_that_become_part_of_each_other_at_once(api: Api, alice: Account) -> None:
    for _ in range(10):
        one, other = api.task(alice).name, api.task(alice).name
        tries = [partial(api.tasks.UpdateTask, put(a, b)) for a, b in ((one, other), (other, one))]
        assert reasons(tries, alice) in (["SUBTASK_CYCLE"], ["CONTENTION"])
        assert sum(get(api, alice, name).parent_task != "" for name in (one, other)) == 1


def test_a_part_that_comes_while_the_whole_is_closed(api: Api, alice: Account) -> None:
    for _ in range(10):
        whole = api.task(alice).name
        part = v1.CreateTaskRequest(task=Task(title="x", parent_task=whole))
        tries = [
            partial(api.tasks.CompleteTask, v1.CompleteTaskRequest(name=whole)),
            partial(api.tasks.CreateTask, part),
        ]
        [reason] = reasons(tries, alice)
        done = get(api, alice, whole).state == Task.DONE
        assert reason == ("PARENT_CLOSED" if done else "SUBTASKS_OPEN")


#: Rows that break what docs/tasks.md says holds at any time.
BROKEN = """
WITH RECURSIVE mine AS (SELECT * FROM tasks WHERE owner_id = %(owner)s), line AS (
    SELECT id, parent_id, 1 AS depth FROM mine
    UNION ALL
    SELECT line.id, mine.parent_id, depth + 1 FROM line JOIN mine ON mine.id = line.parent_id WHERE depth < 10
)
SELECT id, 'too deep or in a circle' FROM line WHERE depth > 8
UNION ALL
SELECT part.id, 'open part of what is closed' FROM mine AS part JOIN mine AS whole ON whole.id = part.parent_id
WHERE part.delete_time IS NULL AND part.complete_time IS NULL AND part.state <> 'CANCELLED'
    AND whole.state IN ('DONE', 'CANCELLED')
UNION ALL
SELECT part.id, 'live part of what is deleted' FROM mine AS part JOIN mine AS whole ON whole.id = part.parent_id
WHERE part.delete_time IS NULL AND whole.delete_time IS NOT NULL
"""

REFUSALS = {
    "CONTENTION", "PARENT_CLOSED", "PARENT_DELETED", "RESOURCE_NOT_FOUND", "STATE_TRANSITION_INVALID", "SUBTASKS_EXIST",
    "SUBTASKS_OPEN", "SUBTASK_CYCLE", "TASK_NOT_DELETED", "TREE_LIMIT_EXCEEDED",
}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_what_holds_at_any_time_holds_when_calls_race(api: Api, alice: Account, seed: int) -> None:
    names = [api.task(alice).name for _ in range(10)]
    requests: list[tuple[str, Callable[[random.Random], Any]]] = [
        ("UpdateTask", lambda dice: put(dice.choice(names), dice.choice([*names, ""]))),
        ("UpdateTask", lambda dice: put(dice.choice(names), dice.choice(names))),
        ("CompleteTask", lambda dice: v1.CompleteTaskRequest(name=dice.choice(names), force=dice.random() < 0.5)),
        ("ReopenTask", lambda dice: v1.ReopenTaskRequest(name=dice.choice(names))),
        ("DeleteTask", lambda dice: v1.DeleteTaskRequest(name=dice.choice(names), force=dice.random() < 0.5)),
        ("UndeleteTask", lambda dice: v1.UndeleteTaskRequest(name=dice.choice(names))),
        (
            "BatchUpdateTasks",
            lambda dice: v1.BatchUpdateTasksRequest(
                requests=[put(name, dice.choice(names)) for name in dice.sample(names, 3)]
            ),
        ),
    ]
    found: set[str] = set()

    def run(dice: random.Random) -> None:
        for _ in range(60):
            method, request = dice.choice(requests)
            try:
                getattr(api.tasks, method)(request(dice), metadata=alice.metadata)
            except grpc.RpcError as error:
                found.add(refusal(error).reason)

    threads = [threading.Thread(target=run, args=(random.Random(10 * seed + n),)) for n in range(6)]  # noqa: S311
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found <= REFUSALS
    assert api.execute(BROKEN, {"owner": alice.id}) == []

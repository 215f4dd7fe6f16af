"""Owner, assignee, stranger: who may see and do what; and what an assignment sends."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from taskhub.v1 import task_pb2, task_service_pb2

from tests.support.api import Account, Api, refused

v1 = task_service_pb2
Task = task_pb2.Task
NOBODY = "00000000-0000-7000-8000-0000000000ff"

#: What can be done with a task of Alice's, and what its assignee is told: None for OK.
ACTIONS: dict[str, tuple[Callable[[str], Any], str | None]] = {
    "GetTask": (lambda name: v1.GetTaskRequest(name=name), None),
    "StartTask": (lambda name: v1.StartTaskRequest(name=name), None),
    "CompleteTask": (lambda name: v1.CompleteTaskRequest(name=name), None),
    "CancelTask": (lambda name: v1.CancelTaskRequest(name=name), None),
    "UpdateTask": (lambda name: v1.UpdateTaskRequest(task=Task(name=name, description="more")), None),
    "UpdateTask assignee": (lambda name: v1.UpdateTaskRequest(task=Task(name=name, assignee="")), "OWNER_ONLY"),
    "UpdateTask parent": (
        lambda name: v1.UpdateTaskRequest(task=Task(name=name, parent_task=f"tasks/{NOBODY}")),
        "OWNER_ONLY",
    ),
    "DeleteTask": (lambda name: v1.DeleteTaskRequest(name=name), "OWNER_ONLY"),
    "UndeleteTask": (lambda name: v1.UndeleteTaskRequest(name=name), "OWNER_ONLY"),
}


def outcome(api: Api, action: str, request: Any, who: Account) -> str | None:
    """Returns the reason of the refusal, or None."""
    method = getattr(api.tasks, action.split(maxsplit=1)[0])
    try:
        method(request, metadata=who.metadata)
    except grpc.RpcError:
        return refused(method, request, metadata=who.metadata).reason
    return None


def assigned(api: Api, task: str) -> list[dict[str, Any]]:
    rows = api.execute(
        "SELECT args FROM jobs WHERE task_id = %s AND args ->> 'template' = 'assigned' ORDER BY id", (task[6:],)
    )
    return [args for (args,) in rows]


@pytest.mark.parametrize("action", ACTIONS)
def test_what_an_assignee_may_do(api: Api, alice: Account, bob: Account, action: str) -> None:
    make, expected = ACTIONS[action]
    task = api.task(alice, assignee=bob.name)
    assert outcome(api, action, make(task.name), bob) == expected


@pytest.mark.parametrize("action", ACTIONS)
def test_to_everybody_else_there_is_no_such_task(api: Api, alice: Account, bob: Account, action: str) -> None:
    name = api.task(alice).name
    assert outcome(api, action, ACTIONS[action][0](name), bob) == "RESOURCE_NOT_FOUND"


def test_whoever_is_no_longer_assigned_is_a_stranger_again(api: Api, alice: Account, bob: Account) -> None:
    task = api.task(alice, assignee=bob.name)
    answer = api.tasks.UpdateTask(v1.UpdateTaskRequest(task=Task(name=task.name, assignee="")), metadata=alice.metadata)
    assert answer.assignee == ""
    assert outcome(api, "GetTask", v1.GetTaskRequest(name=task.name), bob) == "RESOURCE_NOT_FOUND"


def test_an_assignment_is_mailed_once(api: Api, alice: Account, bob: Account) -> None:
    task = api.task(alice, assignee=bob.name)
    mail = {"template": "assigned", "task": task.name[6:], "user": str(bob.id)}
    assert assigned(api, task.name) == [mail]
    api.tasks.UpdateTask(v1.UpdateTaskRequest(task=Task(name=task.name, assignee=bob.name)), metadata=alice.metadata)
    api.tasks.UpdateTask(v1.UpdateTaskRequest(task=Task(name=task.name, title="Other")), metadata=alice.metadata)
    assert assigned(api, task.name) == [mail]
    for who in ("", bob.name):
        api.tasks.UpdateTask(v1.UpdateTaskRequest(task=Task(name=task.name, assignee=who)), metadata=alice.metadata)
    assert assigned(api, task.name) == [mail, mail]


def test_the_same_call_with_the_same_key_mails_once(api: Api, alice: Account, bob: Account) -> None:
    name = api.task(alice).name
    request = v1.UpdateTaskRequest(task=Task(name=name, assignee=bob.name))
    for _ in range(2):
        api.tasks.UpdateTask(request, metadata=alice.with_key(name))
    assert len(assigned(api, name)) == 1


def test_who_assigns_to_themselves_gets_no_mail(api: Api, alice: Account) -> None:
    assert assigned(api, api.task(alice, assignee=alice.name).name) == []


def test_a_service_account_is_assigned_without_a_mail_until_it_is_disabled(api: Api, alice: Account) -> None:
    id_ = uuid.uuid4()
    api.execute("INSERT INTO service_accounts (id, display_name, scopes) VALUES (%s, 'robot', '{}')", (id_,))
    task = api.task(alice, assignee=f"serviceAccounts/{id_}", due_time=Timestamp(seconds=4_000_000_000))
    assert task.assignee == f"serviceAccounts/{id_}"
    assert api.execute("SELECT 1 FROM jobs WHERE task_id = %s", (task.name[6:],)) == []
    api.execute("UPDATE service_accounts SET disable_time = now() WHERE id = %s", (id_,))
    wanted = v1.CreateTaskRequest(task=Task(title="x", assignee=task.assignee))
    assert refused(api.tasks.CreateTask, wanted, metadata=alice.metadata).fields == ["task.assignee"]


def test_a_dry_run_mails_nobody(api: Api, alice: Account, bob: Account) -> None:
    before = api.execute("SELECT count(*) FROM jobs")
    wanted = v1.CreateTaskRequest(task=Task(title="x", assignee=bob.name), validate_only=True)
    assert api.tasks.CreateTask(wanted, metadata=alice.metadata).assignee == bob.name
    assert api.execute("SELECT count(*) FROM jobs") == before


@pytest.mark.parametrize(
    "assignee", [f"users/{NOBODY}", "users/me", f"serviceAccounts/{NOBODY}", "swapped", "disabled"]
)
def test_an_assignee_that_cannot_be_is_named(api: Api, alice: Account, bob: Account, assignee: str) -> None:
    if assignee == "swapped":  # there is one with this id, of another kind
        assignee = f"serviceAccounts/{bob.id}"
    if assignee == "disabled":
        api.execute("UPDATE users SET disable_time = now() WHERE id = %s", (bob.id,))
        assignee = bob.name
    name = api.task(alice).name
    for method, request in (
        (api.tasks.CreateTask, v1.CreateTaskRequest(task=Task(title="x", assignee=assignee))),
        (api.tasks.CreateTask, v1.CreateTaskRequest(task=Task(title="x", assignee=assignee), validate_only=True)),
        (api.tasks.UpdateTask, v1.UpdateTaskRequest(task=Task(name=name, assignee=assignee))),
    ):
        found = refused(method, request, metadata=alice.metadata)
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["task.assignee"])


def test_the_log_speaks_the_words_of_the_contract(api: Api, alice: Account, bob: Account) -> None:
    task, parent = api.task(alice), api.task(alice)
    change = Task(name=task.name, assignee=bob.name, parent_task=parent.name)
    mask = FieldMask(paths=["assignee", "parent_task"])
    api.tasks.UpdateTask(v1.UpdateTaskRequest(task=change, update_mask=mask), metadata=alice.metadata)
    [*_, (changes,)] = api.execute("SELECT changes FROM events WHERE resource = %s ORDER BY id", (task.name,))
    assert changes == {"assignee": [None, bob.name], "parent_task": [None, parent.name]}

"""Tasks: fields, masks, etags, states, deletion, pages."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from taskhub.v1 import task_pb2, task_service_pb2

from shared.states import TASK_TRANSITIONS, TaskAction, TaskState
from tests.support.api import Account, Api, refused

v1 = task_service_pb2


def update(api: Api, who: Account, task: task_pb2.Task, *paths: str) -> task_pb2.Task:
    request = v1.UpdateTaskRequest(task=task, update_mask=FieldMask(paths=paths) if paths else None)
    answer = api.tasks.UpdateTask(request, metadata=who.metadata)
    assert isinstance(answer, task_pb2.Task)
    return answer


def events(api: Api, name: str) -> list[tuple[Any, ...]]:
    return api.execute("SELECT kind, changes FROM events WHERE resource = %s ORDER BY id", (name,))


def test_what_was_created_is_what_is_read(api: Api, alice: Account) -> None:
    due = Timestamp(seconds=1_900_000_000, nanos=123_456_789)
    wanted = task_pb2.Task(
        title="Ship it", description="all of it", priority=task_pb2.Task.URGENT, labels={"team/x": "äö"}, due_time=due
    )
    created = api.tasks.CreateTask(v1.CreateTaskRequest(task=wanted), metadata=alice.metadata)
    read = api.tasks.GetTask(v1.GetTaskRequest(name=created.name), metadata=alice.metadata)
    assert read == created
    assert (read.title, read.description, read.priority) == ("Ship it", "all of it", task_pb2.Task.URGENT)
    assert (dict(read.labels), read.state, read.owner) == ({"team/x": "äö"}, task_pb2.Task.TODO, alice.name)
    assert read.due_time.nanos == 123_456_000


@pytest.mark.parametrize("title", [" x", "👩‍🚀", "é", "…", "日本"])
def test_a_title_that_can_be_seen_is_kept_as_it_is(api: Api, alice: Account, title: str) -> None:
    assert api.task(alice, title).title == title


def test_output_only_fields_of_a_new_task_are_ignored(api: Api, alice: Account) -> None:
    wanted = task_pb2.Task(title="Mine", state=task_pb2.Task.DONE, owner="users/other", etag="x")
    created = api.tasks.CreateTask(v1.CreateTaskRequest(task=wanted), metadata=alice.metadata)
    assert (created.state, created.owner) == (task_pb2.Task.TODO, alice.name)


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("task", None),
        ("task.title", task_pb2.Task()),
        ("task.title", task_pb2.Task(title="x" * 201)),
        ("task.title", task_pb2.Task(title="next\u0085line")),
        ("task.title", task_pb2.Task(title="next\u2028line")),
        ("task.title", task_pb2.Task(title=" \u00a0\u200b\u3164")),
        ("task.description", task_pb2.Task(title="x", description="nul\0")),
        ("task.priority", task_pb2.Task.FromString(b"\x12\x01x\x28\x63")),  # title "x", priority 99
        ('task.labels["Upper"]', task_pb2.Task(title="x", labels={"Upper": "case"})),
        ("task.labels", task_pb2.Task(title="x", labels={f"k{i}": "" for i in range(65)})),
        ("task.due_time", task_pb2.Task(title="x", due_time=Timestamp(seconds=-1))),
        ("task.due_time", task_pb2.Task(title="x", due_time=Timestamp(seconds=5, nanos=-5))),
        ("task.due_time", task_pb2.Task(title="x", due_time=Timestamp(seconds=253402300799, nanos=2**31 - 1))),
    ],
)
def test_a_field_outside_its_bounds_is_named(
    api: Api, alice: Account, field: str, wanted: task_pb2.Task | None
) -> None:
    found = refused(api.tasks.CreateTask, v1.CreateTaskRequest(task=wanted), metadata=alice.metadata)
    assert (found.code, found.reason, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", [field])


def test_a_mask_changes_what_it_names_and_clears_what_is_absent(api: Api, alice: Account) -> None:
    task = api.task(alice)
    update(api, alice, task_pb2.Task(name=task.name, description="long", labels={"a": "b"}))
    changed = update(api, alice, task_pb2.Task(name=task.name, title="New", priority="LOW"), "title", "description")
    assert (changed.title, changed.description, dict(changed.labels)) == ("New", "", {"a": "b"})
    assert changed.priority == task_pb2.Task.NORMAL
    assert events(api, task.name)[-1] == (
        "task.updated",
        {"title": ["Write the report", "New"], "description": ["long", ""]},
    )


def test_without_a_mask_the_fields_that_are_present_change(api: Api, alice: Account) -> None:
    task = api.task(alice)
    changed = update(api, alice, task_pb2.Task(name=task.name, description="", priority=task_pb2.Task.HIGH))
    assert (changed.title, changed.priority) == ("Write the report", task_pb2.Task.HIGH)


def test_a_star_replaces_everything(api: Api, alice: Account) -> None:
    task = api.task(alice)
    update(api, alice, task_pb2.Task(name=task.name, description="long", labels={"a": "b"}))
    changed = update(api, alice, task_pb2.Task(name=task.name, title="Only"), "*")
    assert (changed.title, changed.description, dict(changed.labels)) == ("Only", "", {})


@pytest.mark.parametrize("path", ["state", "name", "etag", "owner", "nothing", "labels.a", "*,title"])
def test_a_mask_that_names_what_cannot_be_changed(api: Api, alice: Account, path: str) -> None:
    task = api.task(alice)
    mask = FieldMask(paths=path.split(","))
    request = v1.UpdateTaskRequest(task=task_pb2.Task(name=task.name, title="x"), update_mask=mask)
    found = refused(api.tasks.UpdateTask, request, metadata=alice.metadata)
    assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["update_mask"])
    assert path != "labels.a" or found.message.endswith("`labels` changes as a whole")


@pytest.mark.parametrize("mask", [[], ["*"]])
def test_a_task_is_sent_back_whole_with_one_field_changed(api: Api, alice: Account, mask: list[str]) -> None:
    name = api.task(alice, labels={"a": "b"}, assignee=alice.name).name
    act(api, alice, name, TaskAction.COMPLETE)
    read = api.tasks.GetTask(v1.GetTaskRequest(name=name), metadata=alice.metadata)
    read.title = "New"
    changed = update(api, alice, read, *mask)
    assert (changed.title, changed.state, dict(changed.labels)) == ("New", task_pb2.Task.DONE, {"a": "b"})


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("state", {"state": task_pb2.Task.DONE}),
        ("owner", {"owner": "users/00000000-0000-7000-8000-0000000000ff"}),
        ("create_time", {"create_time": Timestamp(seconds=1)}),
        ("complete_time", {"complete_time": Timestamp(seconds=1)}),
        ("delete_time", {"delete_time": Timestamp(seconds=2**40)}),
    ],
)
def test_a_field_that_cannot_be_changed_is_refused_by_name_where_it_is_not_as_sent(
    api: Api, alice: Account, field: str, change: dict[str, Any]
) -> None:
    task = api.task(alice)
    tries: list[tuple[dict[str, Any], list[str]]] = [({"title": "x"}, []), ({"title": "x"}, ["*"]), ({}, [])]
    for more, mask in tries:
        wanted = task_pb2.Task(name=task.name, **more, **change)
        request = v1.UpdateTaskRequest(task=wanted, update_mask=FieldMask(paths=mask))
        found = refused(api.tasks.UpdateTask, request, metadata=alice.metadata)
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [f"task.{field}"])
    masked = update(api, alice, task_pb2.Task(name=task.name, title="x", **change), "title")
    assert (masked.title, masked.state) == ("x", task_pb2.Task.TODO)


def test_an_update_that_names_no_field(api: Api, alice: Account) -> None:
    request = v1.UpdateTaskRequest(task=task_pb2.Task(name=api.task(alice).name))
    found = refused(api.tasks.UpdateTask, request, metadata=alice.metadata)
    assert found.fields == ["update_mask"]
    assert found.message.endswith("to clear `labels`, name them")


def test_the_title_cannot_be_cleared(api: Api, alice: Account) -> None:
    request = v1.UpdateTaskRequest(
        task=task_pb2.Task(name=api.task(alice).name), update_mask=FieldMask(paths=["title"])
    )
    assert refused(api.tasks.UpdateTask, request, metadata=alice.metadata).fields == ["task.title"]


def test_an_etag_guards_against_changes_in_between(api: Api, alice: Account) -> None:
    task = api.task(alice)
    newer = update(api, alice, task_pb2.Task(name=task.name, title="First", etag=task.etag))
    assert newer.etag != task.etag
    stale = task_pb2.Task(name=task.name, title="Second", etag=task.etag)
    found = refused(api.tasks.UpdateTask, v1.UpdateTaskRequest(task=stale), metadata=alice.metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    for method, request in ((api.tasks.DeleteTask, v1.DeleteTaskRequest), (api.tasks.StartTask, v1.StartTaskRequest)):
        found = refused(method, request(name=task.name, etag=task.etag), metadata=alice.metadata)
        assert found.reason == "ETAG_MISMATCH"


def test_an_update_that_changes_nothing_leaves_no_trace(api: Api, alice: Account) -> None:
    task = api.task(alice)
    same = update(api, alice, task_pb2.Task(name=task.name, title=task.title))
    assert same == task
    assert [kind for kind, _ in events(api, task.name)] == ["task.created"]


def act(api: Api, who: Account, name: str, action: TaskAction) -> task_pb2.Task:
    verb = action.value.capitalize()
    request = getattr(v1, f"{verb}TaskRequest")(name=name)
    answer = getattr(api.tasks, f"{verb}Task")(request, metadata=who.metadata)
    assert isinstance(answer, task_pb2.Task)
    return answer


@pytest.mark.parametrize("action", TaskAction)
@pytest.mark.parametrize("state", TaskState)
def test_the_table_of_states_is_what_the_methods_do(
    api: Api, alice: Account, action: TaskAction, state: TaskState
) -> None:
    name = api.task(alice).name
    done = "now()" if state is TaskState.DONE else "NULL"
    api.execute(f"UPDATE tasks SET state = %s, complete_time = {done} WHERE id = %s", (state, name[6:]))
    sources, target = TASK_TRANSITIONS[action]
    if state in sources:
        moved = act(api, alice, name, action)
        assert task_pb2.Task.State.Name(moved.state) == target
        assert moved.HasField("complete_time") == (target is TaskState.DONE)
        return
    request = getattr(v1, f"{action.value.capitalize()}TaskRequest")(name=name)
    found = refused(getattr(api.tasks, f"{action.value.capitalize()}Task"), request, metadata=alice.metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_TRANSITION_INVALID")
    assert state in found.message


def test_a_deleted_task_can_be_read_and_brought_back_but_not_changed(api: Api, alice: Account) -> None:
    task = api.task(alice)
    gone = api.tasks.DeleteTask(v1.DeleteTaskRequest(name=task.name), metadata=alice.metadata)
    assert gone.purge_time.seconds - gone.delete_time.seconds == 30 * 86400
    assert api.tasks.GetTask(v1.GetTaskRequest(name=task.name), metadata=alice.metadata) == gone
    change = v1.UpdateTaskRequest(task=task_pb2.Task(name=task.name, title="x"))
    assert refused(api.tasks.UpdateTask, change, metadata=alice.metadata).reason == "RESOURCE_NOT_FOUND"
    again = v1.DeleteTaskRequest(name=task.name)
    assert refused(api.tasks.DeleteTask, again, metadata=alice.metadata).reason == "RESOURCE_NOT_FOUND"
    back = api.tasks.UndeleteTask(v1.UndeleteTaskRequest(name=task.name), metadata=alice.metadata)
    assert not back.HasField("delete_time")
    undelete = v1.UndeleteTaskRequest(name=task.name)
    live = refused(api.tasks.UndeleteTask, undelete, metadata=alice.metadata)
    assert (live.code, live.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TASK_NOT_DELETED")


def test_a_missing_task_may_be_deleted_where_that_is_allowed(api: Api, alice: Account) -> None:
    name = f"tasks/{uuid.uuid4()}"
    answer = api.tasks.DeleteTask(v1.DeleteTaskRequest(name=name, allow_missing=True), metadata=alice.metadata)
    assert answer == task_pb2.Task(name=name)


def pages(api: Api, who: Account, **arguments: Any) -> list[list[str]]:
    """Follows the page tokens to the end, and returns the names page by page."""
    found, token = [], ""
    while True:
        request = v1.ListTasksRequest(page_token=token, **arguments)
        answer = api.tasks.ListTasks(request, metadata=who.metadata)
        found.append([task.name for task in answer.tasks])
        token = answer.next_page_token
        if not token:
            return found


def test_pages_hold_each_task_once_newest_first(api: Api, alice: Account, bob: Account) -> None:
    names = [api.task(alice).name for _ in range(5)]
    api.task(bob)
    api.tasks.DeleteTask(v1.DeleteTaskRequest(name=names[2]), metadata=alice.metadata)
    live = [name for name in reversed(names) if name != names[2]]
    assert pages(api, alice, page_size=2) == [live[:2], live[2:]]
    assert pages(api, alice) == [live]
    every = pages(api, alice, page_size=2, show_deleted=True)
    assert [name for page in every for name in page] == names[::-1]


def test_an_administrator_sees_everybodys_tasks(api: Api, alice: Account, admin: Account) -> None:
    name = api.task(alice).name
    first = api.tasks.ListTasks(v1.ListTasksRequest(page_size=1), metadata=admin.metadata)
    assert [task.name for task in first.tasks] == [name]
    assert act(api, admin, name, TaskAction.START).state == task_pb2.Task.IN_PROGRESS


def test_a_page_token_is_good_for_its_own_list_only(api: Api, alice: Account, bob: Account) -> None:
    for _ in range(2):
        api.task(alice)
    first = api.tasks.ListTasks(v1.ListTasksRequest(page_size=1), metadata=alice.metadata)
    token = first.next_page_token
    tries = [
        (v1.ListTasksRequest(page_token=token, show_deleted=True), alice),
        (v1.ListTasksRequest(page_token=token), bob),
        (v1.ListTasksRequest(page_token=token[:-1] + ("A" if token[-1] != "A" else "B")), alice),
        (v1.ListTasksRequest(page_token="not base64!"), alice),
    ]
    for request, who in tries:
        found = refused(api.tasks.ListTasks, request, metadata=who.metadata)
        assert (found.reason, found.fields) == ("PAGE_TOKEN_INVALID", ["page_token"])
    assert api.tasks.ListTasks(v1.ListTasksRequest(page_token=token, page_size=9), metadata=alice.metadata).tasks

"""Watching what passes a filter: told of while it does, and once more when it stops to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

import grpc
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from taskhub.v1 import task_pb2, task_service_pb2

from shared.events import TASK_SUBJECT
from shared.filters.match import task_matcher
from tests.support.api import Account, Api, refused
from tests.support.forgery import Forger
from tests.support.watching import Watch, by_hand, sequencing
from worker_service.purges import tasks as purge

v1 = task_service_pb2
Task = task_pb2.Task


@pytest.fixture
def sequencer(api: Api) -> Iterator[None]:
    with sequencing(api.database_url):
        yield


def change(api: Api, who: Account, name: str, **fields: Any) -> None:
    """Changes the fields that are given; None clears one."""
    task = Task(name=name, **{field: value for field, value in fields.items() if value is not None})
    request = v1.UpdateTaskRequest(task=task, update_mask={"paths": list(fields)})
    api.tasks.UpdateTask(request, metadata=who.metadata)


def seen(watch: Watch, count: int) -> list[tuple[str, str, bool]]:
    """Returns kind, task and `left` of the next events."""
    found: list[tuple[str, str, bool]] = []
    while len(found) < count:
        response = watch.read()
        if response.HasField("event"):
            found.append((response.event.kind, response.event.task, response.left))
    return found


@pytest.mark.usefixtures("sequencer")
def test_a_task_is_told_of_while_it_passes_and_when_it_stops_to(api: Api, alice: Account) -> None:
    watch = Watch(api, alice, filter='labels.team = "a" AND priority >= HIGH')
    other, task = api.task(alice).name, api.task(alice, labels={"team": "a"}).name
    change(api, alice, other, priority="URGENT")
    change(api, alice, task, priority="URGENT")
    change(api, alice, task, title="Still")
    change(api, alice, task, labels={"team": "b"})
    change(api, alice, task, title="Unseen")
    last = api.task(alice, labels={"team": "a"}, priority="HIGH").name
    assert seen(watch, 4) == [
        ("task.updated", task, False), ("task.updated", task, False), ("task.updated", task, True),
        ("task.created", last, False),
    ]  # fmt: skip


def test_who_resumes_sees_what_passed_then_whatever_has_become_of_it(api: Api, alice: Account) -> None:
    with by_hand(api.database_url) as sequencer:
        token = Watch(api, alice, filter="state = IN_PROGRESS").close()
        name = api.task(alice).name
        api.tasks.StartTask(v1.StartTaskRequest(name=name), metadata=alice.metadata)
        api.tasks.CompleteTask(v1.CompleteTaskRequest(name=name), metadata=alice.metadata)
        api.execute("DELETE FROM tasks WHERE id = %s", (name[6:],))
        sequencer.run_once()
        for _ in range(2):
            watch = Watch(api, alice, filter="state = IN_PROGRESS", resume_token=token)
            assert seen(watch, 2) == [("task.started", name, False), ("task.completed", name, True)]
            watch.close()
    request = v1.WatchTasksRequest(resume_token=token, filter="state = DONE")
    assert first_of(api, alice, request).reason == "RESUME_TOKEN_INVALID"


def first_of(api: Api, who: Account, request: task_service_pb2.WatchTasksRequest) -> Any:
    return refused(lambda asked, **more: next(api.tasks.WatchTasks(asked, **more)), request, metadata=who.metadata)


@pytest.mark.parametrize(
    ("filter_", "position"),
    [("report", "1"), ("state = TODO AND title:report", "18"), ("create_time > x", "15"),
     ('update_time > "2026-01-01T00:00:00Z"', "1"), ("description = x", "1"), ("state = LOST", "9")],
)  # fmt: skip
def test_what_the_log_does_not_keep_is_refused(api: Api, alice: Account, filter_: str, position: str) -> None:
    found = first_of(api, alice, v1.WatchTasksRequest(filter=filter_))
    assert (found.code, found.reason, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, "FILTER_INVALID", ["filter"])
    assert found.metadata["position"] == position


def test_every_writer_keeps_the_same_of_a_task(api: Api, alice: Account, bob: Account) -> None:
    due = Timestamp(seconds=4_000_000_000, nanos=1000)
    wanted: dict[str, Any] = {"labels": {"a": "b"}, "due_time": due, "priority": "HIGH"}
    name = api.task(alice, **wanted, parent_task=api.task(alice).name).name
    for fields in ({"assignee": bob.name}, {"title": "It's \u00e9", "due_time": None}):
        change(api, alice, name, **fields)
        [(kept,)] = api.execute("SELECT subject FROM events WHERE resource = %s ORDER BY id DESC LIMIT 1", (name,))
        [(now,)] = api.execute(f"SELECT {TASK_SUBJECT} FROM tasks WHERE id = %s", (name[6:],))
        assert kept == now


def test_an_event_that_kept_nothing_is_told_rather_than_missed(api: Api, alice: Account) -> None:
    with by_hand(api.database_url) as sequencer:
        watch = Watch(api, alice, filter="state = DONE")
        name = api.task(alice).name
        change(api, alice, name, title="By the release before")
        api.execute("UPDATE events SET subject = NULL WHERE resource = %s", (name,))
        sequencer.run_once()
        assert seen(watch, 1) == [("task.updated", name, False)]


@pytest.mark.usefixtures("sequencer")
@pytest.mark.parametrize("filters", [{}, {"kinds": ["task.completed"]}, {"filter": "state = DONE"}])
def test_a_stream_of_one_task_ends_when_its_caller_may_not_see_it_any_more(
    api: Api, alice: Account, bob: Account, filters: dict[str, Any]
) -> None:
    name = api.task(alice, assignee=bob.name).name
    his, hers = Watch(api, bob, task=name, **filters), Watch(api, alice, task=name)
    change(api, alice, name, assignee=None)
    last, status = his.end()
    assert (status.code, status.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert last.end.status.code == grpc.StatusCode.NOT_FOUND.value[0]
    api.tasks.DeleteTask(v1.DeleteTaskRequest(name=name), metadata=alice.metadata)
    while hers.event().kind != "task.deleted":
        pass


@pytest.mark.parametrize("filters", [{}, {"kinds": ["task.completed"]}])
def test_a_stream_goes_on_where_the_task_has_come_back_to_its_caller(
    api: Api, alice: Account, bob: Account, filters: dict[str, Any]
) -> None:
    with by_hand(api.database_url) as sequencer:
        name = api.task(alice, assignee=bob.name).name
        sequencer.run_once()
        other = Watch(api, alice)  # so that the loss is read before the return
        token = Watch(api, bob, task=name, **filters).close()
        change(api, alice, name, assignee=None)
        sequencer.run_once()
        assert other.event().task == name
        change(api, alice, name, assignee=bob.name)
        again = Watch(api, bob, task=name, resume_token=token, **filters)
        api.tasks.CompleteTask(v1.CompleteTaskRequest(name=name), metadata=alice.metadata)
        sequencer.run_once()
        while again.event().kind != "task.completed":
            pass


@pytest.mark.usefixtures("sequencer")
def test_a_stream_of_one_task_ends_when_that_is_purged(api: Api, alice: Account, bob: Account, admin: Account) -> None:
    name = api.task(alice, assignee=bob.name, labels={"a": "b"}).name
    watches = [Watch(api, who, task=name) for who in (alice, bob, admin)]
    watches.append(Watch(api, bob, kinds=["task.purged"], filter="labels.a = b"))
    api.tasks.DeleteTask(v1.DeleteTaskRequest(name=name), metadata=alice.metadata)
    api.execute("UPDATE tasks SET purge_time = now() WHERE id = %s", (name[6:],))
    with psycopg.connect(api.database_url, autocommit=True) as connection:
        assert sum(purge(cast("Any", connection), cast("Any", None))) >= 1, "it goes with what other tests have left"
    for watch in watches[:3]:
        last, status = watch.end()
        assert (status.code, status.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
        assert last.HasField("end")
    gone = watches[3].event()
    assert (gone.kind, gone.task, gone.actor) == ("task.purged", name, "system")
    assert gone.changes["assignee"].old_value.string_value == bob.name


@pytest.mark.usefixtures("sequencer")
def test_a_stream_ends_when_its_token_expires(api: Api, alice: Account) -> None:
    token = Forger(api).token(alice, exp=int(time.time()) - 2)  # good for the few seconds that clocks may differ by
    short = Account(alice.id, alice.email, (("authorization", f"Bearer {token}"),), "")
    watch, other = Watch(api, short), Watch(api, alice)
    task = api.task(alice)
    assert watch.event().task == task.name
    last, status = watch.end()
    assert (status.code, status.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert last.end.status.code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert other.call.is_active()


def test_one_pattern_costs_no_more_than_its_length() -> None:
    matcher = task_matcher('title = "' + "*a" * 400 + '*b"')
    assert matcher is not None
    began = time.thread_time()
    assert not matcher({"title": "a" * 200})
    assert matcher({"title": "a" * 500 + "b"})
    assert time.thread_time() - began < 1

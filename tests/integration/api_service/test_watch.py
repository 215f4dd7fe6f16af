"""WatchTasks and ListTaskEvents: what is seen, by whom, in which order, and what happens when something ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import grpc
import psutil
import psycopg
import pytest
from google.protobuf import json_format, timestamp_pb2
from taskhub.v1 import auth_service_pb2, task_pb2, task_service_pb2, task_service_pb2_grpc

from tests.support.api import Account, Api, refused
from tests.support.servers import PATIENCE, Postgres, Processes, eventually, free_port
from tests.support.watching import Watch, by_hand, sequencing

State = task_pb2.Task.State

#: What an event says otherwise, or a task alone.
_NOT_LOGGED = {"name", "owner", "etag", "create_time", "update_time"}


@pytest.fixture
def sequencer(api: Api) -> Iterator[None]:
    with sequencing(api.database_url):
        yield


def move(api: Api, who: Account, task: task_pb2.Task, *actions: str) -> None:
    """Moves a task through its states."""
    for action in actions:
        request = getattr(task_service_pb2, f"{action}TaskRequest")(name=task.name)
        getattr(api.tasks, f"{action}Task")(request, metadata=who.metadata)


def assign(api: Api, owner: Account, task: task_pb2.Task, to: Account | None) -> None:
    """Gives a task to somebody, or to nobody."""
    request = task_service_pb2.UpdateTaskRequest(
        task=task_pb2.Task(name=task.name, assignee=to.name if to else ""), update_mask={"paths": ["assignee"]}
    )
    api.tasks.UpdateTask(request, metadata=owner.metadata)


@pytest.mark.usefixtures("sequencer")
def test_every_change_is_seen_with_who_made_it_and_what_became_of_each_field(api: Api, alice: Account) -> None:
    watch = Watch(api, alice)
    task = api.task(alice, "One")
    update = task_pb2.Task(name=task.name, title="Two", priority=task_pb2.Task.HIGH, labels={"team": "a"})
    api.tasks.UpdateTask(task_service_pb2.UpdateTaskRequest(task=update), metadata=alice.metadata)
    move(api, alice, task, "Start", "Complete", "Reopen", "Cancel", "Delete", "Undelete")
    events = [watch.event() for _ in range(8)]
    assert [event.kind for event in events] == [
        f"task.{kind}"
        for kind in ("created", "updated", "started", "completed", "reopened", "cancelled", "deleted", "undeleted")
    ]
    assert {(event.task, event.actor) for event in events} == {(task.name, alice.name)}
    assert [event.name.rpartition("/")[0] for event in events] == [f"{task.name}/events"] * 8
    assert events[0].create_time.ToNanoseconds() <= events[1].create_time.ToNanoseconds()
    changes = events[1].changes
    assert set(changes) == {"title", "priority", "labels"}
    assert (changes["title"].old_value.string_value, changes["title"].new_value.string_value) == ("One", "Two")
    assert changes["priority"].new_value.string_value == "HIGH"
    assert dict(changes["labels"].new_value.struct_value) == {"team": "a"}
    assert events[3].changes["complete_time"].old_value.WhichOneof("kind") == "null_value"
    listed = api.tasks.ListTaskEvents(task_service_pb2.ListTaskEventsRequest(parent=task.name), metadata=alice.metadata)
    assert list(listed.events) == events[::-1]


@pytest.mark.usefixtures("sequencer")
def test_the_event_of_a_new_task_tells_all_that_it_has(api: Api, alice: Account, bob: Account) -> None:
    watch = Watch(api, alice)
    parent = api.task(alice)
    due = timestamp_pb2.Timestamp(seconds=4_000_000_000)
    wanted = task_pb2.Task(
        title="Part", priority=task_pb2.Task.HIGH, labels={"team": "a"}, due_time=due, assignee=bob.name,
        parent_task=parent.name,
    )  # fmt: skip
    request = task_service_pb2.BatchCreateTasksRequest(requests=[task_service_pb2.CreateTaskRequest(task=wanted)])
    [task] = api.tasks.BatchCreateTasks(request, metadata=alice.metadata).tasks
    alone, part = (json_format.MessageToDict(watch.event())["changes"] for _ in range(2))
    assert {name: change["newValue"] for name, change in alone.items()} == {
        "title": parent.title, "state": "TODO", "priority": "NORMAL",
    }  # fmt: skip
    shown = json_format.MessageToDict(task, preserving_proto_field_name=True)
    assert {name: change["newValue"] for name, change in part.items()} == {
        name: value for name, value in shown.items() if name not in _NOT_LOGGED
    }
    assert {change["oldValue"] for change in (*alone.values(), *part.values())} == {None}


@pytest.mark.usefixtures("sequencer")
def test_a_stranger_sees_nothing_and_an_administrator_everything(
    api: Api, alice: Account, bob: Account, admin: Account
) -> None:
    hers, his, all_ = Watch(api, alice), Watch(api, bob), Watch(api, admin)
    first = api.task(alice)
    second = api.task(bob)
    assert (hers.event().task, his.event().task) == (first.name, second.name)
    assert [all_.event().task, all_.event().task] == [first.name, second.name]


@pytest.mark.usefixtures("sequencer")
def test_an_assignee_sees_the_task_as_long_as_it_is_theirs_and_that_it_is_no_more(
    api: Api, alice: Account, bob: Account
) -> None:
    watch, hers = Watch(api, bob), Watch(api, alice)
    task = api.task(alice)
    assert hers.event().kind == "task.created"  # is delivered, and to whoever may see it now
    assign(api, alice, task, bob)
    move(api, alice, task, "Start")
    seen = [watch.event(), watch.event()]
    assert [event.kind for event in seen] == ["task.updated", "task.started"]
    assert seen[0].changes["assignee"].new_value.string_value == bob.name
    assign(api, alice, task, None)
    move(api, alice, task, "Complete")
    own = api.task(bob)
    assert watch.event().changes["assignee"].old_value.string_value == bob.name
    assert watch.event().task == own.name


@pytest.mark.usefixtures("sequencer")
def test_only_what_was_asked_for_is_seen(api: Api, alice: Account) -> None:
    task, other = api.task(alice), api.task(alice)
    eventually(lambda: not api.execute("SELECT 1 FROM events WHERE position IS NULL"))
    of_task = Watch(api, alice, task=task.name)
    of_kind = Watch(api, alice, kinds=["task.completed", "task.deleted"])
    of_state = Watch(api, alice, states=[State.DONE, State.TODO])
    move(api, alice, other, "Start", "Complete", "Delete")
    move(api, alice, task, "Start", "Cancel", "Reopen")
    last = api.task(alice)
    move(api, alice, last, "Complete")
    assert of_task.kinds(3) == ["task.started", "task.cancelled", "task.reopened"]
    assert of_kind.kinds(3) == ["task.completed", "task.deleted", "task.completed"]
    assert of_state.kinds(4) == ["task.completed", "task.reopened", "task.created", "task.completed"]


@pytest.mark.usefixtures("sequencer")
def test_a_silent_stream_gives_a_sign_of_life_that_can_be_resumed_from(api: Api, alice: Account) -> None:
    began = time.monotonic()
    watch = Watch(api, alice, heartbeat=1)
    assert watch.read().HasField("heartbeat")
    assert 1 <= time.monotonic() - began < 15, "as often as asked for, else every 15 seconds"
    token = watch.close()
    task = api.task(alice)
    assert Watch(api, alice, resume_token=token).event().task == task.name


def test_a_late_commit_is_not_skipped(api: Api, alice: Account) -> None:
    task = api.task(alice)
    watch = Watch(api, alice, task=task.name)
    with by_hand(api.database_url) as sequencer, psycopg.connect(api.database_url) as late:
        late.execute(  # takes its id now, and commits after the others
            "INSERT INTO events (kind, resource, actor, owner_id) VALUES ('task.late', %s, 'system', %s)",
            (task.name, alice.id),
        )
        move(api, alice, task, "Start", "Complete")
        sequencer.run_once()
        assert watch.kinds(3) == ["task.created", "task.started", "task.completed"]
        late.commit()
        sequencer.run_once()
    token = watch.token
    assert watch.event().kind == "task.late"
    assert Watch(api, alice, task=task.name, resume_token=token).event().kind == "task.late"


def test_what_no_notify_tells_of_is_found_by_looking(api: Api, alice: Account) -> None:
    watch = Watch(api, alice)
    api.task(alice)
    api.execute(
        """
        WITH counter AS (UPDATE event_counter SET position = position + 1 RETURNING position)
        UPDATE events SET position = counter.position FROM counter
        WHERE id = (SELECT max(id) FROM events WHERE owner_id = %s)
        """,
        (alice.id,),
    )
    assert watch.event().kind == "task.created"


def test_who_is_far_behind_reads_on_from_the_database_in_order(api: Api, alice: Account) -> None:
    token = Watch(api, alice).close()
    api.execute(
        """
        INSERT INTO events (kind, resource, actor, owner_id, changes)
        SELECT 'task.updated', 'tasks/' || gen_random_uuid(), n::text, %s, '{}' FROM generate_series(1, 7000) AS n
        """,
        (alice.id,),
    )
    with sequencing(api.database_url):
        eventually(lambda: not api.execute("SELECT 1 FROM events WHERE position IS NULL"))
        watch = Watch(api, alice, resume_token=token)
        assert [int(watch.event().actor) for _ in range(7000)] == list(range(1, 7001))
        task = api.task(alice)
        assert watch.event().task == task.name


def test_a_token_of_somebody_else_or_for_something_else_is_refused(api: Api, alice: Account, bob: Account) -> None:
    token = Watch(api, alice).close()
    for who, arguments in ((bob, {}), (alice, {"kinds": ["task.created"]}), (alice, {"states": [State.DONE]})):
        request = task_service_pb2.WatchTasksRequest(resume_token=token, **arguments)
        found = refused(
            lambda request, **kwargs: next(api.tasks.WatchTasks(request, **kwargs)), request, metadata=who.metadata
        )
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


def test_a_token_from_before_a_purge_is_refused(processes: Processes, database_url: str) -> None:
    api = Api(processes, database_url, TASKHUB_API_PROCESSES="1")
    alice = api.account()
    token = Watch(api, alice).close()
    with sequencing(database_url):
        api.task(alice)
        eventually(lambda: api.execute("SELECT 1 FROM event_counter WHERE position > 0"))
        api.execute("DELETE FROM events")
        api.execute("UPDATE event_counter SET purged = position")
    # In one that has just started; what others still have in memory is no gap.
    children = psutil.Process(api.process.pid).children()
    for child in children:
        child.kill()
    psutil.wait_procs(children)
    eventually(api.serving)
    request = task_service_pb2.WatchTasksRequest(resume_token=token)
    found = refused(
        lambda request, **kwargs: next(api.tasks.WatchTasks(request, **kwargs)), request, metadata=alice.metadata
    )
    assert (found.code, found.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")
    api.close()


def test_a_revoked_session_ends_its_streams_and_no_other(api: Api, alice: Account) -> None:
    other = Watch(api, api.sign_in(alice.id, alice.email))
    watch = Watch(api, alice)
    api.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=alice.metadata)
    last, status = watch.end()
    assert (status.code, status.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert last.end.status.code == status.code.value[0]
    assert other.call.is_active()
    other.close()


def test_sigterm_ends_streams_at_once_and_another_server_goes_on(processes: Processes, database_url: str) -> None:
    api = Api(processes, database_url, TASKHUB_DRAIN_SECONDS="600")
    alice = api.account()
    with sequencing(database_url):
        watch = Watch(api, alice)
        task = api.task(alice)
        assert watch.event().task == task.name
        children = psutil.Process(api.process.pid).children()
        for child in children:
            child.terminate()
        last, status = watch.end()
        assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
        assert last.end.status.details
        _, alive = psutil.wait_procs(children, timeout=PATIENCE)
        assert alive == [], "they wait for the ten minutes that calls in flight have"
        eventually(api.serving)
        move(api, alice, task, "Start")
        assert Watch(api, alice, resume_token=watch.token).event().kind == "task.started"
    api.close()


def test_a_killed_server_costs_neither_a_gap_nor_a_repeat(processes: Processes, database_url: str) -> None:
    api = Api(processes, database_url, TASKHUB_API_PROCESSES="1")
    alice = api.account()
    with sequencing(database_url):
        watch = Watch(api, alice)
        first, second = api.task(alice), api.task(alice)
        assert watch.event().task == first.name
        [child] = psutil.Process(api.process.pid).children()
        os.kill(child.pid, signal.SIGKILL)
        eventually(api.serving)
        again = Watch(api, alice, resume_token=watch.token)
        assert again.event().task == second.name
        third = api.task(alice)
        assert again.event().task == third.name
    api.close()


def test_without_postgresql_a_stream_ends_and_is_resumed_after_its_return(processes: Processes) -> None:
    server = Postgres(free_port())
    server.start()
    try:
        server.migrate()
        url = server.url("template_taskhub")
        api = Api(processes, url, TASKHUB_API_PROCESSES="1")
        alice = api.account()
        watch = Watch(api, alice)
        with sequencing(url):
            task = api.task(alice)
            assert watch.event().task == task.name
            server.stop()
            last, status = watch.end()
            assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            assert status.retry_seconds
            assert last.HasField("end")
            server.start()
            eventually(api.serving)
            again = eventually(lambda: Watch(api, alice, resume_token=watch.token))
            move(api, alice, task, "Start")
            assert again.event().kind == "task.started"
        api.close()
        processes.stop()
    finally:
        server.remove()


def test_any_process_goes_on_where_another_was(api: Api, alice: Account) -> None:
    with sequencing(api.database_url):
        token = Watch(api, alice).close()
        tasks = [api.task(alice).name for _ in range(20)]
        for number in range(10):
            with api.connect() as channel:
                stub = task_service_pb2_grpc.TaskServiceStub(channel)  # type: ignore[no-untyped-call]
                watch = Watch(api, alice, stub=stub, resume_token=token)
                assert [watch.event().task, watch.event().task] == tasks[2 * number : 2 * number + 2]
                token = watch.close()


def test_history_is_paged_and_filtered_and_outlives_the_deletion(api: Api, alice: Account) -> None:
    task = api.task(alice)
    move(api, alice, task, *["Start", "Complete", "Reopen"] * 3, "Delete")
    request = task_service_pb2.ListTaskEventsRequest(parent=task.name, page_size=4)
    kinds: list[str] = []
    while True:
        page = api.tasks.ListTaskEvents(request, metadata=alice.metadata)
        assert len(page.events) <= 4
        kinds += [event.kind for event in page.events]
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert kinds == ["task.deleted", *["task.reopened", "task.completed", "task.started"] * 3, "task.created"]
    request = task_service_pb2.ListTaskEventsRequest(parent=task.name, kinds=["task.completed", "task.created"])
    page = api.tasks.ListTaskEvents(request, metadata=alice.metadata)
    assert [event.kind for event in page.events] == ["task.completed"] * 3 + ["task.created"]


@pytest.mark.usefixtures("sequencer")
def test_an_event_with_a_name_that_is_none_stops_nobody(api: Api, admin: Account) -> None:
    watch = Watch(api, admin, task="")
    api.execute("INSERT INTO events (kind, resource, actor) VALUES ('task.updated', 'tasks/0', 'system')")
    task = api.task(admin)
    assert [watch.event().task, watch.event().task] == ["tasks/0", task.name]

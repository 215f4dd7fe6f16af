"""One key from many callers at once, from callers that give up, and after failures."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import psycopg
from taskhub.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from shared.idempotency import CLAIM
from tests.support.api import Account, Api, refused
from tests.support.servers import PATIENCE, eventually

CALLERS = 20


def create(title: str = "One") -> task_service_pb2.CreateTaskRequest:
    return task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title=title))


def tasks_of(api: Api, account: Account) -> int:
    return int(api.execute("SELECT count(*) FROM tasks WHERE owner_id = %s", (account.id,))[0][0])


def race(api: Api, call: str, request: object, account: Account) -> list[tuple[bytes, bool]]:
    """Sends the same call from twenty connections, spread over both processes, at the same instant."""
    metadata, gate = account.with_key(str(uuid.uuid4())), threading.Barrier(CALLERS)

    def one(_: int) -> tuple[bytes, bool]:
        with api.connect() as channel:
            grpc.channel_ready_future(channel).result(PATIENCE)
            stub = task_service_pb2_grpc.TaskServiceStub(channel)  # type: ignore[no-untyped-call]
            gate.wait()
            answer, outcome = getattr(stub, call).with_call(request, metadata=metadata, timeout=PATIENCE)
            replayed = ("idempotency-replayed", "true") in outcome.initial_metadata()
            return answer.SerializeToString(deterministic=True), replayed

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(one, range(CALLERS)))


def test_twenty_callers_of_one_key_make_one_task(api: Api, alice: Account) -> None:
    answers = race(api, "CreateTask", create(), alice)
    assert len({answer for answer, _ in answers}) == 1
    assert sum(replayed for _, replayed in answers) == CALLERS - 1
    assert tasks_of(api, alice) == 1
    told = "SELECT count(*) FROM events WHERE owner_id = %s AND kind = 'task.created'"
    assert api.execute(told, (alice.id,)) == [(1,)]


def test_twenty_callers_of_one_key_complete_a_task_once(api: Api, alice: Account) -> None:
    task = api.task(alice)
    answers = race(api, "CompleteTask", task_service_pb2.CompleteTaskRequest(name=task.name), alice)
    assert len({answer for answer, _ in answers}) == 1
    assert sum(replayed for _, replayed in answers) == CALLERS - 1
    rows = api.execute("SELECT kind FROM events WHERE resource = %s ORDER BY id", (task.name,))
    assert rows == [("task.created",), ("task.completed",)]


def test_keys_are_scoped_to_the_principal_and_the_method(api: Api, alice: Account, bob: Account) -> None:
    key = str(uuid.uuid4())
    mine = api.tasks.CreateTask(create(), metadata=alice.with_key(key))
    his = api.tasks.CreateTask(create(), metadata=bob.with_key(key))
    assert mine.name != his.name
    started = api.tasks.StartTask(task_service_pb2.StartTaskRequest(name=mine.name), metadata=alice.with_key(key))
    assert started.state == task_pb2.Task.IN_PROGRESS


def test_quotes_around_a_key_do_not_count(api: Api, alice: Account) -> None:
    plain = api.tasks.CreateTask(create(), metadata=alice.with_key("abc"))
    assert api.tasks.CreateTask(create(), metadata=alice.with_key('"abc"')).name == plain.name


def test_a_call_that_failed_leaves_its_key_free(api: Api, alice: Account) -> None:
    task = api.task(alice)
    request = task_service_pb2.ReopenTaskRequest(name=task.name)
    metadata = alice.with_key(str(uuid.uuid4()))
    assert refused(api.tasks.ReopenTask, request, metadata=metadata).reason == "STATE_TRANSITION_INVALID"
    api.tasks.CompleteTask(task_service_pb2.CompleteTaskRequest(name=task.name), metadata=alice.metadata)
    assert api.tasks.ReopenTask(request, metadata=metadata).state == task_pb2.Task.TODO


def hold(
    connection: psycopg.Connection[tuple[object, ...]], account: Account, key: str, method: str = "CreateTask"
) -> None:
    """Claims a key in a transaction that stays open, as another process in the middle of the call would."""
    parameters = {
        "idem_principal": account.name,
        "idem_method": f"/taskhub.v1.TaskService/{method}",
        "idem_key": key,
        "idem_fingerprint": b"\0" * 32,
        "idem_response": b"",
    }
    connection.execute(CLAIM, parameters)


def test_a_caller_waits_for_the_first_and_goes_on_when_it_fails(api: Api, alice: Account) -> None:
    with psycopg.connect(api.database_url) as other:
        hold(other, alice, "held")
        call = api.tasks.CreateTask.future(create(), metadata=alice.with_key("held"), timeout=PATIENCE)
        eventually(lambda: api.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))
        assert not call.done()
        other.rollback()
        assert call.result().title == "One"


def test_a_caller_that_waits_too_long_is_told_to_come_again(api: Api, alice: Account) -> None:
    with psycopg.connect(api.database_url) as other:
        hold(other, alice, "stuck")
        found = refused(api.tasks.CreateTask, create(), metadata=alice.with_key("stuck"), timeout=PATIENCE)
        assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "IDEMPOTENCY_KEY_IN_USE")
        assert found.retry_seconds
        other.rollback()
    assert tasks_of(api, alice) == 0


def test_callers_that_wait_in_memory_hold_no_connection(api: Api, alice: Account) -> None:
    with psycopg.connect(api.database_url) as other:
        hold(other, alice, "queue")
        waiting = [
            api.tasks.CreateTask.future(create(), metadata=alice.with_key("queue"), timeout=PATIENCE) for _ in range(30)
        ]
        eventually(lambda: api.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))
        # One channel reaches one process, whose pool is smaller than the queue; an unrelated call gets through.
        assert (
            api.tasks.ListTasks(task_service_pb2.ListTasksRequest(), metadata=alice.metadata, timeout=PATIENCE)
            is not None
        )
        assert api.execute("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(1,)]
        other.rollback()
        assert len({call.result().name for call in waiting}) == 1
    assert tasks_of(api, alice) == 1


def test_callers_of_any_method_that_wait_in_memory_hold_no_transaction(api: Api, alice: Account) -> None:
    request = task_service_pb2.CompleteTaskRequest(name=api.task(alice).name)
    with psycopg.connect(api.database_url) as other:
        hold(other, alice, "line", "CompleteTask")
        waiting = [
            api.tasks.CompleteTask.future(request, metadata=alice.with_key("line"), timeout=PATIENCE) for _ in range(30)
        ]
        eventually(lambda: api.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))
        api.tasks.ListTasks(task_service_pb2.ListTasksRequest(), metadata=alice.metadata, timeout=PATIENCE)
        idle = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taskhub-api' AND state ~ '^idle in'"
        assert api.execute(f"{idle} AND datname = current_database()") == [(0,)]
        other.rollback()
        assert {call.result().state for call in waiting} == {task_pb2.Task.DONE}


def test_a_thousand_cancelled_calls_leave_nothing_behind(api: Api, alice: Account) -> None:
    for _ in range(10):
        calls = [
            api.tasks.CreateTask.future(create("Gone"), metadata=alice.with_key(str(uuid.uuid4()))) for _ in range(100)
        ]
        for call in calls:
            call.cancel()
    eventually(
        lambda: api.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'") == [(0,)]
    )
    # In one statement: a call that was too far gone to be cancelled may commit between two.
    made, records = api.execute(
        "SELECT (SELECT count(*) FROM tasks WHERE owner_id = %s),"
        " (SELECT count(*) FROM idempotency_records WHERE principal = %s)",
        (alice.id, alice.name),
    )[0]
    assert made == records
    with api.connect() as channel:  # on the old one a thousand streams are still being cleared away
        tasks = task_service_pb2_grpc.TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        many = [tasks.CreateTask.future(create("Here"), metadata=alice.metadata, timeout=PATIENCE) for _ in range(50)]
        assert all(call.result().title == "Here" for call in many)

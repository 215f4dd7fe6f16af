"""A process killed before, at and after the commit of a call with a key; a caller that hangs up in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import grpc
import psutil
import psycopg
import pytest
from taskhub.v1 import auth_service_pb2, task_pb2, task_service_pb2

from tests.support.api import Account, Api, refused
from tests.support.servers import PATIENCE, Processes, eventually

#: Makes every commit of an idempotency record wait for an advisory lock: the instant of the commit, held still.
SLOW_COMMIT = """
CREATE FUNCTION wait_for_test() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait_for_test AFTER INSERT ON idempotency_records
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_for_test();
"""
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted"


@pytest.fixture
def single(processes: Processes, database_url: str) -> Iterator[Api]:
    """An API of one process."""
    api = Api(processes, database_url, TASKHUB_API_PROCESSES="1", TASKHUB_LOCK_TIMEOUT="60")
    yield api
    api.close()


def kill(api: Api) -> None:
    """Kills the server process, and waits until its successor answers."""
    [child] = psutil.Process(api.process.pid).children()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    eventually(api.serving)


def broken_off(call: Any) -> bool:
    """Whether a call ended without an answer."""
    error = call.exception()
    assert isinstance(error, grpc.RpcError)
    return error.code() == grpc.StatusCode.UNAVAILABLE


def states(api: Api, name: str) -> list[str]:
    rows = api.execute("SELECT kind FROM events WHERE resource = %s ORDER BY id", (name,))
    return [row[0] for row in rows]


def test_killed_before_the_commit_nothing_happened_and_the_key_is_free(single: Api) -> None:
    alice = single.account()
    task = single.task(alice)
    request, metadata = task_service_pb2.CompleteTaskRequest(name=task.name), alice.with_key("k")
    with psycopg.connect(single.database_url) as other:
        other.execute("SELECT FROM tasks FOR UPDATE")  # the call has claimed its key when it meets this
        call = single.tasks.CompleteTask.future(request, metadata=metadata, timeout=PATIENCE)
        eventually(lambda: single.execute(WAITING))
        kill(single)
        assert broken_off(call)
    eventually(lambda: not single.execute(WAITING))
    assert states(single, task.name) == ["task.created"]
    answer, outcome = single.tasks.CompleteTask.with_call(request, metadata=metadata, timeout=PATIENCE)
    assert answer.state == task_pb2.Task.DONE
    assert ("idempotency-replayed", "true") not in outcome.initial_metadata()


@pytest.mark.parametrize("mutation", ["CreateTask", "CompleteTask"])
def test_killed_at_the_commit_the_retry_gets_the_answer_and_no_second_effect(single: Api, mutation: str) -> None:
    alice = single.account()
    task = single.task(alice)
    request = {
        "CreateTask": task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title="One")),
        "CompleteTask": task_service_pb2.CompleteTaskRequest(name=task.name),
    }[mutation]
    method, metadata = getattr(single.tasks, mutation), alice.with_key("k")
    single.execute(SLOW_COMMIT)
    with psycopg.connect(single.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(4711)")
        call = method.future(request, metadata=metadata, timeout=PATIENCE)
        eventually(lambda: single.execute(WAITING))
        kill(single)
        assert broken_off(call)
        other.rollback()  # PostgreSQL goes on with a commit whose client is gone
    eventually(lambda: single.execute("SELECT 1 FROM idempotency_records"))
    answer, outcome = method.with_call(request, metadata=metadata, timeout=PATIENCE)
    assert ("idempotency-replayed", "true") in outcome.initial_metadata()
    created, completed = ([answer.name], []) if mutation == "CreateTask" else ([], [task.name])
    rows = single.execute("SELECT kind, resource FROM events WHERE kind LIKE 'task.%%' ORDER BY id")
    assert rows == [
        ("task.created", task.name),
        *(("task.created", name) for name in created),
        *(("task.completed", name) for name in completed),
    ]


def test_a_caller_that_hangs_up_leaves_no_claim(api: Api, alice: Account) -> None:
    task = api.task(alice)
    request, metadata = task_service_pb2.CompleteTaskRequest(name=task.name), alice.with_key("k")
    with psycopg.connect(api.database_url) as other:
        other.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", (task.name.removeprefix("tasks/"),))
        call = api.tasks.CompleteTask.future(request, metadata=metadata)
        eventually(lambda: api.execute(WAITING))
        call.cancel()
        eventually(lambda: not api.execute(WAITING))
    assert api.tasks.CompleteTask(request, metadata=metadata, timeout=PATIENCE).state == task_pb2.Task.DONE
    assert states(api, task.name) == ["task.created", "task.completed"]


def test_a_refusal_that_must_leave_a_trace_leaves_it(api: Api, alice: Account) -> None:
    request = auth_service_pb2.RefreshTokenRequest(refresh_token=alice.refresh_token)
    api.auth.RefreshToken(request)
    api.execute("UPDATE refresh_tokens SET use_time = use_time - '1 hour'::interval WHERE use_time IS NOT NULL")
    assert refused(api.auth.RefreshToken, request).reason == "REFRESH_TOKEN_INVALID"
    statement = "SELECT revoke_time IS NOT NULL FROM sessions WHERE user_id = %s"
    assert api.execute(statement, (alice.id,)) == [(True,)]

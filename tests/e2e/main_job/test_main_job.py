"""The main job through every door, and the same answers through each."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from devstack.demo.doors import Answer, BufDoor, Door, File, GrpcurlDoor, StubDoor
from devstack.demo.main_job import MainJob
from devstack.demo.rest import RestDoor
from devstack.demo.stack import ThrowAwayStack
from tests.support.servers import eventually

DOORS = ["stub", "buf", "rest", *(["grpcurl"] if shutil.which("grpcurl") else [])]


def door(name: str, stack: ThrowAwayStack) -> Door:
    match name:
        case "stub":
            return StubDoor(stack.grpc)
        case "buf":
            return BufDoor(stack.grpc)
        case "grpcurl":
            return GrpcurlDoor(stack.grpc)
        case _:
            return RestDoor(stack.rest)


@pytest.mark.parametrize("name", DOORS)
def test_the_main_job(stack: ThrowAwayStack, admin: dict[str, str], name: str) -> None:
    steps: list[str] = []
    MainJob(door(name, stack), stack.mailbox, admin, lambda title, *_: steps.append(title)).run()
    assert len(steps) == 24


def without_defaults(value: Any) -> Any:
    """Returns the JSON without what proto3 leaves out and the gateway prints: empty lists, strings and maps."""
    if isinstance(value, dict):
        kept = {name: without_defaults(inner) for name, inner in value.items()}
        return {name: inner for name, inner in kept.items() if inner not in ({}, [], "", 0, False)}
    return [without_defaults(inner) for inner in value] if isinstance(value, list) else value


def same(answer: Answer) -> Any:
    """Returns what must be equal through every door."""
    if answer.status != "OK":
        return answer.status, answer.reason, answer.fields, answer.body["message"]
    return answer.status, without_defaults(answer.body)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("TaskService/GetTask", {"name": "TASK"}),
        ("TaskService/ListTasks", {"pageSize": 1, "showDeleted": True}),
        ("TaskService/ListTasks", {"pageSize": -1}),
        ("TaskService/ListTasks", {"pageToken": "AAAA"}),
        ("TaskService/CreateTask", {"task": {"title": "x" * 201, "labels": {"Bad Key": "v"}}}),
        ("TaskService/CreateTask", {"task": {"title": "Written once, by whichever door comes first"}}),
        ("TaskService/UpdateTask", {"task": {"name": "TASK", "title": "x", "etag": '"99"'}, "updateMask": "title"}),
        ("TaskService/UpdateTask", {"task": {"name": "TASK"}}),
        ("TaskService/ReopenTask", {"name": "TASK"}),
        ("TaskService/GetTask", {"name": "tasks/00000000-0000-7000-8000-000000000000"}),
        ("UserService/GetUser", {"name": "users/me"}),
        ("JobService/ListJobs", {"kind": "email", "state": "SUCCEEDED"}),
        ("AuthService/GetJwks", {}),
    ],
)
def test_every_door_gives_the_same_answer(
    stack: ThrowAwayStack, admin: dict[str, str], method: str, request_: dict[str, Any]
) -> None:
    doors = [door(name, stack) for name in DOORS]
    task = doors[0].call("TaskService/CreateTask", {"task": {"title": "One"}}, admin).body["name"]
    request = json.loads(json.dumps(request_).replace("TASK", task))
    headers = admin | {"idempotency-key": task}
    answers = [same(each.call(method, request, headers)) for each in doors]
    assert answers == [answers[0]] * len(doors)
    assert answers[0][0] in {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "ABORTED", "FAILED_PRECONDITION"}


@pytest.mark.parametrize(
    ("request_", "file"),
    [
        ({"keyField": "ticket", "mode": "SKIP_INVALID"}, File("text/csv", b"ticket,title\n1,One\n2,\n")),
        ({"format": "NDJSON", "validateOnly": True}, File("application/octet-stream", b'{"title": "Tried"}\n')),
        ({"format": "CSV"}, File("multipart/form-data; boundary=x", b"--x\r\n\r\ntitle\r\n--x--\r\n")),
        ({"format": "CSV"}, File("application/x-ndjson", b"{}")),
        ({}, File("application/octet-stream", b"title\n")),
        ({}, File("text/csv", b"")),
        ({"keyField": "x" * 64}, File("text/csv", b"title\nOne\n")),
    ],
)
def test_every_door_takes_the_same_file(
    stack: ThrowAwayStack, admin: dict[str, str], request_: dict[str, Any], file: File
) -> None:
    headers = admin | {"idempotency-key": f"import-{time.time_ns()}"}
    doors = [door(name, stack) for name in DOORS]
    answers = [same(each.upload("TaskService/ImportTasks", request_, file, headers)) for each in doors]
    for answer in answers:
        if request_.get("validateOnly"):  # each is a try of its own
            for field in ("name", "createTime", "scheduleTime"):
                answer[1].pop(field)
    assert answers == [answers[0]] * len(doors)
    assert answers[0][0] in {"OK", "INVALID_ARGUMENT"}


def test_every_door_hands_the_same_file_out(stack: ThrowAwayStack, admin: dict[str, str]) -> None:
    doors = [door(name, stack) for name in DOORS]
    label = f"doors-{time.time_ns()}"
    tasks = [{"task": {"title": f"{number}", "labels": {"door": label}}} for number in range(3)]
    doors[0].call("TaskService/BatchCreateTasks", {"requests": tasks}, admin)
    request = {"format": "CSV", "filter": f'labels.door = "{label}"'}
    headers = admin | {"idempotency-key": label}
    answers = [same(each.call("TaskService/ExportTasks", request, headers)) for each in doors]
    assert answers == [answers[0]] * len(doors)
    job = answers[0][1]["name"]
    eventually(lambda: doors[0].call("JobService/GetJob", {"name": job}, admin).body["state"] == "SUCCEEDED")
    nothing = "jobs/00000000-0000-7000-8000-000000000000"
    for asked, status in (
        ({"name": job}, "OK"),
        ({"name": job, "offset": "7"}, "OK"),
        ({"name": job, "offset": "1000000"}, "INVALID_ARGUMENT"),
        ({"name": nothing}, "NOT_FOUND"),
    ):
        files = [same(each.download("JobService/ReadJobResult", asked, admin)) for each in doors]
        assert files == [files[0]] * len(doors)
        assert files[0][0] == status
    whole = doors[0].download("JobService/ReadJobResult", {"name": job}, admin).body
    assert (whole["contentType"].split(";")[0], len(whole["data"].splitlines())) == ("text/csv", 4)


def test_twenty_callers_of_one_key_over_rest_make_one_task(stack: ThrowAwayStack, admin: dict[str, str]) -> None:
    key, title = f"race-{time.time_ns()}", f"Raced for at {time.time_ns()}"
    gate = threading.Barrier(20)

    def create(_: int) -> str:
        gate.wait()
        request = {"task": {"title": title}}
        return json.dumps(
            same(RestDoor(stack.rest).call("TaskService/CreateTask", request, admin | {"idempotency-key": key}))
        )

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(create, range(20)))
    assert len(answers) == 1
    listed = RestDoor(stack.rest).call("TaskService/ListTasks", {"pageSize": 1000}, admin).body["tasks"]
    assert sum(task["title"] == title for task in listed) == 1

"""S1, S2, S3 and S5: one API process beside the bare servers, by the same load generator in alternating rounds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from taskhub.v1 import task_pb2, task_service_pb2

from bench.harness import Bench, Sample, alternate, encoded, measure
from bench.limits import table
from bench.limits.serving import PATH
from bench.load import Load
from devstack.demo.doors import StubDoor
from shared.ids import new_id

TASKS = "/taskhub.v1.TaskService"
TITLE = "Write the quarterly report for the board"

#: Rows that reads are spread over.
ROWS = 1000
WARM_UP = 1.0

#: Ours, the bare server, and the bare server in the event loop that we have.
Round = tuple[Sample, Sample, Sample]


def reads(bench: Bench) -> list[Round]:
    """Returns rounds of GetTask and of the bare SELECT."""
    names, ids = _tasks(bench), _bare_rows(bench)
    requests = [task_service_pb2.GetTaskRequest(name=name).SerializeToString() for name in names]
    ours = Load(bench.stack.grpc, f"{TASKS}/GetTask", encoded(requests), bench.stack.administrator())
    return _rounds(bench, "GetTask", ours, "select", encoded([id_.encode() for id_ in ids]))


def lists(bench: Bench) -> list[Round]:
    """Returns rounds of ListTasks and of the bare SELECT, twenty rows each."""
    _tasks(bench)
    _bare_rows(bench)
    request = task_service_pb2.ListTasksRequest(page_size=20).SerializeToString()
    ours = Load(bench.stack.grpc, f"{TASKS}/ListTasks", encoded([request]), bench.stack.administrator())
    return _rounds(bench, "ListTasks", ours, "list", encoded([b"20"]))


def writes(bench: Bench) -> list[Round]:
    """Returns rounds of CreateTask, a fresh idempotency key each, and of the bare INSERT."""
    request = task_service_pb2.CreateTaskRequest(task=_task()).SerializeToString()
    bench.database.execute(table.CREATE)
    headers = bench.stack.administrator()
    ours = Load(bench.stack.grpc, f"{TASKS}/CreateTask", encoded([request]), headers, fresh_keys=True)
    return _rounds(bench, "CreateTask", ours, "insert", encoded([TITLE.encode()]))


def _rounds(bench: Bench, name: str, ours: Load, limit: str, requests: list[str]) -> list[Round]:
    sides = [(name, bench.api_pid, ours)]
    for side, *arguments in (("bare",), ("bare, uvloop", "uvloop")):
        pid, address = bench.server(f"bench.limits.{limit}_server", *arguments)
        sides.append((side, pid, Load(address, PATH, requests)))
    for _, pid, load in sides:
        measure(pid, _lasting(load, WARM_UP))
    return alternate(bench.effort.rounds, *(partial(_one, bench, *side) for side in sides))


def _one(bench: Bench, name: str, pid: int, load: Load) -> Sample:
    sample = measure(pid, _lasting(load, bench.effort.seconds))
    seen = sample.outcome
    bench.say(
        f"  {name:<12} {sample.rate:7,.0f}/s  {sample.cpu_ms:.3f} ms CPU a call"
        f"  p50 {seen.p50_ms:.1f} ms  p99 {seen.p99_ms:.1f} ms"
        f"  {seen.ok} OK, {seen.refused} refused  (generator {seen.cpu_seconds / seen.seconds:.0%} of a core)"
    )
    return sample


def _lasting(load: Load, seconds: float) -> Load:
    return replace(load, seconds=seconds)


def _task() -> task_pb2.Task:
    return task_pb2.Task(title=TITLE, labels={"team": "finance"})


def _tasks(bench: Bench) -> list[str]:
    """Makes the tasks that are read, as a caller does; returns their names."""
    door = StubDoor(bench.stack.grpc)
    headers = bench.stack.administrator()
    request = {"task": {"title": TITLE, "labels": {"team": "finance"}}}
    names = [door.call("TaskService/CreateTask", request, headers).body["name"] for _ in range(ROWS)]
    door.close()
    return names


def _bare_rows(bench: Bench) -> list[str]:
    bench.database.execute(table.CREATE)
    ids = [str(new_id()) for _ in range(ROWS)]
    with bench.database.cursor() as cursor:
        cursor.executemany(table.INSERT, [(id_, TITLE) for id_ in ids])
    return ids

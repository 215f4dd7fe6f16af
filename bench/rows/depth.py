"""S6: a page of twenty tasks at depth 1,000,000 of 2,000,000 beside the first one, one call at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
from taskhub.v1 import task_service_pb2, task_service_pb2_grpc

from bench.harness import Bench, Sample, alternate, encoded, measure
from bench.load import Load
from bench.tasks import COUNT, fill

DEPTH = COUNT // 2
STEP = 1000

Round = tuple[Sample, Sample]


def pages(bench: Bench) -> list[Round]:
    """Returns rounds of a page in the middle and of the first one."""
    bench.say(f"  writing {COUNT:,} tasks")
    fill(bench.database)
    token = _walk(bench)
    deep, first = (task_service_pb2.ListTasksRequest(page_size=20, page_token=each) for each in (token, ""))
    return alternate(bench.effort.rounds, partial(_one, bench, "deep", deep), partial(_one, bench, "first", first))


def _walk(bench: Bench) -> str:
    """Reads the list to the middle, a thousand tasks a page, as a caller has to; returns the token of the next page."""
    bench.say(f"  reading the first {DEPTH:,} of them")
    metadata = tuple(bench.stack.administrator().items())
    with grpc.insecure_channel(bench.stack.grpc) as channel:
        stub: Any = task_service_pb2_grpc.TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        token = ""
        for _ in range(DEPTH // STEP):
            request = task_service_pb2.ListTasksRequest(page_size=STEP, page_token=token)
            answer = stub.ListTasks(request, metadata=metadata, timeout=10)
            if len(answer.tasks) != STEP:
                raise RuntimeError(f"a page of {len(answer.tasks)}")
            token = answer.next_page_token
    return token


def _one(bench: Bench, name: str, request: task_service_pb2.ListTasksRequest) -> Sample:
    load = Load(
        bench.stack.grpc, "/taskhub.v1.TaskService/ListTasks", encoded([request.SerializeToString()]),
        bench.stack.administrator(), connections=1, streams=1, seconds=bench.effort.seconds,
    )  # fmt: skip
    sample = measure(bench.api_pid, load)
    seen = sample.outcome
    bench.say(f"  {name:<6} {seen.p50_ms:.3f} ms  p99 {seen.p99_ms:.3f} ms  {seen.ok} OK, {seen.refused} refused")
    return sample

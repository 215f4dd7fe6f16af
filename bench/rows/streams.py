"""S12: many streams to one API process, and events to all of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg
from taskhub.v1 import task_service_pb2

from bench.harness import Bench
from shared.events import INSERT_EVENT, new_event

STREAMS, CONNECTIONS = 1000, 10
#: Events a second, and seconds of a round.
RATE, SECONDS = 3, 10

WATCH = "/taskhub.v1.TaskService/WatchTasks"


@dataclass(frozen=True, slots=True)
class Round:
    """How late events were, in milliseconds, and what a stream took, in KiB."""

    late_ms: list[float]
    stream_kib: float


def watching(bench: Bench) -> list[Round]:
    """Returns rounds of events that every stream gets."""
    return [asyncio.run(_round(bench)) for _ in range(min(bench.effort.rounds, 3))]


async def _round(bench: Bench) -> Round:
    headers = list(bench.stack.administrator().items())
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(bench.stack.grpc, options=options) for _ in range(CONNECTIONS)]
    # No sign of life while it lasts: what is measured are the events.
    request = task_service_pb2.WatchTasksRequest(heartbeat_interval={"seconds": 60}).SerializeToString()
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    before = _memory(bench.api_pid)
    calls: list[Any] = []
    for number in range(STREAMS):
        open_: Any = channels[number % CONNECTIONS].unary_stream(WATCH)
        calls.append(open_(request, metadata=headers))
    await asyncio.gather(*(call.read() for call in calls))
    kib = (_memory(bench.api_pid) - before) / STREAMS
    late: list[float] = []
    readers = [asyncio.create_task(_read(call, late)) for call in calls]
    sent = await asyncio.to_thread(_emit, bench)
    async with asyncio.timeout(SECONDS + 30):
        await asyncio.gather(*readers)
    for call in calls:
        call.cancel()
    for channel in channels:
        await channel.close()
    bench.say(f"  {STREAMS} streams, {sent} events: {len(late)} received, {kib:.1f} KiB a stream")
    return Round(late, kib)


async def _read(call: Any, late: list[float]) -> None:
    """Reads as many events as are sent; each carries the time just before its commit."""
    for _ in range(RATE * SECONDS):
        response = task_service_pb2.WatchTasksResponse.FromString(await call.read())
        if not response.HasField("event"):
            raise RuntimeError(f"a stream said something else than an event: {response}")
        late.append((time.time() - float(response.event.actor)) * 1000)


def _emit(bench: Bench) -> int:
    """Writes events as changes do, each committed alone."""
    url = bench.environment["TASKHUB_DATABASE_URL"]
    began = time.monotonic()
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(RATE * SECONDS):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            event = new_event("task.updated", "tasks/0", str(time.time()), owner_id=None, changes={})
            connection.execute(INSERT_EVENT, event)
    return RATE * SECONDS


def _memory(pid: int) -> float:
    """Returns the proportional set size of a process in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError("the kernel tells no proportional set size")

"""S12: many streams to one API process, and events to all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg
from taskhub.v1 import task_service_pb2

from bench.harness import PATIENCE, Bench, alternate
from bench.limits.stream_server import CHANNEL, PATH
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


@dataclass(frozen=True, slots=True)
class Side:
    """A server that streams, how it is asked, and how it is told of an event that carries a time."""

    name: str
    pid: int
    address: str
    path: str
    request: bytes
    headers: list[tuple[str, str]]
    emit: Callable[[psycopg.Connection[Any], float], None]
    #: The time that a response carries.
    sent: Callable[[bytes], float]


def watching(bench: Bench) -> list[tuple[Round, Round]]:
    """Returns rounds of events that every stream gets: ours, and those of a server that only passes them on."""
    ours, bare = _ours(bench), _bare(bench)
    # More rounds would take minutes, and the longest lateness of one is that of 30,000 responses.
    return alternate(min(bench.effort.rounds, 3), lambda: _run(bench, ours), lambda: _run(bench, bare))


def _ours(bench: Bench) -> Side:
    headers = list(bench.stack.administrator().items())
    # No sign of life while it lasts: what is measured are the events.
    request = task_service_pb2.WatchTasksRequest(heartbeat_interval={"seconds": 60}).SerializeToString()
    return Side("ours", bench.api_pid, bench.stack.grpc, WATCH, request, headers, _write_event, _sent_by_event)


def _bare(bench: Bench) -> Side:
    pid, address = bench.server("bench.limits.stream_server")
    return Side("bare", pid, address, PATH, b"", [], _notify, float)


def _run(bench: Bench, side: Side) -> Round:
    async def bounded() -> Round:
        async with asyncio.timeout(SECONDS + PATIENCE):
            return await _round(bench, side)

    return asyncio.run(bounded())


async def _round(bench: Bench, side: Side) -> Round:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(side.address, options=options) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    before = _memory(side.pid)
    calls: list[Any] = []
    for number in range(STREAMS):
        open_: Any = channels[number % CONNECTIONS].unary_stream(side.path)
        calls.append(open_(side.request, metadata=side.headers))
    await asyncio.gather(*(call.read() for call in calls))
    kib = (_memory(side.pid) - before) / STREAMS
    late: list[float] = []
    readers = [asyncio.create_task(_read(call, side.sent, late)) for call in calls]
    sent = await asyncio.to_thread(_emit, bench, side)
    async with asyncio.timeout(PATIENCE / 2):
        await asyncio.gather(*readers)
    for call in calls:
        call.cancel()
    for channel in channels:
        await channel.close()
    bench.say(f"  {side.name}: {STREAMS} streams, {sent} events: {len(late)} received, {kib:.1f} KiB a stream")
    return Round(late, kib)


async def _read(call: Any, sent: Callable[[bytes], float], late: list[float]) -> None:
    """Reads as many events as are sent; each carries the time just before its commit."""
    for _ in range(RATE * SECONDS):
        moment = sent(await call.read())
        late.append((time.time() - moment) * 1000)


def _sent_by_event(raw: bytes) -> float:
    response = task_service_pb2.WatchTasksResponse.FromString(raw)
    if not response.HasField("event"):
        raise RuntimeError(f"a stream said something else than an event: {response}")
    return float(response.event.actor)


def _write_event(connection: psycopg.Connection[Any], moment: float) -> None:
    """Writes an event as a change does, committed alone."""
    event = new_event("task.updated", "tasks/0", str(moment), owner_id=None, changes={})
    connection.execute(INSERT_EVENT, event)


def _notify(connection: psycopg.Connection[Any], moment: float) -> None:
    connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(moment)))


def _emit(bench: Bench, side: Side) -> int:
    """Tells of events, at their rate."""
    url = bench.environment["TASKHUB_DATABASE_URL"]
    began = time.monotonic()
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(RATE * SECONDS):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            side.emit(connection, time.time())
    return RATE * SECONDS


def _memory(pid: int) -> float:
    """Returns the proportional set size of a process in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError("the kernel tells no proportional set size")

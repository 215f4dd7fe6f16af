"""What clients do. A load is a coroutine that works until it is done, or until it is told that the faults are over.

Each runs in a process of its own and notes in its ledger what it sent and what it was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
import psycopg
from psycopg import AsyncConnection
from taskhub.v1 import task_pb2, task_service_pb2

from shared.events import INSERT_EVENT, new_event
from shared.kinds import JobKind
from shared.outbox import CHANNEL, INSERT_JOB, new_job
from tests.chaos import kinds
from tests.chaos.client import Client, Target, may_retry
from tests.chaos.ledger import Ledger
from tests.support import kinds as probes

#: Who changes something at the same time, in F12.
_WRITERS = 20


class Flag(Protocol):
    """What tells a load to end: a multiprocessing.Event."""

    def is_set(self) -> bool:
        """Whether the faults are over."""
        ...


@dataclass(frozen=True)
class Caller:
    """What a load works with."""

    target: Target
    ledger: Ledger
    rng: random.Random
    over: Flag


Body = Callable[..., Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Load:
    """A coroutine function and its arguments, beside the caller."""

    body: Body
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def run(self, target: Target, path: Path, seed: str, over: Flag) -> None:
        """Runs it to its end; this is what the client process does."""
        ledger = Ledger(path)
        try:
            asyncio.run(self.body(Caller(target, ledger, random.Random(seed), over), **self.arguments))  # noqa: S311 - replayable
        finally:
            ledger.close()


def load(body: Body, **arguments: Any) -> Load:
    """Returns the load that runs `body` with these arguments."""
    return Load(body, arguments)


class Enqueuer:
    """Enqueues as the API does: the row commits, then one NOTIFY hints at it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._connection: AsyncConnection[Any] | None = None

    async def enqueue(self, kind: JobKind, args: dict[str, Any], effects: int = 1) -> None:
        """Returns once a job is committed and noted; one whose commit stayed unknown is noted as sent, and replaced.

        `effects` says how many rows the job writes, once each.
        """
        while True:
            job = new_job(kind, args)
            id_ = str(job["job_id"])
            self._caller.ledger.note("sent", job=id_, kind=kind.name, effects=effects)
            try:
                await (await self._open()).execute(INSERT_JOB, job)
            except psycopg.OperationalError:
                await self.close()
                await asyncio.sleep(0.2)
                continue
            self._caller.ledger.note("ok", job=id_, kind=kind.name)
            with contextlib.suppress(psycopg.OperationalError):
                await (await self._open()).execute(f"NOTIFY {CHANNEL}")
            return

    async def drained(self, kind: JobKind) -> None:
        """Returns once every job of the kind has ended."""
        open_ = "SELECT FROM jobs WHERE kind = %s AND state IN ('WAITING', 'RUNNING')"
        while (await (await self._open()).execute(open_, [kind.name])).rowcount:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    async def _open(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            url = self._caller.target.database
            self._connection = await AsyncConnection.connect(url, autocommit=True, connect_timeout=2)
        return self._connection

    async def close(self) -> None:
        """Closes the connection; the next job opens another."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None


async def enqueue_jobs(caller: Caller, count: int, seconds: float, stepped: int = 0) -> None:
    """Enqueues jobs that leave a row, as fast as they commit; `stepped` of them do so in three steps."""
    enqueuer = Enqueuer(caller)
    in_steps = set(caller.rng.sample(range(count), stepped))
    for index in range(count):
        if index in in_steps:
            await enqueuer.enqueue(kinds.STEPS.kind, {"steps": 3}, effects=3)
        else:
            await enqueuer.enqueue(kinds.ROW.kind, {"seconds": seconds})
    await enqueuer.close()


async def enqueue_with_a_killer(caller: Caller, good: int, seconds: float) -> None:
    """Enqueues good jobs, and somewhere among them one that kills its worker every time.

    All in one transaction: they are due at the same instant, so that the killer is claimed with neighbours.
    """
    work: list[tuple[JobKind, dict[str, Any], int]] = [(kinds.ROW.kind, {"seconds": seconds}, 1)] * good
    work.insert(caller.rng.randrange(good // 2, good), (probes.CRASH.kind, {}, 0))
    jobs = [(new_job(kind, args), effects) for kind, args, effects in work]
    for job, effects in jobs:
        caller.ledger.note("sent", job=str(job["job_id"]), kind=job["job_kind"], effects=effects)
    async with await AsyncConnection.connect(caller.target.database, autocommit=True) as connection:
        async with connection.transaction():
            for job, _ in jobs:
                await connection.execute(INSERT_JOB, job)
        for job, _ in jobs:
            caller.ledger.note("ok", job=str(job["job_id"]), kind=job["job_kind"])
        await connection.execute(f"NOTIFY {CHANNEL}")


async def trickle_jobs(caller: Caller, rate: float, seconds: float) -> None:
    """Enqueues `rate` jobs a second until the faults are over."""
    enqueuer = Enqueuer(caller)
    while not caller.over.is_set():
        await enqueuer.enqueue(kinds.ROW.kind, {"seconds": seconds})
        await asyncio.sleep(1 / rate)
    await enqueuer.close()


async def trickle_others(caller: Caller, rate: float) -> None:
    """Enqueues `rate` jobs a second until the faults are over: pure ones, and every tenth in three steps."""
    enqueuer = Enqueuer(caller)
    while not caller.over.is_set():
        if caller.rng.random() < 1 / 10:
            await enqueuer.enqueue(kinds.STEPS.kind, {"steps": 3}, effects=3)
        else:
            await enqueuer.enqueue(kinds.PURE.kind, {}, effects=0)
        await asyncio.sleep(1 / rate)
    await enqueuer.close()


async def hold_jobs(caller: Caller, seconds: float) -> None:
    """Enqueues jobs that can be stalled, one after the other: before its transaction, inside, and after."""
    enqueuer = Enqueuer(caller)
    for where in kinds.PLACES:
        await enqueuer.enqueue(kinds.HOLD.kind, {"seconds": seconds, "where": where})
        await enqueuer.drained(kinds.HOLD.kind)
    await enqueuer.close()


async def write_tasks(caller: Caller, clients: int) -> None:
    """Creates tasks and completes every other one, each with a key, as fast as the clients can, until it is over."""

    async def one(client: Client) -> None:
        while not caller.over.is_set():
            await _write(client, complete=caller.rng.random() < 1 / 2)

    await _each(caller, clients, one)


async def call_steadily(caller: Caller, clients: int, rate: float) -> None:
    """Creates `rate` tasks a second from all clients together, until it is over."""

    async def one(client: Client) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + caller.rng.uniform(0, clients / rate)
        while not caller.over.is_set():
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due, loop.time() - 1) + clients / rate
            await _write(client, complete=False)

    await _each(caller, clients, one)


async def share_keys(caller: Caller, keys: int, callers: int) -> None:
    """Sends each key from every caller at the same instant, spread over connections and so over processes."""
    clients = [Client(caller.target, caller.ledger, caller.rng) for _ in range(callers)]
    await asyncio.gather(*(client.channel.channel_ready() for client in clients))
    for _ in range(keys):
        key = str(uuid.uuid4())
        request = task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title=key))
        await asyncio.gather(
            *(client.call(client.tasks.CreateTask, request, key, does="task.created") for client in clients)
        )
    for client in clients:
        await client.close()


async def watch_changes(caller: Caller, changes: int, reconnects: int) -> None:
    """Watches, hanging up at random, while many write: some keep their transaction open over the commits of others."""
    begun, ours = asyncio.Event(), f"chaos/{uuid.uuid4()}"
    async with asyncio.TaskGroup() as group:
        group.create_task(_watch(caller, ours, changes, reconnects / changes, begun))
        await begun.wait()
        for number in range(_WRITERS):
            group.create_task(_change(caller, f"{ours}/{number}", changes // _WRITERS))


async def _change(caller: Caller, writer: str, count: int) -> None:
    """Writes events as a change of a task does, each in a transaction of its own, once each: nothing is retried."""
    async with await AsyncConnection.connect(caller.target.database) as connection:
        for number in range(count):
            name, held = f"{writer}-{number}", caller.rng.random() < 1 / 10
            caller.ledger.note("sent", change=name, held=held)
            resource = f"tasks/{uuid.uuid4()}"
            await connection.execute(INSERT_EVENT, new_event("task.updated", resource, name, owner_id=None, changes={}))
            if held:  # its id is taken: others commit theirs before it
                await asyncio.sleep(caller.rng.uniform(0, 0.3))
            await connection.commit()
            caller.ledger.note("ok", change=name)
            await asyncio.sleep(caller.rng.uniform(0, 0.02))


async def _watch(caller: Caller, ours: str, count: int, hang_up: float, begun: asyncio.Event) -> None:
    token, seen = "", 0
    while seen < count:
        client = Client(caller.target, caller.ledger, caller.rng)
        request = task_service_pb2.WatchTasksRequest(resume_token=token, kinds=["task.updated"])
        call = client.tasks.WatchTasks(request, metadata=list(caller.target.headers))
        try:
            async for response in call:
                if response.HasField("heartbeat"):
                    caller.ledger.note("connected", token=response.resume_token)
                    begun.set()
                elif response.event.actor.startswith(ours):
                    caller.ledger.note("event", event=int(response.event.name.rpartition("/")[2]))
                    seen += 1
                token = response.resume_token or token
                if seen >= count or caller.rng.random() < hang_up:
                    break
        except grpc.aio.AioRpcError as error:
            if not may_retry(error):
                raise
            await asyncio.sleep(0.1)
        call.cancel()
        await client.close()


async def _write(client: Client, *, complete: bool) -> None:
    key = str(uuid.uuid4())
    request = task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title=key))
    task = await client.call(client.tasks.CreateTask, request, key, does="task.created")
    if task is not None and complete:
        done = task_service_pb2.CompleteTaskRequest(name=task.name)
        facts = {"does": "task.completed", "task": task.name}
        await client.call(client.tasks.CompleteTask, done, str(uuid.uuid4()), **facts)


async def _each(caller: Caller, clients: int, body: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    everyone = [Client(caller.target, caller.ledger, caller.rng) for _ in range(clients)]
    await asyncio.gather(*(body(client) for client in everyone))
    for client in everyone:
        await client.close()

"""Many tasks in one call: all of them or none, in a number of statements that does not grow with theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.message import Message
from taskhub.v1 import task_pb2, task_service_pb2

from api_service.call import Call
from api_service.database import Connection, Database
from api_service.idempotency import Idempotency
from api_service.notifier import Notifier
from api_service.tasks import service
from api_service.tasks.creation import Creation
from api_service.tasks.elements import element
from api_service.tasks.messages import new_fields, to_message
from api_service.tasks.requests import edit, removal
from shared.errors import InvalidArgument
from shared.ids import parse_name


class Batches:
    """What TaskServicer does with many tasks at once."""

    def __init__(self, database: Database, idempotency: Idempotency, jobs: Notifier) -> None:
        self._database = database
        self._idempotency = idempotency
        self._jobs = jobs
        self._creation = Creation(database, idempotency, jobs)

    async def create(self, request: task_service_pb2.BatchCreateTasksRequest, call: Call) -> Message | bytes:
        """One statement, key, events and stored answer included, unless there is something to look at before."""
        tasks, paths = [], []
        for path, each in _elements(request.requests):
            with element(path):
                tasks.append(service.new_task(call.principal, new_fields(each.task)))
                paths.append(path)
        answer = task_service_pb2.BatchCreateTasksResponse(tasks=[to_message(task) for task in tasks])
        return await self._creation.run(request, call, tasks, paths, answer)

    async def get(
        self, request: task_service_pb2.BatchGetTasksRequest, call: Call
    ) -> task_service_pb2.BatchGetTasksResponse:
        """One statement."""
        ids = [parse_name("tasks", name) for name in request.names]
        async with self._database.connection() as connection:
            tasks = await service.get_all(connection, call.principal, ids)
        return task_service_pb2.BatchGetTasksResponse(tasks=[to_message(task) for task in tasks])

    async def update(self, request: task_service_pb2.BatchUpdateTasksRequest, call: Call) -> Message | bytes:
        """One round trip to lock and look, and one statement that writes."""
        edits = []
        for path, each in _elements(request.requests):
            with element(path):
                edits.append(edit(each, path))
        _check_once([each.task.name for each in request.requests], "task.name")

        async def work(connection: Connection) -> Message:
            tasks = await service.update_all(connection, call.principal, edits)
            return task_service_pb2.BatchUpdateTasksResponse(tasks=[to_message(task) for task in tasks])

        answer = await self._idempotency.run(call, request, work, dry_run=request.validate_only)
        self._jobs.wake()
        return answer

    async def delete(self, request: task_service_pb2.BatchDeleteTasksRequest, call: Call) -> Message | bytes:
        """One round trip to lock and look, and one statement that writes."""
        removals = [removal(each, path) for path, each in _elements(request.requests)]
        _check_once([each.name for each in request.requests], "name")

        async def work(connection: Connection) -> Message:
            tasks = await service.delete_all(connection, call.principal, removals)
            return task_service_pb2.BatchDeleteTasksResponse(
                tasks=[
                    task_pb2.Task(name=each.name) if task is None else to_message(task)
                    for each, task in zip(request.requests, tasks, strict=True)
                ]
            )

        return await self._idempotency.run(call, request, work, dry_run=request.validate_only)


def _elements(requests: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for index, request in enumerate(requests):
        path = f"requests[{index}]"
        if request.validate_only:
            with element(path):
                raise InvalidArgument("validate_only", "belongs to the batch")
        yield path, request


def _check_once(names: Sequence[str], field: str) -> None:
    """Raises InvalidArgument for a task that a batch names twice."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            with element(f"requests[{index}]"):
                raise InvalidArgument(field, "is named twice")
        seen.add(name)

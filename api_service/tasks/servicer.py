"""TaskService on the wire."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from taskhub.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from api_service.call import Call, StreamCall
from api_service.database import Connection, Database
from api_service.idempotency import Idempotency
from api_service.keyset import pack, unpack
from api_service.notifier import Notifier
from api_service.paging import MAXIMUM_BYTES, Pager, fitting, page_size
from api_service.tasks import history, listing, service
from api_service.tasks.batches import Batches
from api_service.tasks.creation import Creation
from api_service.tasks.encoding import encode
from api_service.tasks.events import to_event
from api_service.tasks.files import TaskFiles
from api_service.tasks.messages import new_fields, to_message
from api_service.tasks.requests import edit, removal
from api_service.tasks.task import Task
from api_service.tasks.watch import TaskWatcher
from shared.crypto import Secrets
from shared.ids import parse_name
from shared.states import TaskAction

#: A change of one task: takes the connection and the task's id.
Change = Callable[[Connection, uuid.UUID], Awaitable[Task | None]]


class TaskServicer(task_service_pb2_grpc.TaskServiceServicer):
    """Opens the transactions; the rules are in `service`."""

    def __init__(
        self,
        database: Database,
        idempotency: Idempotency,
        secrets: Secrets,
        jobs: Notifier,
        files: TaskFiles,
        watcher: TaskWatcher,
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._secrets = secrets
        self._jobs = jobs
        self._creation = Creation(database, idempotency, jobs)
        self._batches = Batches(database, idempotency, jobs)
        self._files = files
        self._watcher = watcher

    async def CreateTask(self, request: task_service_pb2.CreateTaskRequest, call: Call) -> Message | bytes:
        """One round trip, key, event and stored answer included, unless there is something to look at before."""
        task = service.new_task(call.principal, new_fields(request.task))
        return await self._creation.run(request, call, [task], [""], to_message(task))

    async def GetTask(self, request: task_service_pb2.GetTaskRequest, call: Call) -> task_pb2.Task:
        """One round trip."""
        async with self._database.connection() as connection:
            return to_message(await service.get(connection, call.principal, parse_name("tasks", request.name)))

    async def ListTasks(self, request: task_service_pb2.ListTasksRequest, call: Call) -> bytes:
        """One round trip: a row more than the page says whether there is a next one. Counting takes a second one."""
        list_ = service.task_list(call.principal, request.filter, request.order_by, show_deleted=request.show_deleted)
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor()
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            rows = await listing.page(connection, list_, unpack(cursor) if cursor else None, size + 1)
            total = await listing.count(connection, list_) if request.include_total_size else 0
        shown = rows[:size]
        tasks = encode(shown)
        if len(tasks) > MAXIMUM_BYTES:
            shown = shown[: fitting(len(encode((row,))) for row in shown)]
            tasks = encode(shown)
        rest = task_service_pb2.ListTasksResponse(
            next_page_token=pager.token(pack(listing.place(list_, shown[-1]))) if len(rows) > len(shown) else "",
            total_size=min(total, listing.MAX_COUNT),
            total_size_exceeded=total > listing.MAX_COUNT,
        )
        return tasks + rest.SerializeToString()

    async def UpdateTask(self, request: task_service_pb2.UpdateTaskRequest, call: Call) -> Message | bytes:
        """Reads the mask before anything is locked."""
        wanted = edit(request)

        async def work(connection: Connection) -> Message:
            [task] = await service.update_all(connection, call.principal, [wanted])
            return to_message(task)

        answer = await self._idempotency.run(call, request, work, dry_run=request.validate_only)
        if wanted.fields.get("assignee_id") is not None:
            self._jobs.wake()
        return answer

    async def DeleteTask(self, request: task_service_pb2.DeleteTaskRequest, call: Call) -> Message | bytes:
        """A missing task is no error where the caller allows it."""

        async def change(connection: Connection, _: uuid.UUID) -> Task | None:
            return (await service.delete_all(connection, call.principal, [removal(request)]))[0]

        return await self._change(request, call, request.name, change)

    async def UndeleteTask(self, request: task_service_pb2.UndeleteTaskRequest, call: Call) -> Message | bytes:
        """See the contract."""

        async def change(connection: Connection, id_: uuid.UUID) -> Task:
            return await service.undelete(connection, call.principal, id_, request.etag)

        return await self._change(request, call, request.name, change)

    async def StartTask(self, request: task_service_pb2.StartTaskRequest, call: Call) -> Message | bytes:
        """See the contract."""
        return await self._move(request, call, TaskAction.START)

    async def CompleteTask(self, request: task_service_pb2.CompleteTaskRequest, call: Call) -> Message | bytes:
        """See the contract."""
        return await self._move(request, call, TaskAction.COMPLETE, force=request.force)

    async def CancelTask(self, request: task_service_pb2.CancelTaskRequest, call: Call) -> Message | bytes:
        """See the contract."""
        return await self._move(request, call, TaskAction.CANCEL, force=request.force)

    async def ReopenTask(self, request: task_service_pb2.ReopenTaskRequest, call: Call) -> Message | bytes:
        """See the contract."""
        return await self._move(request, call, TaskAction.REOPEN)

    async def BatchCreateTasks(self, request: task_service_pb2.BatchCreateTasksRequest, call: Call) -> Message | bytes:
        """See `Batches`."""
        return await self._batches.create(request, call)

    async def BatchGetTasks(
        self, request: task_service_pb2.BatchGetTasksRequest, call: Call
    ) -> task_service_pb2.BatchGetTasksResponse:
        """See `Batches`."""
        return await self._batches.get(request, call)

    async def BatchUpdateTasks(self, request: task_service_pb2.BatchUpdateTasksRequest, call: Call) -> Message | bytes:
        """See `Batches`."""
        return await self._batches.update(request, call)

    async def BatchDeleteTasks(self, request: task_service_pb2.BatchDeleteTasksRequest, call: Call) -> Message | bytes:
        """See `Batches`."""
        return await self._batches.delete(request, call)

    async def ExportTasks(self, request: task_service_pb2.ExportTasksRequest, call: Call) -> Message | bytes:
        """See the contract."""
        return await self._files.export_tasks(request, call)

    async def ImportTasks(
        self, requests: AsyncIterator[task_service_pb2.ImportTasksRequest], call: Call
    ) -> Message | bytes:
        """See the contract."""
        return await self._files.import_tasks(requests, call)

    async def ListTaskEvents(
        self, request: task_service_pb2.ListTaskEventsRequest, call: Call
    ) -> task_service_pb2.ListTaskEventsResponse:
        """Two round trips: may the caller see the task, and its events."""
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor(8)
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            rows = await history.page(
                connection,
                call.principal,
                parse_name("tasks", request.parent),
                kinds=request.kinds,
                before=int.from_bytes(cursor) if cursor else None,
                limit=size + 1,
            )
        events = [to_event(row) for row in rows[:size]]
        del events[fitting(event.ByteSize() for event in events) :]
        token = pager.token(rows[len(events) - 1].id.to_bytes(8)) if len(rows) > len(events) else ""
        return task_service_pb2.ListTaskEventsResponse(events=events, next_page_token=token)

    def WatchTasks(
        self, request: task_service_pb2.WatchTasksRequest, call: StreamCall
    ) -> AsyncGenerator[Message | bytes, None]:
        """See `watch`."""
        return self._watcher.watch(request, call)

    async def _move(self, request: Any, call: Call, action: TaskAction, *, force: bool = False) -> Message | bytes:
        async def change(connection: Connection, id_: uuid.UUID) -> Task:
            return await service.move(connection, call.principal, id_, request.etag, action, force=force)

        return await self._change(request, call, request.name, change)

    async def _change(self, request: Any, call: Call, name: str, change: Change) -> Message | bytes:
        async def work(connection: Connection) -> Message:
            task = await change(connection, parse_name("tasks", name))
            return task_pb2.Task(name=name) if task is None else to_message(task)

        return await self._idempotency.run(call, request, work, dry_run=request.validate_only)

"""TaskService on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from taskhub.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from api_service.call import Call
from api_service.database import Connection, Database, JobNotifier
from api_service.idempotency import Idempotency
from api_service.keyset import pack, unpack
from api_service.paging import Pager, page_size
from api_service.tasks import listing, service
from api_service.tasks.messages import changed_fields, new_fields, to_message
from api_service.tasks.service import Edit, Removal
from api_service.tasks.task import Task
from shared.crypto import Secrets
from shared.errors import InvalidArgument
from shared.ids import parse_name
from shared.states import TaskAction

#: A change of one task: takes the connection and the task's id.
Change = Callable[[Connection, uuid.UUID], Awaitable[Task | None]]


class TaskServicer(task_service_pb2_grpc.TaskServiceServicer):
    """Opens the transactions; the rules are in `service`."""

    def __init__(self, database: Database, idempotency: Idempotency, secrets: Secrets, jobs: JobNotifier) -> None:
        self._database = database
        self._idempotency = idempotency
        self._secrets = secrets
        self._jobs = jobs

    async def CreateTask(self, request: task_service_pb2.CreateTaskRequest, call: Call) -> Message | bytes:
        """One round trip, key, event and stored answer included, unless there is something to look at before."""
        task = service.new_task(call.principal, new_fields(request.task))
        answer = to_message(task)
        if not service.stands_alone(call.principal, task):
            return await self._create_checked(request, call, [task], [""], answer)
        if request.validate_only:
            return answer
        record = self._idempotency.record(call, request)
        if record is None:
            async with self._database.connection() as connection:
                await service.create(connection, call.principal, task)
            return answer
        response = answer.SerializeToString()
        async with self._idempotency.turn(call, record):
            async with self._database.connection() as connection, self._idempotency.claiming(call):
                first = await service.create(connection, call.principal, task, record.parameters(response))
            return response if first else await self._idempotency.replay(call, record)

    async def _create_checked(
        self, request: Any, call: Call, tasks: list[Task], paths: list[str], answer: Message
    ) -> Message | bytes:
        async def work(connection: Connection) -> Message:
            await service.check_all(connection, call.principal, tasks, paths)
            await service.create_all(connection, call.principal, tasks)
            return answer

        result = await self._idempotency.run(call, request, work, dry_run=request.validate_only)
        self._jobs.wake()
        return result

    async def GetTask(self, request: task_service_pb2.GetTaskRequest, call: Call) -> task_pb2.Task:
        """One round trip."""
        async with self._database.connection() as connection:
            return to_message(await service.get(connection, call.principal, parse_name("tasks", request.name)))

    async def ListTasks(
        self, request: task_service_pb2.ListTasksRequest, call: Call
    ) -> task_service_pb2.ListTasksResponse:
        """One round trip: a row more than the page says whether there is a next one. Counting takes a second one."""
        list_ = service.task_list(call.principal, request.filter, request.order_by, show_deleted=request.show_deleted)
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor()
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            tasks = await listing.page(connection, list_, unpack(cursor) if cursor else None, size + 1)
            total = await listing.count(connection, list_) if request.include_total_size else 0
        return task_service_pb2.ListTasksResponse(
            tasks=[to_message(task) for task in tasks[:size]],
            next_page_token=pager.token(pack(list_.order.values(tasks[size - 1]))) if len(tasks) > size else "",
            total_size=min(total, listing.MAX_COUNT),
            total_size_exceeded=total > listing.MAX_COUNT,
        )

    async def UpdateTask(self, request: task_service_pb2.UpdateTaskRequest, call: Call) -> Message | bytes:
        """Reads the mask before anything is locked."""
        if not request.task.name:
            raise InvalidArgument("task.name", "value is required")
        edit = Edit(parse_name("tasks", request.task.name), request.task.etag, changed_fields(request))

        async def work(connection: Connection) -> Message:
            [task] = await service.update_all(connection, call.principal, [edit])
            return to_message(task)

        answer = await self._idempotency.run(call, request, work, dry_run=request.validate_only)
        if edit.fields.get("assignee_id") is not None:
            self._jobs.wake()
        return answer

    async def DeleteTask(self, request: task_service_pb2.DeleteTaskRequest, call: Call) -> Message | bytes:
        """A missing task is no error where the caller allows it."""
        removal = Removal(parse_name("tasks", request.name), request.etag, request.allow_missing, request.force)

        async def change(connection: Connection, _: uuid.UUID) -> Task | None:
            return (await service.delete_all(connection, call.principal, [removal]))[0]

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

    async def _move(self, request: Any, call: Call, action: TaskAction, *, force: bool = False) -> Message | bytes:
        async def change(connection: Connection, id_: uuid.UUID) -> Task:
            return await service.move(connection, call.principal, id_, request.etag, action, force=force)

        return await self._change(request, call, request.name, change)

    async def _change(self, request: Any, call: Call, name: str, change: Change) -> Message | bytes:
        async def work(connection: Connection) -> Message:
            task = await change(connection, parse_name("tasks", name))
            return task_pb2.Task(name=name) if task is None else to_message(task)

        return await self._idempotency.run(call, request, work, dry_run=request.validate_only)

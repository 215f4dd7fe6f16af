"""Tasks to and from files: what starts the jobs that do it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message
from taskhub.v1 import task_file_pb2, task_service_pb2

from api_service.call import Call
from api_service.database import Connection, Database
from api_service.files import queries as files
from api_service.files.spool import Upload, spooled
from api_service.idempotency import Idempotency
from api_service.jobs import queries as jobs
from api_service.jobs.servicer import to_message
from api_service.notifier import Notifier
from api_service.tasks.access import READ_ALL
from api_service.tasks.content_type import check_beginning, file_format
from shared.errors import InvalidArgument
from shared.filters.tasks import task_filter
from shared.kinds import TASKS_EXPORT, TASKS_IMPORT, JobKind
from shared.outbox import new_job
from shared.traces import traceparent

Format = task_file_pb2.TaskFile.Format
Mode = task_service_pb2.ImportTasksRequest.Mode


class TaskFiles:
    """Starts exports and imports. The jobs believe their arguments, so nobody else may make such jobs."""

    def __init__(self, database: Database, idempotency: Idempotency, notifier: Notifier, limit: int) -> None:
        self._database = database
        self._idempotency = idempotency
        self._notifier = notifier
        self._limit = limit

    async def export_tasks(self, request: task_service_pb2.ExportTasksRequest, call: Call) -> Message | bytes:
        """Enqueues the job, with what the caller may see as arguments."""
        task_filter(request.filter, call.principal.name)  # refuses here what the job would stumble over
        args = {
            "format": Format.Name(request.format),
            "filter": request.filter,
            "show_deleted": request.show_deleted,
            "principal": call.principal.name,
            "reads_all": call.principal.holds(READ_ALL),
        }
        job = _job(call, TASKS_EXPORT, args)

        async def work(connection: Connection) -> Message:
            return to_message(await jobs.insert(connection, job))

        answer = await self._idempotency.run(call, request, work, dry_run=request.validate_only)
        self._notifier.wake()
        return answer

    async def import_tasks(
        self, requests: AsyncIterator[task_service_pb2.ImportTasksRequest], call: Call
    ) -> Message | bytes:
        """Keeps the file before the key is claimed: nobody waits for the key as long as somebody's upload takes."""
        call.idempotency_key()  # a malformed one is refused before anything is sent
        first = await anext(requests, task_service_pb2.ImportTasksRequest())
        args = {
            "format": file_format(first),
            "mode": Mode.Name(first.mode or Mode.ALL_OR_NOTHING),
            "key_field": first.key_field,
            "principal": call.principal.name,
        }
        check_beginning(first.body.data)
        async with spooled(self._database, self._limit, dry=first.validate_only) as upload:
            await upload.write(first.body.data)
            async for request in requests:
                await upload.write(request.body.data)
            await upload.close()
            if not upload.size:
                raise InvalidArgument("body", "value is required")
            first.body.ClearField("data")
            answer = await self._adopt(call, first, _job(call, TASKS_IMPORT, args), upload)
        self._notifier.wake()
        return answer

    async def _adopt(
        self, call: Call, request: task_service_pb2.ImportTasksRequest, job: dict[str, Any], upload: Upload
    ) -> Message | bytes:
        ran = False

        async def work(connection: Connection) -> Message:
            nonlocal ran
            row = await jobs.insert(connection, job)
            if not request.validate_only:
                await files.adopt(connection, upload.id, row.id, upload.size, upload.sha256)
            ran = True
            return to_message(row)

        answer = await self._idempotency.run(call, request, work, content=upload.sha256, dry_run=request.validate_only)
        upload.adopted = ran
        return answer


def _job(call: Call, kind: JobKind, args: dict[str, Any]) -> dict[str, Any]:
    owner = call.principal
    return new_job(kind, args, owner_id=owner.id, owner_kind=owner.kind, traceparent=traceparent())

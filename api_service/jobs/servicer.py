"""JobService on the wire."""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import AsyncGenerator
from typing import Any

from google.api import httpbody_pb2
from google.rpc import error_details_pb2, status_pb2
from taskhub.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc

from api_service.call import Call
from api_service.database import Database
from api_service.files.download import pieces
from api_service.jobs import queries, service
from api_service.paging import Pager, page_size
from api_service.wire import set_time
from shared.crypto import Secrets
from shared.errors import InvalidArgument
from shared.ids import parse_name, resource_name

#: Metadata that only the gateway sends, and bytes that are no message.
_FROM_GATEWAY = "x-forwarded-proto"
_UNREADABLE = b"\xff"


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """Reads jobs and their attempts."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets

    async def GetJob(self, request: job_service_pb2.GetJobRequest, call: Call) -> job_pb2.Job:
        """One round trip."""
        async with self._database.connection() as connection:
            return to_message(await service.get(connection, call.principal, parse_name("jobs", request.name)))

    async def ListJobs(self, request: job_service_pb2.ListJobsRequest, call: Call) -> job_service_pb2.ListJobsResponse:
        """One round trip."""
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor(16)
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            jobs = await service.page(
                connection,
                call.principal,
                kind=request.kind,
                state=job_pb2.Job.State.Name(request.state) if request.state else None,
                before=uuid.UUID(bytes=cursor) if cursor else None,
                limit=size + 1,
            )
        token = pager.token(jobs[size - 1].id.bytes) if len(jobs) > size else ""
        return job_service_pb2.ListJobsResponse(jobs=[to_message(job) for job in jobs[:size]], next_page_token=token)

    async def ListJobAttempts(
        self, request: job_service_pb2.ListJobAttemptsRequest, call: Call
    ) -> job_service_pb2.ListJobAttemptsResponse:
        """Two round trips: may the caller see the job, and its attempts."""
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor(8)
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            rows = await service.attempts(
                connection,
                call.principal,
                parse_name("jobs", request.parent),
                before=int.from_bytes(cursor) if cursor else None,
                limit=size + 1,
            )
        token = pager.token(rows[size - 1].claim_token.to_bytes(8)) if len(rows) > size else ""
        return job_service_pb2.ListJobAttemptsResponse(
            attempts=[to_attempt(row) for row in rows[:size]], next_page_token=token
        )

    async def ReadJobResult(
        self, request: job_service_pb2.ReadJobResultRequest, call: Call
    ) -> AsyncGenerator[httpbody_pb2.HttpBody | bytes, None]:
        """The first message goes out even if it holds nothing: it brings the headers and the content type."""
        async with self._database.connection() as connection:
            file = await service.result(connection, call.principal, parse_name("jobs", request.name))
        assert file.file_id is not None and file.size is not None and file.sha256 is not None  # noqa: S101,PT018
        if request.offset > file.size:
            raise InvalidArgument("offset", f"the file ends at {file.size}")
        call.initial_metadata += [
            ("content-disposition", f'attachment; filename="{file.name}"'),
            ("repr-digest", f"sha-256=:{b64encode(file.sha256).decode()}:"),
            ("x-taskhub-size", str(file.size)),
            ("x-taskhub-length", str(file.size - request.offset)),
        ]
        message = httpbody_pb2.HttpBody(content_type=file.content_type)
        if request.offset == file.size:
            yield message
        try:
            async for data in pieces(self._database, file.file_id, file.size, request.offset):
                message.data = data
                yield message
                message = httpbody_pb2.HttpBody()
        except Exception:
            # Over HTTP/1.1 nobody would hear of it, but the gateway resets a stream whose messages it cannot read.
            if _FROM_GATEWAY in call.metadata:
                yield _UNREADABLE
            raise


def to_message(row: queries.JobRow) -> job_pb2.Job:
    """Returns the job as the contract shows it."""
    message = job_pb2.Job(
        name=resource_name("jobs", row.id),
        kind=row.kind,
        queue=row.queue,
        priority=row.priority,
        state=row.state,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        task=resource_name("tasks", row.task_id) if row.task_id else "",
        owner=resource_name(row.owner_kind, row.owner_id) if row.owner_id else "",
        error=to_status(row.error),
    )
    message.args.update(row.args)
    if row.progress_fraction is not None:
        message.progress.fraction = row.progress_fraction
        message.progress.note = row.progress_note or ""
    if row.result is not None:
        message.result.update(row.result)
    for field in ("schedule_time", "lease_expire_time", "create_time", "start_time", "end_time"):
        value = getattr(row, field)
        if value is not None:
            set_time(getattr(message, field), value)
    return message


def to_attempt(row: queries.AttemptRow) -> job_pb2.JobAttempt:
    """Returns the attempt as the contract shows it."""
    message = job_pb2.JobAttempt(
        attempt=row.attempt,
        state=row.state,
        worker=row.worker,
        error=to_status(row.error),
    )
    set_time(message.start_time, row.start_time)
    if row.end_time is not None:
        set_time(message.end_time, row.end_time)
    return message


def to_status(error: dict[str, Any] | None) -> status_pb2.Status | None:
    """Returns the failure that a row keeps as JSON, or None."""
    if error is None:
        return None
    status = status_pb2.Status(code=error["code"], message=error["message"])
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error["reason"], domain="taskhub"))
    return status

"""Who may see which jobs."""

from __future__ import annotations

import uuid

from api_service.database import Connection
from api_service.jobs import queries
from api_service.principal import Principal
from shared.errors import JobResultMissing, NotFound

READ_ALL = "jobs.read_all"


async def get(connection: Connection, principal: Principal, id_: uuid.UUID) -> queries.JobRow:
    """Returns a job. Raises NotFound, also for one that runs on somebody else's behalf."""
    job = await queries.get(connection, id_, reader=principal.id, reads_all=principal.holds(READ_ALL))
    if job is None:
        raise NotFound
    return job


async def result(connection: Connection, principal: Principal, id_: uuid.UUID) -> queries.ResultRow:
    """Returns the file that a job left behind. Raises NotFound as `get` does, and JobResultMissing without one."""
    file = await queries.result(connection, id_, reader=principal.id, reads_all=principal.holds(READ_ALL))
    if file is None:
        raise NotFound
    if file.file_id is None:
        raise JobResultMissing
    return file


async def page(
    connection: Connection,
    principal: Principal,
    *,
    kind: str,
    state: str | None,
    before: uuid.UUID | None,
    limit: int,
) -> list[queries.JobRow]:
    """Returns the jobs that the caller may see, newest first."""
    owner = None if principal.holds(READ_ALL) else principal.id
    return await queries.page(connection, owner=owner, kind=kind, state=state, before=before, limit=limit)


async def attempts(
    connection: Connection, principal: Principal, job_id: uuid.UUID, *, before: int | None, limit: int
) -> list[queries.AttemptRow]:
    """Returns the attempts at a job that the caller may see, newest first."""
    await get(connection, principal, job_id)
    return await queries.attempts(connection, job_id, before=before, limit=limit)

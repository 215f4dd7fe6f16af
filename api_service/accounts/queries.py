"""The SQL that accounts of every kind share."""

from __future__ import annotations

from typing import Any

from api_service.database import Connection
from shared.orphans import DELETE_OWNED, UNASSIGN
from shared.outbox import INSERT_JOB


async def delete_tasks(connection: Connection, parameters: dict[str, Any]) -> int:
    """Marks live tasks of an account as deleted, with an event each; returns how many."""
    return (await connection.execute(DELETE_OWNED, parameters)).rowcount


async def unassign(connection: Connection, parameters: dict[str, Any]) -> int:
    """Takes an account from live tasks that it was to do, with an event each; returns how many."""
    return (await connection.execute(UNASSIGN, parameters)).rowcount


async def enqueue(connection: Connection, job: dict[str, Any]) -> None:
    """Promises a job, in the transaction of what caused it."""
    await connection.execute(INSERT_JOB, job)

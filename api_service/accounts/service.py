"""What becomes of the tasks of a deleted account. Knows no gRPC, and never commits."""

from __future__ import annotations

import uuid
from datetime import datetime

from api_service.accounts import queries
from api_service.database import Connection
from shared.kinds import HOUSEKEEPING
from shared.orphans import orphans
from shared.outbox import new_job

#: Tasks that go with the account itself; with more, its owner would wait longer. About half a second's worth.
AT_ONCE = 10_000


async def leave_tasks(
    connection: Connection, account: uuid.UUID, name: str, actor: str, delete_time: datetime, purge_time: datetime
) -> None:
    """Marks the live tasks of an account as deleted with it, and takes it from those that it was to do.

    Of very many, the rest is housekeeping's, which is asked for at once.
    """
    parameters = orphans(account, name, actor, delete_time, purge_time) | {"limit": AT_ONCE}
    deleted = await queries.delete_tasks(connection, parameters)
    changed = await queries.unassign(connection, parameters)
    if AT_ONCE in (deleted, changed):
        await queries.enqueue(connection, new_job(HOUSEKEEPING, {"account": str(account)}))

"""What happened to a task."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from api_service.database import Connection
from api_service.events import queries
from api_service.events.queries import EventRow
from api_service.principal import Principal
from api_service.tasks import service


async def page(
    connection: Connection,
    principal: Principal,
    id_: uuid.UUID,
    *,
    kinds: Collection[str],
    before: int | None,
    limit: int,
) -> list[EventRow]:
    """Returns what happened to a task, newest first. Raises NotFound where the caller may not see it."""
    task = await service.get(connection, principal, id_)
    return await queries.history(connection, task.name, kinds=kinds, before=before, limit=limit)

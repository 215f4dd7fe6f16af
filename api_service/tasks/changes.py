"""Writing what becomes of tasks: the rows, their events and their notices, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from api_service.database import Connection
from api_service.principal import Principal
from api_service.tasks import queries
from api_service.tasks.family import Family
from api_service.tasks.notices import notices
from api_service.tasks.task import Task, differences, subject
from shared.events import new_event


class Change(NamedTuple):
    """What becomes of a task, and what the log calls that."""

    kind: str
    before: Task
    after: Task


async def write(connection: Connection, principal: Principal, changes: Sequence[Change]) -> Family:
    """Writes what has changed, its events and its notices in one statement; returns every task as it is now."""
    now = datetime.now(UTC)
    result: Family = {}
    events: list[dict[str, Any]] = []
    mails: list[dict[str, Any]] = []
    for kind, before, after in changes:
        differing = differences(before, after)
        result[before.id] = before
        if differing:
            task = after._replace(version=before.version + 1, update_time=now)
            result[task.id] = task
            event = new_event(kind, task.name, principal.name, owner_id=task.owner_id, changes=differing)
            events.append(event | {"event_subject": subject(task)})
            mails += notices(principal, before, task, now)
    if events:
        changed = [task for change in changes if (task := result[change.before.id]) is not change.before]
        await queries.update_all(connection, changed, events, mails)
    return result

"""The rules of tasks. Knows no gRPC, and never commits."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from api_service.database import Connection
from api_service.principal import Principal
from api_service.tasks import queries
from api_service.tasks.task import PURGE_AFTER, Task, differences
from shared.errors import EtagMismatch, NotFound, StateTransitionInvalid, TaskNotDeleted
from shared.events import new_event
from shared.ids import new_id
from shared.states import TASK_TRANSITIONS, TaskAction, TaskState


def new_task(principal: Principal, fields: dict[str, Any]) -> Task:
    """Returns a task of the caller's, as it will be written."""
    now = datetime.now(UTC)
    return Task(
        id=new_id(), owner_id=principal.id, owner_kind=principal.kind, create_time=now, update_time=now, **fields
    )


def created(principal: Principal, task: Task) -> dict[str, Any]:
    """Returns the event of a new task."""
    changes = {"title": [None, task.title]}
    return new_event("task.created", task.name, principal.name, owner_id=task.owner_id, changes=changes)


async def get(connection: Connection, principal: Principal, id_: uuid.UUID) -> Task:
    """Returns a task, deleted or not. Raises NotFound, also for a stranger's."""
    task = await queries.get(connection, id_, reader=principal.id, reads_all=principal.holds("tasks.read_all"))
    if task is None:
        raise NotFound
    return task


async def page(
    connection: Connection, principal: Principal, *, show_deleted: bool, before: uuid.UUID | None, limit: int
) -> list[Task]:
    """Returns the tasks that the caller may see, newest first."""
    owner = None if principal.holds("tasks.read_all") else principal.id
    return await queries.page(connection, owner=owner, show_deleted=show_deleted, before=before, limit=limit)


async def update(
    connection: Connection, principal: Principal, id_: uuid.UUID, etag: str, fields: dict[str, Any]
) -> Task:
    """Changes `fields` of a live task. What is as it was leaves no event and no new etag."""
    task = await _lock(connection, principal, id_, etag)
    return await _write(connection, principal, "task.updated", task, task._replace(**fields))


async def move(connection: Connection, principal: Principal, id_: uuid.UUID, etag: str, action: TaskAction) -> Task:
    """Moves a live task to its next state. Raises StateTransitionInvalid where the table of states has no such move."""
    task = await _lock(connection, principal, id_, etag)
    sources, target = TASK_TRANSITIONS[action]
    if task.state not in sources:
        raise StateTransitionInvalid(
            f"A task that is {task.state} cannot {action}; it must be {' or '.join(sorted(sources))}.",
            state=task.state,
            expected=",".join(sorted(sources)),
        )
    complete_time = datetime.now(UTC) if target is TaskState.DONE else None
    moved = task._replace(state=target.value, complete_time=complete_time)
    return await _write(connection, principal, EVENTS[action], task, moved)


async def delete(connection: Connection, principal: Principal, id_: uuid.UUID, etag: str) -> Task:
    """Marks a live task as deleted."""
    task = await _lock(connection, principal, id_, etag)
    now = datetime.now(UTC)
    gone = task._replace(delete_time=now, purge_time=now + PURGE_AFTER)
    return await _write(connection, principal, "task.deleted", task, gone)


async def undelete(connection: Connection, principal: Principal, id_: uuid.UUID, etag: str) -> Task:
    """Brings a deleted task back."""
    task = await _lock(connection, principal, id_, etag, deleted=True)
    if task.delete_time is None:
        raise TaskNotDeleted
    back = task._replace(delete_time=None, purge_time=None)
    return await _write(connection, principal, "task.undeleted", task, back)


EVENTS: dict[TaskAction, str] = {
    TaskAction.START: "task.started",
    TaskAction.COMPLETE: "task.completed",
    TaskAction.CANCEL: "task.cancelled",
    TaskAction.REOPEN: "task.reopened",
}


async def _lock(
    connection: Connection, principal: Principal, id_: uuid.UUID, etag: str, *, deleted: bool = False
) -> Task:
    task = await queries.lock(connection, id_, writer=principal.id, writes_all=principal.holds("tasks.write_all"))
    if task is None or (task.delete_time is not None and not deleted):
        raise NotFound
    if etag and etag != task.etag:
        raise EtagMismatch(etag=task.etag)
    return task


async def _write(connection: Connection, principal: Principal, kind: str, before: Task, after: Task) -> Task:
    changes = differences(before, after)
    if not changes:
        return before
    after = after._replace(version=before.version + 1, update_time=datetime.now(UTC))
    event = new_event(kind, after.name, principal.name, owner_id=after.owner_id, changes=changes)
    await queries.update(connection, after, event)
    return after

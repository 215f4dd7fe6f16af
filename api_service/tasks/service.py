"""The rules of tasks. Knows no gRPC, and never commits."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, assert_never

from api_service.connection import WatchedConnection
from api_service.database import Connection
from api_service.principal import Principal
from api_service.tasks import listing, queries
from api_service.tasks.access import READ_ALL, demand_owner
from api_service.tasks.changes import Change, write
from api_service.tasks.elements import element
from api_service.tasks.family import (
    Accounts,
    Family,
    attach,
    check_parent,
    find,
    hanging_on,
    held,
    lock,
    lock_family,
    lock_to_change,
    lock_with_parts,
    reach,
)
from api_service.tasks.notices import notices
from api_service.tasks.queries import Part
from api_service.tasks.task import PURGE_AFTER, Task, all_of
from api_service.tasks.tree import Forest
from shared.errors import (
    FieldsInvalid,
    InvalidArgument,
    NotFound,
    StateTransitionInvalid,
    SubtasksExist,
    SubtasksOpen,
    TaskNotDeleted,
)
from shared.events import new_event
from shared.ids import new_id
from shared.states import TASK_TRANSITIONS, TaskAction, TaskState


class Edit(NamedTuple):
    """What a caller wants to become of a task.

    `told` is what they say of fields that cannot be changed in this way, and `path` is where in a batch that was said.
    """

    id: uuid.UUID
    etag: str
    fields: dict[str, Any]
    told: dict[str, Any]
    path: str = ""


class Removal(NamedTuple):
    """A task that a caller wants to be deleted, `force` with its subtasks. `path` is where in a batch that was said."""

    id: uuid.UUID
    etag: str
    allow_missing: bool = False
    force: bool = False
    path: str = ""


def new_task(principal: Principal, fields: dict[str, Any]) -> Task:
    """Returns a task of the caller's, as it will be written."""
    now = datetime.now(UTC)
    return Task(
        id=new_id(), owner_id=principal.id, owner_kind=principal.kind, create_time=now, update_time=now, **fields
    )


def created(principal: Principal, task: Task) -> dict[str, Any]:
    """Returns the event of a new task."""
    return new_event("task.created", task.name, principal.name, owner_id=task.owner_id, changes=all_of(task))


def stands_alone(principal: Principal, task: Task) -> bool:
    """Whether a new task can be written without a look at anything else."""
    return task.parent_id is None and task.assignee_id in (None, principal.id)


async def create_all(connection: Connection, principal: Principal, tasks: Sequence[Task]) -> None:
    """Writes new tasks in one statement."""
    events, mails = _caused(principal, tasks)
    if len(tasks) > 1 or mails:
        await queries.insert_all(connection, tasks, events, mails)
    else:
        await queries.insert(connection, tasks[0], events[0])


async def create_once(
    connection: WatchedConnection, principal: Principal, tasks: Sequence[Task], claim: dict[str, Any]
) -> bool:
    """Writes new tasks in one statement; or nothing, where the claim on the key finds it taken."""
    events, mails = _caused(principal, tasks)
    if len(tasks) > 1 or mails:
        return await queries.insert_all(connection, tasks, events, mails, claim)
    return await queries.insert_once(connection, tasks[0], events[0], claim)


def _caused(principal: Principal, tasks: Sequence[Task]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the events of new tasks, and their notices."""
    now = datetime.now(UTC)
    events = [created(principal, task) for task in tasks]
    return events, [each for task in tasks for each in notices(principal, None, task, now)]


async def check_all(connection: Connection, principal: Principal, tasks: Sequence[Task], paths: Sequence[str]) -> None:
    """Checks what new tasks refer to, and keeps it so until the end of the transaction.

    Raises InvalidArgument for an assignee or a parent that cannot be, and for a parent what `_attach` raises.
    """
    parents = {task.parent_id for task in tasks if task.parent_id is not None}
    assignees = {task.assignee_id for task in tasks if task.assignee_id is not None}
    family, forest, accounts = await lock_to_change(connection, principal, (), parents, assignees)
    for task, path in zip(tasks, paths, strict=True):
        with element(path):
            _check_assignee(accounts, task)
            if task.parent_id is not None:
                attach(family, forest, task, task.parent_id)


async def get(connection: Connection, principal: Principal, id_: uuid.UUID) -> Task:
    """Returns a task, deleted or not. Raises NotFound, also for a stranger's."""
    task = await queries.get(connection, id_, reader=principal.id, reads_all=principal.holds(READ_ALL))
    if task is None:
        raise NotFound
    return task


def task_list(principal: Principal, filter_: str, order_by: str, *, show_deleted: bool) -> listing.TaskList:
    """Returns a list of the tasks that the caller may see. Raises FilterInvalid or OrderInvalid."""
    reader = None if principal.holds(READ_ALL) else principal.id
    return listing.task_list(reader, filter_, order_by, show_deleted=show_deleted, me=principal.name)


async def get_all(connection: Connection, principal: Principal, ids: Sequence[uuid.UUID]) -> list[Task]:
    """Returns tasks, deleted or not, in the order of `ids`. Raises NotFound where `get` would."""
    found = await queries.get_all(connection, ids, reader=principal.id, reads_all=principal.holds(READ_ALL))
    for index, id_ in enumerate(ids):
        with element(f"names[{index}]"):
            if id_ not in found:
                raise NotFound
    return [found[id_] for id_ in ids]


async def update_all(connection: Connection, principal: Principal, edits: Sequence[Edit]) -> list[Task]:
    """Changes live tasks. What is as it was leaves no event and no new etag.

    Raises InvalidArgument for what is told and not so, OwnerOnly where an assignee changes the assignee or the parent,
    and what `check_all` raises.
    """
    ids = [edit.id for edit in edits]
    parents, assignees = _named(edits, "parent_id"), _named(edits, "assignee_id")
    family, forest, accounts = await lock_to_change(connection, principal, ids, parents, assignees)
    changes = []
    for edit in edits:
        with element(edit.path):
            task = reach(principal, family, edit.id, edit.etag)
            _check_told(task, edit.told)
            changes.append(Change("task.updated", task, task._replace(**edit.fields)))
    for edit, change in zip(edits, changes, strict=True):
        with element(edit.path):
            _check_change(principal, family, forest, accounts, change)
    written = await write(connection, principal, changes)
    return [written[edit.id] for edit in edits]


async def move(
    connection: Connection, principal: Principal, id_: uuid.UUID, etag: str, action: TaskAction, *, force: bool = False
) -> Task:
    """Moves a live task to its next state, `force` with its open subtasks.

    Raises StateTransitionInvalid where the table of states has no such move, SubtasksOpen and ParentClosed where a
    closed task would be left with an open part.
    """
    parts: list[Part] = []
    match action:
        case TaskAction.START:
            family = await queries.ask(connection, lock(principal, [id_]))
        case TaskAction.REOPEN:
            family = await queries.ask(connection, lock_family(principal, [id_]))
        case TaskAction.COMPLETE | TaskAction.CANCEL:
            family, parts = await lock_with_parts(connection, principal, [id_], [id_] if force else [])
        case _:
            assert_never(action)
    task = reach(principal, family, id_, etag)
    moving = [_moved(task, action)]
    if action is TaskAction.REOPEN:
        check_parent(family, moving[0].after)
    if open_parts := [part for part in parts if part.open]:
        if not force:
            raise SubtasksOpen
        demand_owner(principal, task)
        moving += [_moved(part, action) for part in held(family, open_parts)]
    return (await write(connection, principal, moving))[id_]


async def delete_all(connection: Connection, principal: Principal, removals: Sequence[Removal]) -> list[Task | None]:
    """Marks live tasks as deleted, and returns them; None for one that is missing and may be.

    Raises SubtasksExist where a subtask would be left, and OwnerOnly for an assignee.
    """
    ids = [removal.id for removal in removals]
    forced = [removal.id for removal in removals if removal.force]
    family, parts = await lock_with_parts(connection, principal, ids, forced)
    found: list[Task | None] = []
    for removal in removals:
        with element(removal.path):
            found.append(_reach_to_delete(principal, family, removal))
    doomed = {task.id: task for task in found if task is not None}
    parts = [part for part in parts if part.live]
    doomed |= {part.id: part for part in held(family, hanging_on(parts, doomed.keys() & forced))}
    left = {part.parent_id for part in parts if part.id not in doomed}
    for removal in removals:
        with element(removal.path):
            if removal.id in left and removal.id in doomed:
                raise SubtasksExist
    now = datetime.now(UTC)
    gone = [
        Change("task.deleted", task, task._replace(delete_time=now, purge_time=now + PURGE_AFTER))
        for task in doomed.values()
    ]
    written = await write(connection, principal, gone)
    return [task and written[task.id] for task in found]


async def undelete(connection: Connection, principal: Principal, id_: uuid.UUID, etag: str) -> Task:
    """Brings a deleted task back, with the subtasks that were deleted by the same call.

    Raises TaskNotDeleted, ParentDeleted and ParentClosed.
    """
    family, parts = await lock_with_parts(connection, principal, [id_], [id_])
    task = find(principal, family, id_, etag)
    demand_owner(principal, task)
    if task.live:
        raise TaskNotDeleted
    check_parent(family, task)
    with_it = [part for part in parts if part.delete_time == task.delete_time]
    back = [
        Change("task.undeleted", each, each._replace(delete_time=None, purge_time=None))
        for each in (task, *held(family, hanging_on(with_it, {id_})))
    ]
    return (await write(connection, principal, back))[id_]


EVENTS: dict[TaskAction, str] = {
    TaskAction.START: "task.started",
    TaskAction.COMPLETE: "task.completed",
    TaskAction.CANCEL: "task.cancelled",
    TaskAction.REOPEN: "task.reopened",
}


def _named(edits: Iterable[Edit], field: str) -> set[uuid.UUID]:
    """Returns what the edits say that tasks are to be part of, or who is to do them."""
    return {id_ for edit in edits if (id_ := edit.fields.get(field)) is not None}


def _check_told(task: Task, told: dict[str, Any]) -> None:
    """Lets whoever sends a task back as they read it do so, and nobody believe that more has changed than has."""
    wrong = [field for field, value in told.items() if getattr(task, field) != value]
    if wrong:
        raise FieldsInvalid([(f"task.{field}", "is not as it was sent, and cannot be changed here") for field in wrong])


def _check_change(principal: Principal, family: Family, forest: Forest, accounts: Accounts, change: Change) -> None:
    before, after = change.before, change.after
    if after.assignee != before.assignee:
        demand_owner(principal, before)
        _check_assignee(accounts, after)
    if after.parent_id != before.parent_id:
        demand_owner(principal, before)
        if after.parent_id is None:
            forest.detach(after.id)
        else:
            attach(family, forest, after, after.parent_id)


def _reach_to_delete(principal: Principal, family: Family, removal: Removal) -> Task | None:
    try:
        task = reach(principal, family, removal.id, removal.etag)
    except NotFound:
        if removal.allow_missing:
            return None
        raise
    demand_owner(principal, task)
    return task


def _moved(task: Task, action: TaskAction) -> Change:
    sources, target = TASK_TRANSITIONS[action]
    if task.state not in sources:
        raise StateTransitionInvalid(
            f"A task that is {task.state} cannot {action}; it must be {' or '.join(sorted(sources))}.",
            state=task.state,
            expected=",".join(sorted(sources)),
        )
    complete_time = datetime.now(UTC) if target is TaskState.DONE else None
    return Change(EVENTS[action], task, task._replace(state=target.value, complete_time=complete_time))


def _check_assignee(accounts: Accounts, task: Task) -> None:
    if task.assignee_id is not None and (task.assignee_id, task.assignee_kind) not in accounts:
        raise InvalidArgument("task.assignee", "is no account that a task can be assigned to")

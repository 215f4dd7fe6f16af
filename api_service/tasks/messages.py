"""Tasks between rows and messages, and what an update mask means."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

from google.protobuf.timestamp_pb2 import Timestamp
from taskhub.v1 import task_pb2, task_service_pb2

from api_service.tasks.task import NORMAL, Task
from api_service.wire import get_time, set_time
from shared.errors import InvalidArgument
from shared.ids import parse_name

#: Names by the numbers that the column holds.
PRIORITIES: dict[int, str] = {number: name for name, number in task_pb2.Task.Priority.items()}
_STATES: dict[int, str] = {number: name for name, number in task_pb2.Task.State.items()}


def to_message(task: Task) -> task_pb2.Task:
    """Returns the task as the contract shows it. Up to a thousand make a page: what is absent costs nothing."""
    message = task_pb2.Task(
        name=task.name,
        title=task.title,
        state=task.state,
        priority=PRIORITIES[task.priority],
        owner=task.owner,
        etag=task.etag,
    )
    if task.description:
        message.description = task.description
    if task.labels:
        labels = message.labels
        for key, value in task.labels.items():  # update() costs three times as much
            labels[key] = value
    if task.assignee_id is not None:
        message.assignee = task.assignee or ""
    if task.parent_id is not None:
        message.parent_task = task.parent_task or ""
    _set_times(message, task)
    return message


def _set_times(message: task_pb2.Task, task: Task) -> None:
    if task.create_time is not None:
        set_time(message.create_time, task.create_time)
    if task.update_time is not None:
        set_time(message.update_time, task.update_time)
    if task.due_time is not None:
        set_time(message.due_time, task.due_time)
    if task.remind_time is not None:
        set_time(message.remind_time, task.remind_time)
    if task.complete_time is not None:
        set_time(message.complete_time, task.complete_time)
    if task.delete_time is not None:
        set_time(message.delete_time, task.delete_time)
    if task.purge_time is not None:
        set_time(message.purge_time, task.purge_time)


NANOS = 1_000_000_000

#: How each field that a caller may change is read, into the fields of a row. One that is absent is read as cleared.
READERS: dict[str, Callable[[task_pb2.Task], dict[str, Any]]] = {
    "title": lambda task: {"title": task.title},
    "description": lambda task: {"description": task.description},
    "priority": lambda task: {"priority": task.priority or NORMAL},
    "labels": lambda task: {"labels": dict(task.labels)},
    "due_time": lambda task: {"due_time": _time(task, "due_time")},
    "remind_time": lambda task: {"remind_time": _time(task, "remind_time")},
    "assignee": lambda task: _assignee(task.assignee),
    "parent_task": lambda task: {"parent_id": parse_name("tasks", task.parent_task) if task.parent_task else None},
}


#: The fields that only TaskHub and the custom methods set, and how each is read, to be compared with a row.
SET_BY_US: dict[str, Callable[[task_pb2.Task], Any]] = {
    "state": lambda task: _STATES.get(task.state),
    "owner": lambda task: task.owner,
    **{
        name: lambda task, name=name: _time(task, name)  # type: ignore[misc]
        for name in ("create_time", "update_time", "complete_time", "delete_time", "purge_time")
    },
}


def new_fields(task: task_pb2.Task) -> dict[str, Any]:
    """Returns the fields of a task to create. Raises InvalidArgument without a title."""
    if not task.title:
        raise InvalidArgument("task.title", "value is required")
    return _read(task, READERS)


def changed_fields(request: task_service_pb2.UpdateTaskRequest) -> dict[str, Any]:
    """Returns the fields to change and their values, as the mask says (AIP-134).

    No mask means the fields that are present, `*` all of them. Raises InvalidArgument for a mask that names no field,
    an unknown one, or one that the caller cannot change.
    """
    paths = list(request.update_mask.paths)
    if not paths:
        paths = [field for field in READERS if _present(request.task, field)]
        if not paths:
            _refuse_nothing(request.task)
    elif paths == ["*"]:
        paths = list(READERS)
    for path in paths:
        _check(path)
    fields = _read(request.task, paths)
    if fields.get("title") == "":
        raise InvalidArgument("task.title", "cannot be cleared")
    return fields


def told_fields(request: task_service_pb2.UpdateTaskRequest) -> dict[str, Any]:
    """Returns what the request says of fields that only TaskHub sets; nothing where a mask names what it is about."""
    if list(request.update_mask.paths) not in ([], ["*"]):
        return {}
    present = {field.name for field, _ in request.task.ListFields()}
    return {field: read(request.task) for field, read in SET_BY_US.items() if field in present}


def _refuse_nothing(task: task_pb2.Task) -> NoReturn:
    for field, _ in task.ListFields():
        if field.name in SET_BY_US:
            raise InvalidArgument(f"task.{field.name}", "cannot be changed by UpdateTask")
    raise InvalidArgument("update_mask", "names no field, and no field is present; to clear `labels`, name them")


def _read(task: task_pb2.Task, paths: Iterable[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for path in paths:
        fields |= READERS[path](task)
    return fields


def _time(task: task_pb2.Task, name: str) -> datetime | None:
    if not task.HasField(name):
        return None
    field: Timestamp = getattr(task, name)
    # What JSON cannot say, and protobuf can: not a time by the definition of Timestamp.
    if not 0 <= field.nanos < NANOS:
        raise InvalidArgument(f"task.{name}", "nanos must be 0 to 999,999,999")
    try:
        return get_time(field)
    except OverflowError:
        raise InvalidArgument(f"task.{name}", "is no time of the years 1 to 9999") from None


def _assignee(name: str) -> dict[str, Any]:
    kind, _, id_ = name.partition("/")
    return {"assignee_id": uuid.UUID(id_) if id_ else None, "assignee_kind": kind or None}


def _present(task: task_pb2.Task, field: str) -> bool:
    return bool(task.labels) if field == "labels" else task.HasField(field)


def _check(path: str) -> None:
    if path in READERS:
        return
    if path == "*":
        raise InvalidArgument("update_mask", "`*` stands alone or not at all")
    whole = path.partition(".")[0]
    if whole in READERS:
        raise InvalidArgument("update_mask", f"`{path[:100]}` is no field by itself; `{whole}` changes as a whole")
    if path in task_pb2.Task.DESCRIPTOR.fields_by_name:
        raise InvalidArgument("update_mask", f"`{path}` cannot be changed by UpdateTask")
    raise InvalidArgument("update_mask", f"`{path[:100]}` is not a field of Task")

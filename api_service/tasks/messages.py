"""Tasks between rows and messages, and what an update mask means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from taskhub.v1 import task_pb2, task_service_pb2

from api_service.tasks.task import NORMAL, Task
from api_service.wire import get_time, set_time
from shared.errors import InvalidArgument

#: Names by the numbers that the column holds.
PRIORITIES: dict[int, str] = {number: name for name, number in task_pb2.Task.Priority.items()}


def to_message(task: Task) -> task_pb2.Task:
    """Returns the task as the contract shows it."""
    message = task_pb2.Task(
        name=task.name,
        title=task.title,
        state=task.state,
        priority=PRIORITIES[task.priority],
        labels=task.labels,
        owner=task.owner,
        etag=task.etag,
    )
    if task.description:
        message.description = task.description
    if task.create_time is not None:
        set_time(message.create_time, task.create_time)
    if task.update_time is not None:
        set_time(message.update_time, task.update_time)
    if task.due_time is not None:
        set_time(message.due_time, task.due_time)
    if task.complete_time is not None:
        set_time(message.complete_time, task.complete_time)
    if task.delete_time is not None:
        set_time(message.delete_time, task.delete_time)
    if task.purge_time is not None:
        set_time(message.purge_time, task.purge_time)
    return message


NANOS = 1_000_000_000

#: How each field that a caller may change is read. A field that is absent is read as cleared.
READERS: dict[str, Callable[[task_pb2.Task], Any]] = {
    "title": lambda task: task.title,
    "description": lambda task: task.description,
    "priority": lambda task: task.priority or NORMAL,
    "labels": lambda task: dict(task.labels),
    "due_time": lambda task: _due_time(task.due_time) if task.HasField("due_time") else None,
}


def new_fields(task: task_pb2.Task) -> dict[str, Any]:
    """Returns the fields of a task to create. Raises InvalidArgument without a title."""
    if not task.title:
        raise InvalidArgument("task.title", "value is required")
    return {field: read(task) for field, read in READERS.items()}


def changed_fields(request: task_service_pb2.UpdateTaskRequest) -> dict[str, Any]:
    """Returns the fields to change and their values, as the mask says (AIP-134).

    No mask means the fields that are present, `*` all of them. Raises InvalidArgument for a mask that names no field,
    an unknown one, or one that the caller cannot change.
    """
    paths = list(request.update_mask.paths)
    if not paths:
        paths = [field for field in READERS if _present(request.task, field)]
        if not paths:
            raise InvalidArgument("update_mask", "names no field, and no field is present")
    elif paths == ["*"]:
        paths = list(READERS)
    for path in paths:
        _check(path)
    fields = {path: READERS[path](request.task) for path in paths}
    if fields.get("title") == "":
        raise InvalidArgument("task.title", "cannot be cleared")
    return fields


def _due_time(field: Timestamp) -> datetime:
    # What JSON cannot say, and protobuf can: not a time by the definition of Timestamp.
    if not 0 <= field.nanos < NANOS:
        raise InvalidArgument("task.due_time", "nanos must be 0 to 999,999,999")
    return get_time(field)


def _present(task: task_pb2.Task, field: str) -> bool:
    return bool(task.labels) if field == "labels" else task.HasField(field)


def _check(path: str) -> None:
    if path in READERS:
        return
    if path == "*":
        raise InvalidArgument("update_mask", "`*` stands alone or not at all")
    if path in task_pb2.Task.DESCRIPTOR.fields_by_name:
        raise InvalidArgument("update_mask", f"`{path}` cannot be changed by UpdateTask")
    raise InvalidArgument("update_mask", f"`{path[:100]}` is not a field of Task")

"""What a request asks for, as the rules take it."""

from __future__ import annotations

from taskhub.v1 import task_service_pb2

from api_service.tasks.messages import changed_fields, told_fields
from api_service.tasks.service import Edit, Removal
from shared.errors import InvalidArgument
from shared.ids import parse_name


def edit(request: task_service_pb2.UpdateTaskRequest, path: str = "") -> Edit:
    """Returns what is to become of a task. Raises InvalidArgument for a mask or a field that cannot be."""
    if not request.task.name:
        raise InvalidArgument("task.name", "value is required")
    return Edit(
        parse_name("tasks", request.task.name), request.task.etag, changed_fields(request), told_fields(request), path
    )


def removal(request: task_service_pb2.DeleteTaskRequest, path: str = "") -> Removal:
    """Returns which task is to be deleted, and on which conditions."""
    return Removal(parse_name("tasks", request.name), request.etag, request.allow_missing, request.force, path)

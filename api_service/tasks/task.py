"""The task as the rules see it."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from shared.ids import resource_name
from shared.states import TaskState

#: How long a deleted task can be brought back.
PURGE_AFTER = timedelta(days=30)

NORMAL = 2


class Task(NamedTuple):
    """A row of `tasks`, in the order of `COLUMNS`."""

    id: uuid.UUID
    owner_id: uuid.UUID
    owner_kind: str
    title: str
    description: str = ""
    state: str = TaskState.TODO
    priority: int = NORMAL
    labels: dict[str, str] = {}  # noqa: RUF012  never changed in place
    due_time: datetime | None = None
    version: int = 1
    create_time: datetime | None = None
    update_time: datetime | None = None
    complete_time: datetime | None = None
    delete_time: datetime | None = None
    purge_time: datetime | None = None

    @property
    def name(self) -> str:
        """Resource name of the task."""
        return resource_name("tasks", self.id)

    @property
    def owner(self) -> str:
        """Resource name of the owner."""
        return resource_name(self.owner_kind, self.owner_id)

    @property
    def etag(self) -> str:
        """Changes with every change of the task (AIP-154)."""
        return f'"{self.version}"'


def differences(before: Task, after: Task) -> dict[str, Any]:
    """Returns what changed, as the log keeps it: field → [old, new]."""
    return {
        field: [_plain(old), _plain(new)]
        for field, old, new in zip(Task._fields, before, after, strict=True)
        if old != new and field not in ("version", "update_time")
    }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value

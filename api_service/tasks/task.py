"""The task as the rules see it."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from shared.events import beginnings, plain
from shared.filters.match import KEPT
from shared.ids import resource_name
from shared.states import TaskState

#: How long a deleted task can be brought back.
PURGE_AFTER = timedelta(days=30)

NORMAL = 2

#: The states in which there is still something to do.
OPEN = frozenset({TaskState.TODO, TaskState.IN_PROGRESS})


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
    remind_time: datetime | None = None
    assignee_id: uuid.UUID | None = None
    assignee_kind: str | None = None
    parent_id: uuid.UUID | None = None
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
    def assignee(self) -> str | None:
        """Resource name of whoever is to do it."""
        if self.assignee_id is None or self.assignee_kind is None:
            return None
        return resource_name(self.assignee_kind, self.assignee_id)

    @property
    def parent_task(self) -> str | None:
        """Resource name of the task that this one is a part of."""
        return None if self.parent_id is None else resource_name("tasks", self.parent_id)

    @property
    def etag(self) -> str:
        """Changes with every change of the task (AIP-154)."""
        return f'"{self.version}"'

    @property
    def live(self) -> bool:
        """Whether it is not deleted."""
        return self.delete_time is None

    @property
    def open(self) -> bool:
        """Whether there is still something to do."""
        return self.state in OPEN


#: What the log tells of a change, in the words of the contract.
_LOGGED = (
    "title", "description", "state", "priority", "labels", "due_time", "remind_time", "assignee", "parent_task",
    "complete_time", "delete_time", "purge_time",
)  # fmt: skip


def all_of(task: Task) -> dict[str, Any]:
    """Returns what the log tells of a new task: field → [null, value], without those that are empty."""
    return beginnings({field: getattr(task, field) for field in _LOGGED})


def subject(task: Task) -> dict[str, Any]:
    """Returns what the log keeps of a task beside a change of it: `TASK_SUBJECT` in Python."""
    values = ((field, getattr(task, field)) for field in KEPT)
    return {field: plain(value) for field, value in values if value is not None}


def differences(before: Task, after: Task) -> dict[str, Any]:
    """Returns what changed, as the log keeps it: field → [old, new]."""
    pairs = ((field, getattr(before, field), getattr(after, field)) for field in _LOGGED)
    return {field: [plain(old), plain(new)] for field, old, new in pairs if old != new}

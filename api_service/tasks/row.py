"""A task as a list shows it, in the words of the contract, so that nothing has to be made of it on the way."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import NamedTuple

from shared.ids import parse_name


class Row(NamedTuple):
    """What `COLUMNS` select, in their order. Absent names are None."""

    name: str
    title: str
    description: str
    state: str
    priority: int
    #: JSON.
    labels: str
    due_time: datetime | None
    remind_time: datetime | None
    owner: str
    assignee: str | None
    parent_task: str | None
    create_time: datetime
    update_time: datetime
    complete_time: datetime | None
    delete_time: datetime | None
    purge_time: datetime | None
    etag: str

    @property
    def id(self) -> uuid.UUID:
        """The key."""
        return parse_name("tasks", self.name)


_EXPRESSIONS = {
    "name": "'tasks/' || id",
    "labels": "labels::text",
    "owner": "owner_kind || '/' || owner_id",
    "assignee": "assignee_kind || '/' || assignee_id",
    "parent_task": "'tasks/' || parent_id",
    "etag": "'\"' || version || '\"'",
}

#: What stands between SELECT and FROM.
COLUMNS = ", ".join(f"{_EXPRESSIONS[field]} AS {field}" if field in _EXPRESSIONS else field for field in Row._fields)

"""A task as a list shows it, in the words of the contract, so that nothing has to be made of it on the way."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncCursor, adapters
from psycopg.adapt import AdaptersMap
from psycopg.types.numeric import Int8BinaryLoader

from shared.ids import parse_name

#: What PostgreSQL counts microseconds from; in seconds since 1970, where the contract counts from.
EPOCH = 946_684_800

_EPOCH = datetime.fromtimestamp(EPOCH, UTC)


class Row(NamedTuple):
    """What `COLUMNS` select, in their order. Absent names and times are None; times are microseconds since `EPOCH`."""

    name: str
    title: str
    description: str
    state: str
    priority: int
    #: JSON.
    labels: str
    due_time: int | None
    remind_time: int | None
    owner: str
    assignee: str | None
    parent_task: str | None
    create_time: int
    update_time: int
    complete_time: int | None
    delete_time: int | None
    purge_time: int | None
    etag: str

    @property
    def id(self) -> uuid.UUID:
        """The key."""
        return parse_name("tasks", self.name)

    def value(self, column: str) -> Any:
        """Returns what a column that lists can be ordered by holds, as a query takes it."""
        value = getattr(self, column)
        return _EPOCH + timedelta(microseconds=value) if column.endswith("_time") and value is not None else value


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

_ADAPTERS = AdaptersMap(adapters)
_ADAPTERS.register_loader("timestamptz", Int8BinaryLoader)


class RowCursor(AsyncCursor[Row]):
    """Reads binary results of `COLUMNS`. Making a datetime of each time, only to take it apart, costs as much again."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection, row_factory=lambda _: Row._make)

    @property
    def adapters(self) -> AdaptersMap:
        """The same for all: psycopg's, but for the times."""
        return _ADAPTERS

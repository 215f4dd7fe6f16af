"""A task as a list shows it, in the words of the contract, so that nothing has to be made of it on the way."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncCursor, adapters
from psycopg.adapt import AdaptersMap
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8BinaryLoader
from psycopg.types.string import ByteaBinaryLoader

from shared.ids import parse_name

#: What PostgreSQL counts microseconds from; in seconds since 1970, where the contract counts from.
EPOCH = 946_684_800

_EPOCH = datetime.fromtimestamp(EPOCH, UTC)

#: A `Row` before it is one: a page is encoded from these, and only the last of them is looked at otherwise.
Raw = tuple[Any, ...]


class Row(NamedTuple):
    """What `COLUMNS` select, in their order. Absent names and times are None; times are microseconds since `EPOCH`.

    Texts are UTF-8, as PostgreSQL sends and the contract wants them.
    """

    name: bytes
    title: bytes
    description: bytes
    state: bytes
    priority: int
    #: JSON.
    labels: bytes
    due_time: int | None
    remind_time: int | None
    owner: bytes
    assignee: bytes | None
    parent_task: bytes | None
    create_time: int
    update_time: int
    complete_time: int | None
    delete_time: int | None
    purge_time: int | None
    etag: bytes

    @property
    def id(self) -> uuid.UUID:
        """The key."""
        return parse_name("tasks", self.name.decode())

    def value(self, column: str) -> Any:
        """Returns what a column that lists can be ordered by holds, as a query takes it."""
        value = getattr(self, column)
        if isinstance(value, bytes):
            return value.decode()
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

#: How `COLUMNS` are read. A string of each text and a datetime of each time would only be taken apart again.
ADAPTERS = AdaptersMap(adapters)
ADAPTERS.register_loader("timestamptz", Int8BinaryLoader)
ADAPTERS.register_loader("text", ByteaBinaryLoader)


class RowCursor(AsyncCursor[Raw]):
    """Reads binary results of `COLUMNS`, for what is not worth preparing."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection, row_factory=tuple_row)

    @property
    def adapters(self) -> AdaptersMap:
        """The same for all."""
        return ADAPTERS

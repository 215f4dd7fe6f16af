"""Tasks as the lines of a file, rendered by PostgreSQL.

CSV has a column for every field, times in RFC 3339, labels as JSON. NDJSON has the task as REST shows it.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from psycopg.rows import tuple_row

from shared.filters.compile import Condition
from worker_service.database import Connection

#: Rows that are in memory at once: at the most that a task can hold, some 30 MB.
PAGE = 250

_PRIORITY = "(ARRAY['LOW', 'NORMAL', 'HIGH', 'URGENT'])[priority]"


def _time(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def _guarded(column: str) -> str:
    """Keeps a spreadsheet from taking a text for a formula (CWE-1236); import takes the apostrophe away again."""
    return f"""CASE WHEN {column} ~ '^''*[-=+@＝＋－＠\\t\\r\\n]' THEN '''' || {column} ELSE {column} END"""  # noqa: RUF001


#: What a field looks like in a CSV file; others are what PostgreSQL makes of them.
_CSV = {
    "name": "'tasks/' || id",
    "title": _guarded("title"),
    "description": _guarded("description"),
    "state": "state",
    "priority": _PRIORITY,
    "labels": "labels::text",
    "due_time": _time("due_time"),
    "remind_time": _time("remind_time"),
    "owner": "owner_kind || '/' || owner_id",
    "assignee": "assignee_kind || '/' || assignee_id",
    "parent_task": "'tasks/' || parent_id",
    "create_time": _time("create_time"),
    "update_time": _time("update_time"),
    "complete_time": _time("complete_time"),
    "delete_time": _time("delete_time"),
    "purge_time": _time("purge_time"),
    "etag": """'"' || version || '"'""",
}
_JSON = _CSV | {"title": "title", "description": "nullif(description, '')", "labels": "labels"}

COLUMNS = tuple(_CSV)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


_SELECT_CSV = ", ".join(_CSV.values())
_SELECT_JSON = "json_strip_nulls(json_build_object({}))::text".format(
    ", ".join(f"'{_camel(name)}', {expression}" for name, expression in _JSON.items())
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tasks: a condition whose values are bound."""

    condition: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def select(reader: uuid.UUID | None, condition: Condition, *, show_deleted: bool) -> Selection:
    """Returns which tasks a filter lets through: of those that a reader owns or is assigned, or of all."""
    parameters = dict(condition.parameters)
    conditions = [condition.sql or "true"]
    if reader is not None:
        parameters["reader"] = reader
        conditions.append("(owner_id = %(reader)s OR assignee_id = %(reader)s)")
    if not show_deleted:
        conditions.append("delete_time IS NULL")
    if condition.states is not None:
        parameters["states"] = sorted(condition.states)
        conditions.append("state = ANY(%(states)s)")
    return Selection(" AND ".join(conditions), parameters)


class CsvFormat:
    """RFC 4180 in UTF-8, with a header line."""

    extension = "csv"
    content_type = "text/csv; charset=utf-8; header=present"
    columns = _SELECT_CSV

    def header(self) -> bytes:
        """Returns the first line."""
        return _lines([COLUMNS])

    def render(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Returns the lines of some tasks, whose id comes first."""
        return _lines(row[1:] for row in rows)


class NdjsonFormat:
    """A JSON object a line."""

    extension = "ndjson"
    content_type = "application/x-ndjson"
    columns = _SELECT_JSON

    def header(self) -> bytes:
        """Returns nothing: there is none."""
        return b""

    def render(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Returns the lines of some tasks, whose id comes first."""
        return "".join(f"{row[1]}\n" for row in rows).encode()


Format = CsvFormat | NdjsonFormat

FORMATS: dict[str, Format] = {"CSV": CsvFormat(), "NDJSON": NdjsonFormat()}


def count(connection: Connection, selection: Selection) -> tuple[int, uuid.UUID | None]:
    """Returns how many tasks there are now, and the newest of them."""
    row = connection.execute(
        f"""
        SELECT count(*) AS total,
            (SELECT id FROM tasks WHERE {selection.condition} ORDER BY id DESC LIMIT 1) AS last
        FROM tasks WHERE {selection.condition}
        """,
        selection.parameters,
    ).fetchone()
    return (row["total"], row["last"]) if row else (0, None)


def pages(
    connection: Connection, selection: Selection, format_: Format, *, after: uuid.UUID, last: uuid.UUID, limit: int
) -> Iterator[Sequence[Any]]:
    """Yields rows by the page, oldest first, of up to `limit` tasks after one and up to another. In a transaction."""
    with closing(connection.cursor(name="tasks", row_factory=tuple_row)) as cursor:
        cursor.execute(
            f"""
            SELECT id, {format_.columns} FROM tasks
            WHERE {selection.condition} AND id > %(after)s AND id <= %(last)s ORDER BY id LIMIT %(limit)s
            """,
            {**selection.parameters, "after": after, "last": last, "limit": limit},
        )
        while rows := cursor.fetchmany(PAGE):
            yield rows


def _lines(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()

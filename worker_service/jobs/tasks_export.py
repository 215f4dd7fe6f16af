"""The kind `tasks.export`: the tasks that the caller may see, as a file that ReadJobResult hands out.

Args: `{"format": "CSV" or "NDJSON", "filter": …, "show_deleted": …, "principal": …, "reads_all": …}`, put there by
ExportTasks: the filter as it was asked for, who asked, and whether they may read everybody's tasks. The file is written
in parts, each a step: an attempt goes on where the last one ended. A task is in the file once, as it was when its part
was written; what is created after the start is not in it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.errors import FilterInvalid
from shared.filters.tasks import task_filter
from shared.kinds import TASKS_EXPORT
from worker_service.context import Context
from worker_service.database import Connection
from worker_service.errors import Cancelled, PermanentError
from worker_service.files import rows, store
from worker_service.jobs import Job

#: Tasks of a part. A worker that dies costs one.
PART = 20_000

_FIRST = uuid.UUID(int=0)


class ArgumentsInvalid(PermanentError):
    """The arguments name no export."""

    reason = "ARGUMENTS_INVALID"


def export(context: Context) -> Mapping[str, Any]:
    """Writes the file. Its size and digest commit with the completion."""
    run = _Export(context)
    try:
        run.write_all()
    except Cancelled:
        context.step("discard", run.discard)
        raise
    with context.transaction() as connection:
        size = store.complete(connection, run.file_id)
    return {"tasks": run.done, "bytes": size}


JOB = Job(TASKS_EXPORT, export)


class _Export:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._format, self._selection = _read(context.args)
        begun = context.step("begin", self._begin)
        self.file_id = uuid.UUID(begun["file"])
        self._size: int = begun["size"]
        self._total: int = begun["total"]
        self._last = uuid.UUID(begun["last"])
        self._after = _FIRST
        self.done = 0

    def write_all(self) -> None:
        part = 0
        while self._after < self._last:
            part += 1
            written = self._context.step(f"part-{part}", self._write)
            self._after, self._size = uuid.UUID(written["after"]), written["size"]
            self.done = written["done"]

    def discard(self, connection: Connection) -> None:
        store.delete(connection, self.file_id)

    def _begin(self, connection: Connection) -> dict[str, Any]:
        total, last = rows.count(connection, self._selection)
        name = f"tasks-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{self._format.extension}"
        file_id = store.create(connection, self._context.job.id, name, self._format.content_type)
        writer = store.Writer(connection, file_id)
        writer.write(self._format.header())
        return {"file": str(file_id), "size": writer.close(), "total": total, "last": str(last or _FIRST)}

    def _write(self, connection: Connection) -> dict[str, Any]:
        writer = store.Writer(connection, self.file_id, self._size)
        done, after, most = self.done, self._last, 0
        for page in rows.pages(
            connection, self._selection, self._format, after=self._after, last=self._last, limit=PART
        ):
            if self._context.cancelled:
                raise Cancelled
            writer.write(self._format.render(page))
            most += len(page)
            after = page[-1][0]
            self._context.progress((done + most) / max(self._total, done + most), f"{done + most} tasks")
        # A part that is not full was the last one.
        return {"after": str(after if most == PART else self._last), "size": writer.close(), "done": done + most}


def _read(args: Mapping[str, Any]) -> tuple[rows.Format, rows.Selection]:
    match args:
        case {
            "format": "CSV" | "NDJSON" as name,
            "filter": str(filter_),
            "show_deleted": bool(show_deleted),
            "principal": str(principal),
            "reads_all": bool(reads_all),
        }:
            reader = None if reads_all else uuid.UUID(principal.partition("/")[2])
            try:
                condition = task_filter(filter_, principal)
            except FilterInvalid as error:  # it was not, in the release that took it
                raise ArgumentsInvalid from error
            return rows.FORMATS[name], rows.select(reader, condition, show_deleted=show_deleted)
        case _:
            raise ArgumentsInvalid

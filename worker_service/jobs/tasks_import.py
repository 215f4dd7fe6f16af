"""The kind `tasks.import`: an uploaded file as tasks of the account that sent it.

Args: `{"format": "CSV" or "NDJSON", "mode": "ALL_OR_NOTHING" or "SKIP_INVALID", "key_field": …, "principal": …}`, put
there by ImportTasks. All or nothing is one transaction, after a look at every line; otherwise each part is a step. The
result file tells for each line what became of it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import psycopg

from shared.kinds import TASKS_IMPORT
from worker_service.context import Context
from worker_service.database import Connection
from worker_service.errors import Cancelled, PermanentError
from worker_service.files import store
from worker_service.files.inserts import Made, Owner, insert
from worker_service.files.lines import Line, Position, read_csv, read_ndjson
from worker_service.files.relations import portions, related
from worker_service.jobs import Job

#: Lines of a statement, and of a part. A worker that dies costs a part, or all of it where it is all or nothing.
BATCH = 250
PART = 10_000

#: How many of the lines that are wrong the job's result names; the file names all.
SHOWN = 20

#: Lines that the report names where what is wrong showed only when all were tried: they are held in memory.
MOST_TOLD = 10_000

REPORT = "import-report.ndjson"


class ArgumentsInvalid(PermanentError):
    """The arguments name no import."""

    reason = "ARGUMENTS_INVALID"


class UploadMissing(PermanentError):
    """The uploaded file is gone."""

    reason = "UPLOAD_MISSING"


class LinesInvalid(PermanentError):
    """Lines are wrong, and all or nothing was asked for: nothing was imported."""

    reason = "LINES_INVALID"


class OwnerGone(PermanentError):
    """The account on whose behalf this ran is gone."""

    reason = "OWNER_GONE"


@dataclass(slots=True)
class Progress:
    """How far an import is: where upload and report go on, and what became of the lines before."""

    offset: int = 0
    lines: int = 0
    size: int = 0
    created: int = 0
    existing: int = 0
    invalid: int = 0
    #: Whether a line says something of an account or of another task, which only the database can tell.
    related: bool = False
    first: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False

    def note(self, line: Line, made: Made | None) -> dict[str, Any]:
        """Counts a line; returns what the report says of it."""
        if made is not None:
            self.created += made.fresh
            self.existing += not made.fresh
            told: dict[str, Any] = {"line": line.number, "task": f"tasks/{made.id}"}
            return told if made.fresh else told | {"existing": True}
        self.invalid += 1
        wrong = [{"field": each, "description": said} for each, said in line.violations]
        told = {"line": line.number, "violations": wrong}
        if len(self.first) < SHOWN:
            self.first.append(told)
        return told


def import_(context: Context) -> Mapping[str, Any]:
    """Imports the file; the upload goes with the completion."""
    run = _Import(context)
    if run.at_once:
        run.check()
        with context.transaction() as connection:
            progress = run.write(connection, Progress(), None)
            run.refuse(progress)
            run.close(connection)
    else:
        progress = run.write_parts()
        with context.transaction() as connection:
            run.close(connection)
    counts = {name: getattr(progress, name) for name in ("created", "existing", "invalid")}
    return {**counts, "first_invalid": progress.first}


JOB = Job(TASKS_IMPORT, import_)


class _Import:
    def __init__(self, context: Context) -> None:
        self._context = context
        match context.args:
            case {
                "format": "CSV" | "NDJSON" as format_,
                "mode": "ALL_OR_NOTHING" | "SKIP_INVALID" as mode,
                "key_field": str(key_field),
                "principal": str(principal),
            }:
                kind, _, id_ = principal.partition("/")
                self._owner = Owner(uuid.UUID(id_), kind)
                self._format, self._key_field, self.at_once = format_, key_field, mode == "ALL_OR_NOTHING"
            case _:
                raise ArgumentsInvalid
        found = store.upload(context.connection, context.job.id)
        if found is None:
            raise UploadMissing
        self._upload, self._upload_size = found
        self._report = uuid.UUID(context.step("begin", self._begin))

    def _begin(self, connection: Connection) -> str:
        return str(store.create(connection, self._context.job.id, REPORT, "application/x-ndjson"))

    def check(self) -> None:
        """Raises LinesInvalid, and leaves the report of all such lines, unless every line is good."""
        checked = Progress(**self._context.step("check", self._check))
        if checked.related and not checked.invalid:
            checked = Progress(**self._context.step("try", self._try))
        self.refuse(checked)

    def refuse(self, checked: Progress) -> None:
        """Raises LinesInvalid, unless every line is good."""
        if checked.invalid:
            worst = checked.first[0]
            lines = checked.invalid + checked.created + checked.existing
            wrong = worst["violations"][0]
            raise LinesInvalid(
                f"{checked.invalid} of {lines} lines are wrong and nothing was imported; "
                f"the first is line {worst['line']}: {wrong['field']} {wrong['description']}. "
                "ReadJobResult has all of them."
            )

    def write_parts(self) -> Progress:
        """Imports part by part, leaving out what is wrong. Cancelled, it leaves what it has done, and tells so."""
        progress, part = Progress(), 0
        try:
            while not progress.done:
                part += 1
                begin = progress
                written = self._context.step(
                    f"part-{part}", lambda connection, begin=begin: asdict(self.write(connection, begin, PART))
                )
                progress = Progress(**written)
        except Cancelled:
            self._context.step("close", self.close)
            raise
        return progress

    def write(self, connection: Connection, begin: Progress, limit: int | None) -> Progress:
        """Makes tasks of the next lines, up to `limit`, and returns where that leads."""
        progress = Progress(**asdict(begin))
        writer = store.Writer(connection, self._report, begin.size)
        lines = islice(self._lines(connection, Position(begin.offset, begin.lines)), limit)
        read = 0
        while batch := self._next_batch(lines):
            read += len(batch)
            for line, made in self._insert(connection, batch):
                writer.write(_json(progress.note(line, made)))
            progress.offset, progress.lines = batch[-1].after
            self._show(progress.offset, 0.5 if self.at_once else 0.0)
        progress.size = writer.close()
        progress.done = limit is None or read < limit
        return progress

    def close(self, connection: Connection) -> None:
        """Shows the report to its readers, and drops what was uploaded."""
        store.complete(connection, self._report)
        store.delete(connection, self._upload)

    def _check(self, connection: Connection) -> dict[str, Any]:
        checked = Progress()
        writer = store.Writer(connection, self._report)
        lines = self._lines(connection, Position())
        while batch := self._next_batch(lines):
            for line in batch:
                if line.violations:
                    writer.write(_json(checked.note(line, None)))
                else:
                    checked.created += 1
                    checked.related |= line.related
            self._show(batch[-1].after.offset, 0.0)
        writer.close()
        if checked.invalid:
            store.complete(connection, self._report)
        return asdict(checked)

    def _try(self, connection: Connection) -> dict[str, Any]:
        """Imports every line and takes it back: what lines say of each other shows only where they are tasks."""
        tried, told = Progress(), list[bytes]()
        with connection.transaction(force_rollback=True):
            lines = self._lines(connection, Position())
            while batch := self._next_batch(lines):
                for line, made in self._insert(connection, batch):
                    said = _json(tried.note(line, made))
                    if made is None and len(told) < MOST_TOLD:
                        told.append(said)
                self._show(batch[-1].after.offset, 0.0)
        if tried.invalid:
            writer = store.Writer(connection, self._report)
            writer.write(b"".join(told))
            writer.close()
            store.complete(connection, self._report)
        return asdict(tried)

    def _next_batch(self, lines: Iterator[Line]) -> list[Line]:
        if self._context.cancelled:
            raise Cancelled
        return list(islice(lines, BATCH))

    def _lines(self, connection: Connection, begin: Position) -> Iterator[Line]:
        chunks = store.read(connection, self._upload, begin.offset)
        if self._format == "NDJSON":
            return read_ndjson(chunks, self._key_field, begin)
        return read_csv(chunks, self._key_field, begin, store.read(connection, self._upload))

    def _insert(self, connection: Connection, batch: Sequence[Line]) -> Iterator[tuple[Line, Made | None]]:
        """Makes tasks of lines; yields each with its task, or with what is wrong with it and none."""
        for portion in portions(batch):
            lines = related(connection, self._owner, portion)
            good = [line for line in lines if not line.violations]
            try:
                made = iter(insert(connection, self._owner, good) if good else ())
            except psycopg.errors.ForeignKeyViolation as error:
                raise OwnerGone from error
            for line in lines:
                yield line, None if line.violations else next(made)

    def _show(self, offset: int, base: float) -> None:
        fraction = offset / self._upload_size
        # Where every line is looked at first, that is half of the way.
        self._context.progress(
            base + fraction * (0.5 if self.at_once else 1.0), f"{offset} of {self._upload_size} bytes"
        )


def _json(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"

"""The kind `tasks.import`: an uploaded file as tasks of the account that sent it.

Args: `{"format": "CSV" or "NDJSON", "mode": "ALL_OR_NOTHING" or "SKIP_INVALID", "key_field": …, "principal": …}`, put
there by ImportTasks. All or nothing is one transaction, after a look at every line; otherwise each part is a step. A
line that is part of what a later one makes waits until all others are read. The result file tells for each line what
became of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import count, islice
from typing import Any

import psycopg

from shared import files
from shared.kinds import TASKS_IMPORT
from worker_service.context import Context
from worker_service.database import Connection
from worker_service.errors import Cancelled, PermanentError
from worker_service.files import store
from worker_service.files.inserts import Made, Owner, insert
from worker_service.files.lines import Line, Position, read_csv, read_ndjson
from worker_service.files.progress import Progress, as_line, caught_up
from worker_service.files.relations import portions, related
from worker_service.jobs import Job

#: Lines of a statement, and of a part. A worker that dies costs a part, or all of it where it is all or nothing.
BATCH = 250
PART = 10_000

#: Lines that may wait for a later one, remembered by their place.
MOST_WAITING = 10_000

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


def import_(context: Context) -> Mapping[str, Any]:
    """Imports the file; the upload goes with the completion."""
    run = _Import(context)
    if run.at_once and not run.check().related:
        with context.transaction() as connection:
            progress = run.write(connection, Progress(), None)
            run.close(connection)
    else:
        progress = run.write_at_once() if run.at_once else run.write_parts()
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
        self._wrong: list[bytes] = []

    def _begin(self, connection: Connection) -> str:
        return str(store.create(connection, self._context.job.id, REPORT, "application/x-ndjson"))

    def check(self) -> Progress:
        """Raises LinesInvalid, and leaves the report of all such lines, unless every line by itself is good."""
        checked = Progress(**self._context.step("check", self._check))
        self._refuse(checked)
        return checked

    def write_at_once(self) -> Progress:
        """Imports all lines in one step, or raises LinesInvalid: what they say of each other shows only as tasks."""
        written = Progress(**self._context.step("write", self._write_all))
        self._refuse(written)
        return written

    def _refuse(self, checked: Progress) -> None:
        """Raises LinesInvalid, unless every line is good."""
        if checked.invalid:
            worst = checked.first[0]
            lines = checked.invalid + checked.created + checked.existing
            wrong = worst["violations"][0]
            raise LinesInvalid(
                f"{checked.invalid} of {lines} lines are wrong and nothing was imported; "
                f"the first is line {worst['line']}: {' '.join(filter(None, wrong.values()))}. "
                "ReadJobResult has all of them."
            )

    def write_parts(self) -> Progress:
        """Imports part by part, leaving out what is wrong. Cancelled, it leaves what it has done, and tells so."""
        names = (f"part-{part}" for part in count(1))
        late = (f"late-{turn}" for turn in count(1))
        progress = Progress()
        try:
            while not progress.done:
                progress = self._step(next(names), partial(self.write, begin=progress, limit=PART))
            return caught_up(progress, lambda each: self._step(next(late), partial(self._write_waiting, begin=each)))
        except Cancelled:
            self._context.step("close", self.close)
            raise

    def _step(self, name: str, write: Callable[[Connection], Progress]) -> Progress:
        return Progress(**self._context.step(name, lambda connection: asdict(write(connection))))

    def write(self, connection: Connection, begin: Progress, limit: int | None) -> Progress:
        """Makes tasks of the next lines, up to `limit`, and returns where that leads."""
        progress = Progress(**asdict(begin))
        writer = store.Writer(connection, self._report, begin.size)
        lines = islice(self._lines(connection, Position(begin.offset, begin.lines)), limit)
        read = 0
        while batch := self._next_batch(lines):
            read += len(batch)
            self._take(connection, batch, progress, writer)
            progress.offset, progress.lines = batch[-1].after
            self._show(progress.offset, 0.5 if self.at_once else 0.0)
        progress.size = writer.close()
        progress.done = limit is None or read < limit
        return progress

    def _write_waiting(self, connection: Connection, begin: Progress) -> Progress:
        """Takes the lines that wait once more, and returns those that still do."""
        progress = replace(begin, first=[*begin.first], waiting=[])
        writer = store.Writer(connection, self._report, begin.size)
        lines = self._lines_at(connection, [Position(*place) for place in begin.waiting])
        while batch := self._next_batch(lines):
            self._take(connection, batch, progress, writer)
        progress.size = writer.close()
        # What nothing has come of once will never come to anything.
        progress.settled = len(progress.waiting) == len(begin.waiting)
        return progress

    def _write_all(self, connection: Connection) -> dict[str, Any]:
        """Imports every line, or takes all of them back and reports those that are wrong."""
        with connection.transaction():
            written = caught_up(
                self.write(connection, Progress(), None), lambda each: self._write_waiting(connection, each)
            )
            if written.invalid:
                raise psycopg.Rollback
        if written.invalid:
            writer = store.Writer(connection, self._report)
            writer.write(b"".join(self._wrong))
            writer.close()
            store.complete(connection, self._report)
        return asdict(written)

    def _take(self, connection: Connection, batch: Sequence[Line], progress: Progress, writer: store.Writer) -> None:
        """Makes tasks of lines, tells of each what became of it, or lets it wait."""
        for line, made in self._insert(connection, batch):
            if line.early and not progress.settled and len(progress.waiting) < MOST_WAITING:
                progress.waiting.append([*line.begin])
                continue
            told = as_line(progress.note(line, made))
            writer.write(told)
            if made is None and self.at_once and len(self._wrong) < MOST_TOLD:
                self._wrong.append(told)

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
                    writer.write(as_line(checked.note(line, None)))
                else:
                    checked.created += 1
                    checked.related |= line.related
            self._show(batch[-1].after.offset, 0.0)
        writer.close()
        if checked.invalid:
            store.complete(connection, self._report)
        return asdict(checked)

    def _next_batch(self, lines: Iterator[Line]) -> list[Line]:
        if self._context.cancelled:
            raise Cancelled
        return list(islice(lines, BATCH))

    def _lines(self, connection: Connection, begin: Position) -> Iterator[Line]:
        chunks = store.read(connection, self._upload, begin.offset)
        if self._format == "NDJSON":
            return read_ndjson(chunks, self._key_field, begin)
        return read_csv(chunks, self._key_field, begin, store.read(connection, self._upload))

    def _lines_at(self, connection: Connection, places: Iterable[Position]) -> Iterator[Line]:
        """Yields the lines that begin at these places, in their order."""
        lines, at = iter(list[Line]()), -files.CHUNK
        for place in places:
            if place.offset - at >= files.CHUNK:
                lines = self._lines(connection, place)
            line = next(line for line in lines if line.begin == place)
            at = line.after.offset
            yield line

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

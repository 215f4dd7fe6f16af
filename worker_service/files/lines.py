"""Uploaded bytes as the lines of tasks, in constant memory, from any line on."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from shared.task_fields import MAX_KEY, OUTPUT_ONLY, READERS, parse_json
from worker_service.errors import PermanentError

#: Bytes of a line, and of a record of CSV that spans several. The largest task has about 110 KB.
LONGEST = 1024 * 1024

#: The fields that export guards, and what a formula begins with for one spreadsheet or another.
GUARDED = frozenset({"title", "description"})
FORMULA = frozenset("-=+@＝＋－＠\t\r\n")  # noqa: RUF001

#: A field, and what is wrong with it. No field means the line as a whole.
Violation = tuple[str, str]


class FileMalformed(PermanentError):
    """The file is not what the import was told that it is."""

    reason = "FILE_MALFORMED"


class Position(NamedTuple):
    """Where reading goes on: the byte, and the number of lines before it."""

    offset: int = 0
    lines: int = 0


class Line(NamedTuple):
    """What one line says: the fields of a task, or what is wrong with them."""

    #: Where it begins, and where the next one does.
    begin: Position
    after: Position
    fields: Mapping[str, Any]
    key: str | None = None
    violations: tuple[Violation, ...] = ()
    #: The task that it is to be part of, once that is found.
    parent_id: uuid.UUID | None = None
    #: Nothing is wrong but that what it is to be part of has not come yet.
    early: bool = False

    @property
    def number(self) -> int:
        """The number of its first physical line, from 1."""
        return self.begin.lines + 1

    @property
    def related(self) -> bool:
        """Whether it says something of an account or of another task."""
        return not self.violations and any(self.fields[name] is not None for name in ("assignee", "parent_task"))


class _LineInvalid(Exception):
    """The line cannot be read at all."""


class _Text:
    """The physical lines of a stream of bytes, decoded one by one, since each may be wrong by itself."""

    def __init__(self, chunks: Iterator[bytes], begin: Position) -> None:
        self._lines = _split(chunks)
        self.position = begin
        self._record = 0

    def begin_record(self) -> Position:
        """Returns where the line that comes next begins; the bound on length counts from here."""
        self._record = 0
        return self.position

    def __iter__(self) -> _Text:
        return self

    def __next__(self) -> str:
        line, length = next(self._lines)
        first = self.position.offset == 0
        self.position = Position(self.position.offset + length, self.position.lines + 1)
        self._record += length
        if self._record > LONGEST:
            raise _LineInvalid(f"is longer than {LONGEST} bytes")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise _LineInvalid("is not UTF-8") from error
        return text.removeprefix("\N{BYTE ORDER MARK}") if first else text


def _split(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yields each line, its end included, and its length; of one that is too long only the end."""
    rest, skipped = b"", 0
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n", skipped + len(line) + 1
            skipped = 0
        if len(rest) > LONGEST:
            rest, skipped = b"", skipped + len(rest)
    if rest or skipped:
        yield rest, skipped + len(rest)


class _Reader:
    """Turns the values of a line into fields."""

    def __init__(self, key_field: str) -> None:
        self.key_field = key_field

    def known(self, name: str) -> str | None:
        """Returns the field that a column or member stands for: `due_time`, also by the name that JSON has for it."""
        if name == self.key_field:
            return name
        field = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
        return field if field in READERS or field in OUTPUT_ONLY else None

    def line(self, begin: Position, after: Position, values: Mapping[str, Any]) -> Line:
        """Returns what `values`, by field, amount to."""
        fields, violations = {}, list[Violation]()
        for field, read in READERS.items():
            try:
                fields[field] = read(values.get(field))
            except ValueError as error:
                violations.append((field, str(error)))
        key = None
        if self.key_field:
            key = _key(values.get(self.key_field))
            if wrong := _wrong_key(key):
                violations.append((self.key_field, wrong))
        return Line(begin, after, fields, key, tuple(violations))


def _key(value: Any) -> Any:
    """Returns what a line is called; a number is as good as its text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _wrong_key(key: Any) -> str | None:
    if key is None or key == "":
        return "value is required"
    if not isinstance(key, str) or len(key) > MAX_KEY or not key.isprintable():
        return f"must be a text of at most {MAX_KEY} printable characters"
    return None


def read_ndjson(chunks: Iterator[bytes], key_field: str, begin: Position) -> Iterator[Line]:
    """Yields the lines of NDJSON. Empty ones are passed over."""
    text, reader = _Text(chunks, begin), _Reader(key_field)
    while True:
        place = text.begin_record()
        try:
            line = next(text)
            if not line.strip():
                continue
            values = _members(reader, line)
        except StopIteration:
            return
        except (_LineInvalid, ValueError) as error:
            yield Line(place, text.position, {}, violations=(("", str(error)),))
        else:
            yield reader.line(place, text.position, values)


def _members(reader: _Reader, line: str) -> dict[str, Any]:
    found = parse_json(line)
    if not isinstance(found, dict):
        raise ValueError("must be an object")  # noqa: TRY004  a fault in the file, not in the program
    values: dict[str, Any] = {}
    for name, value in found.items():
        field = reader.known(name)
        if field is None:
            raise ValueError(f"has a member that is none of a task: {name[:50]!a}")
        if field in values:
            raise ValueError(f"gives {field} twice")
        values[field] = value
    return values


def read_csv(chunks: Iterator[bytes], key_field: str, begin: Position, first_chunks: Iterator[bytes]) -> Iterator[Line]:
    """Yields the records of CSV after the header, which `first_chunks` begin with. Empty lines are passed over."""
    text, reader = _Text(chunks, begin), _Reader(key_field)
    columns = _columns(reader, first_chunks)
    if not begin.offset:
        _skip_header(text)
    records = csv.reader(text, strict=True)
    while True:
        place = text.begin_record()
        try:
            record = next(records)
            if not record:
                continue
            if len(record) != len(columns):
                raise _LineInvalid(f"has {len(record)} values for {len(columns)} columns")  # noqa: TRY301
        except StopIteration:
            return
        except (_LineInvalid, csv.Error) as error:
            yield Line(place, text.position, {}, violations=(("", _said(error)),))
        else:
            values = dict(zip(columns, record, strict=True))
            values |= {field: _plain(values[field]) for field in GUARDED & values.keys()}
            yield reader.line(place, text.position, values)


def _skip_header(text: _Text) -> None:
    next(csv.reader(text, strict=True), None)


def _columns(reader: _Reader, first_chunks: Iterator[bytes]) -> list[str]:
    """Returns the field of each column. Raises FileMalformed for an unknown one, one twice, and without a title."""
    try:
        names = next(csv.reader(_Text(first_chunks, Position()), strict=True), [])
    except (_LineInvalid, csv.Error) as error:
        raise FileMalformed(f"The header line cannot be read: it {_said(error)}.") from error
    columns = list[str]()
    for name in names:
        field = reader.known(name)
        if field is None:
            raise FileMalformed(f"The column {name[:50]!a} is no field of a task.")
        if field in columns:
            raise FileMalformed(f"There are two columns {field}.")
        columns.append(field)
    if "title" not in columns:
        raise FileMalformed("The header line names no column `title`.")
    if reader.key_field and reader.key_field not in columns:
        raise FileMalformed(f"The header line names no column {reader.key_field!a}, which is to be the key.")
    return columns


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, _LineInvalid) else f"is not CSV: {error}"


def _plain(text: str) -> str:
    """Takes the apostrophe away that export puts before what a spreadsheet would take for a formula."""
    bare = text.lstrip("'")
    return text[1:] if bare != text and bare[:1] in FORMULA else text

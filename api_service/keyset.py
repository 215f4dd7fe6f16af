"""Orders of several fields, and pages of them by key (AIP-132): what comes after a row, as ranges of an index.

A range is a list of conditions that one ordered scan of an index answers from its first row on, however deep the page
lies. `a = 1 AND b > 2 OR a > 1` is no range; `a = 1 AND b > 2` and `a > 1` are two. Rows without a value come last,
whichever way the order goes, and are ranges of their own.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from shared.errors import OrderInvalid, PageTokenInvalid

MAX_FIELDS = 3

Range = list[str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that lists can be ordered by."""

    name: str
    nullable: bool = False
    descending: bool = False

    def sql(self, *, nulls: bool = False) -> str:
        """Returns its part of ORDER BY; `nulls` where rows without a value may be among the others."""
        return self.name + (" DESC" if self.descending else "") + (" NULLS LAST" if nulls and self.nullable else "")


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Columns by their weight. The last is the key, so that no two rows are equal.

    Compared and hashed by identity: an order is made once and kept.
    """

    columns: tuple[Column, ...]

    def sql(self, *, nulls: bool = False) -> str:
        """Returns what stands behind ORDER BY; without `nulls`, what an index can follow inside of a range."""
        return ", ".join(column.sql(nulls=nulls) for column in self.columns)

    def ranges(self, absent: Sequence[bool] | None) -> list[Range]:
        """Returns disjoint ranges that hold what comes after a place, or everything.

        A place is given by which of its values are absent; the others are bound as `parameters` names them.
        """
        return list(_whole(self.columns) if absent is None else _after(self.columns, absent, 0))

    def parameters(self, after: Sequence[Any]) -> dict[str, Any]:
        """Returns the values of a place by the names in `ranges`. Raises PageTokenInvalid for another order's."""
        if len(after) != len(self.columns):
            raise PageTokenInvalid
        return {f"after{index}": value for index, value in enumerate(after)}

    def by(self, *columns: str) -> bool:
        """Whether these columns decide, in this order."""
        return tuple(column.name for column in self.columns) == columns


def parse_order(text: str, columns: Mapping[str, Column], default: str) -> Order:
    """Returns the order that `create_time desc, title` and its like ask for. Raises OrderInvalid.

    At most three fields, each once. The key `name` follows, in the direction of the last one.
    """
    parts = [part.split() for part in (text if text.strip() else default).split(",")]
    if len(parts) > MAX_FIELDS:
        raise OrderInvalid(f"names {len(parts)} fields; {MAX_FIELDS} are the most")
    found: dict[str, Column] = {}
    for part in parts:
        if not part or len(part) > 2 or part[1:] not in ([], ["asc"], ["desc"]):  # noqa: PLR2004  a field, a direction
            raise OrderInvalid(f"`{' '.join(part)[:40]}` is not a field, or a field and `desc`")
        if part[0] not in columns:
            raise OrderInvalid(f"`{part[0][:40]}` is no field to order by; there are {', '.join(columns)}")
        if part[0] in found:
            raise OrderInvalid(f"`{part[0]}` stands twice")
        column = columns[part[0]]
        found[part[0]] = Column(column.name, column.nullable, descending=part[1:] == ["desc"])
    key = columns["name"]
    found.setdefault("name", Column(key.name, descending=[*found.values()][-1].descending))
    names = list(found)
    return Order(
        tuple(found[name] for name in names[: names.index("name") + 1])
    )  # what follows the key decides nothing


def _after(columns: Sequence[Column], absent: Sequence[bool], index: int) -> Iterator[Range]:
    """Yields what comes after the place in the columns from `index` on, the columns before it being equal."""
    if index == len(columns):
        return
    first = columns[index]
    if absent[index]:
        for range_ in _after(columns, absent, index + 1):
            yield [f"{first.name} IS NULL", *range_]
        return
    # As long as nothing can be absent and the direction stays, a row is compared at once.
    end = index + 1
    while end < len(columns) and not columns[end].nullable and columns[end].descending == first.descending:
        end += 1
    names = ", ".join(column.name for column in columns[index:end])
    place = ", ".join(f"%(after{each})s" for each in range(index, end))
    for range_ in _after(columns, absent, end):
        yield [f"({names}) = ({place})", *range_]
    for range_ in _whole(columns[end:]):
        yield [f"({names}) {'<' if first.descending else '>'} ({place})", *range_]
    if first.nullable:
        for range_ in _whole(columns[end:]):
            yield [f"{first.name} IS NULL", *range_]


def _whole(columns: Sequence[Column]) -> Iterator[Range]:
    nullable = [column.name for column in columns if column.nullable]
    for pattern in product(("IS NOT NULL", "IS NULL"), repeat=len(nullable)):
        yield [f"{name} {what}" for name, what in zip(nullable, pattern, strict=True)]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: json.dumps would make a new encoder each time.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def pack(values: Sequence[Any]) -> bytes:
    """Returns the place of a row as a page token carries it."""
    return _encode([_packed(value) for value in values]).encode()


def unpack(raw: bytes) -> list[Any]:
    """Returns the place again. Raises PageTokenInvalid for one that an older release wrote in another way."""
    try:
        return [_unpacked(value) for value in json.loads(raw)]
    except (ValueError, TypeError, OverflowError):
        raise PageTokenInvalid from None


def _packed(value: Any) -> Any:
    match value:
        case datetime():
            return {"t": (value - _EPOCH) // _MICROSECOND}
        case uuid.UUID():
            return {"u": value.hex}
    return value


def _unpacked(value: Any) -> Any:
    match value:
        case {"t": int(micros)}:
            return _EPOCH + timedelta(microseconds=micros)
        case {"u": str(hex_)}:
            return uuid.UUID(hex_)
    return value

"""What a field may be compared with, and the SQL that this becomes.

An absent value fulfils no comparison, and NOT turns that around: `due_time != X` holds where there is no due time.
Every value of the caller's is a bound parameter.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from psycopg.types.json import Jsonb

from shared.errors import FilterInvalid
from shared.filters.syntax import Restriction, Value

#: Binds a value and returns its placeholder.
Bind = Callable[[Any], str]

_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")


class Field(Protocol):
    """Something that a resource can be filtered by."""

    @property
    def selective(self) -> bool:
        """Whether an index finds what fulfils `=` and `:`, in no order."""

    def condition(self, term: Restriction, bind: Bind, *, exact: bool) -> str:
        """Returns the SQL of a term. Raises FilterInvalid for one that makes no sense.

        NULL may stand for false unless it has to be `exact`, because something turns it around.
        """


def refuse(term: Restriction, expected: str) -> NoReturn:
    """Raises FilterInvalid where the path or the comparator fits no field of that kind."""
    raise FilterInvalid(f"`{term.field}` {expected}", term.position)


def refuse_value(value: Value, expected: str) -> NoReturn:
    """Raises FilterInvalid where the value does not fit."""
    raise FilterInvalid(f"`{value.text[:40]}` is not {expected}", value.position)


def _scalar(term: Restriction, comparators: tuple[str, ...]) -> None:
    if len(term.path) > 1:
        refuse(term, "has no fields")
    if term.comparator not in comparators:
        refuse(term, f"takes {', '.join(comparators)}, not {term.comparator}")


def _exact(column: str, condition: str, term: Restriction, *, exact: bool) -> str:
    """Returns the condition, never NULL where that matters. Elsewhere a guard would mislead the planner's estimates."""
    guarded = exact or term.comparator == "!="
    return f"({column} IS NOT NULL AND {condition})" if guarded else f"({condition})"


def _negated(term: Restriction, condition: str) -> str:
    return f"NOT ({condition})" if term.comparator == "!=" else condition


@dataclass(frozen=True, slots=True)
class Enum:
    """One of some names. `:` is `=`; where the names have an order, they can be compared."""

    column: str
    #: What the column holds, by name.
    values: Mapping[str, Any]
    ordered: bool = False
    selective: bool = False

    def condition(self, term: Restriction, bind: Bind, *, exact: bool) -> str:  # noqa: ARG002
        """See Field."""
        _scalar(term, (*_COMPARISONS, ":") if self.ordered else ("=", "!=", ":"))
        comparator = {":": "=", "!=": "<>"}.get(term.comparator, term.comparator)
        return f"{self.column} {comparator} {bind(self.value(term.value))}"

    def value(self, value: Value) -> Any:
        """Returns what the column holds for a name."""
        if value.text not in self.values:
            refuse_value(value, f"one of {', '.join(self.values)}")
        return self.values[value.text]


@dataclass(frozen=True, slots=True)
class Time:
    """A time, in RFC 3339. `:*` asks whether there is one."""

    column: str
    optional: bool = True
    selective: bool = False

    def condition(self, term: Restriction, bind: Bind, *, exact: bool) -> str:
        """See Field."""
        _scalar(term, (*_COMPARISONS, ":") if self.optional else _COMPARISONS)
        if term.comparator == ":":
            return _presence(term, f"{self.column} IS NOT NULL")
        comparator = "=" if term.comparator == "!=" else term.comparator
        condition = f"{self.column} {comparator} {bind(time(term.value))}"
        return _negated(term, _exact(self.column, condition, term, exact=exact and self.optional))


_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def time(value: Value) -> datetime:
    """Returns the time that an RFC 3339 text names, kept to the microsecond as PostgreSQL does."""
    try:
        if not _TIME.fullmatch(value.text):
            refuse_value(value, "a time such as 2026-01-31T12:00:00Z (RFC 3339)")
        return datetime.fromisoformat(value.text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        refuse_value(value, "a time that exists, in the years 1 to 9999")


def _presence(term: Restriction, condition: str) -> str:
    if term.value.pieces != ("", ""):
        refuse(term, "takes nothing but * after a colon")
    return condition


@dataclass(frozen=True, slots=True)
class Name:
    """The resource name of another resource. `:*` asks whether there is one."""

    column: str
    collections: tuple[str, ...]
    #: The column that holds the collection, where there are several.
    kind: str = ""
    optional: bool = False
    selective: bool = False

    def condition(self, term: Restriction, bind: Bind, *, exact: bool) -> str:
        """See Field."""
        _scalar(term, ("=", "!=", ":") if self.optional else ("=", "!="))
        if term.comparator == ":":
            return _presence(term, f"{self.column} IS NOT NULL")
        collection, id_ = self.parsed(term.value)
        condition = f"{self.column} = {bind(id_)}"
        if self.kind:  # follows from the id, which the planner does not know: it takes coalesce() for half of the rows
            condition += f" AND coalesce({self.kind} = {bind(collection)}, false)"
        return _negated(term, _exact(self.column, condition, term, exact=exact and self.optional))

    def parsed(self, value: Value) -> tuple[str, uuid.UUID]:
        """Returns the collection and the id."""
        collection, _, id_ = value.text.partition("/")
        if collection not in self.collections or not _ID.fullmatch(id_):
            refuse_value(value, f"a name such as {self.collections[0]}/01a20a94-5dfd-74c6-96f8-dcf6c45379bd")
        return collection, uuid.UUID(id_)


_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Text:
    """A text. `=` compares all of it, with `*` for any part; `<` and its like go by code point; `:` looks for words."""

    column: str
    #: An expression of type tsvector with an index behind it, which holds at least the words of this column.
    index: str
    selective: bool = False

    def condition(self, term: Restriction, bind: Bind, *, exact: bool) -> str:  # noqa: ARG002
        """See Field."""
        _scalar(term, (*_COMPARISONS, ":"))
        match term.comparator:
            case ":" if term.value.pieces == ("", ""):
                return f"{self.column} <> ''"
            case ":":
                query = words(term.value, bind)
                return f"({self.index} @@ {query} AND to_tsvector('simple', {self.column}) @@ {query})"
            case "=" | "!=" if term.value.has_wildcard:
                return _negated(term, f"{self.column} LIKE {bind(pattern(term.value))}")
            case "=" | "!=":
                return _negated(term, f"{self.column} = {bind(term.value.text)}")
        return f'{self.column} COLLATE "C" {term.comparator} {bind(term.value.text)}'


def pattern(value: Value) -> str:
    """Returns what LIKE takes for a value with wildcards."""
    return "%".join(re.sub(r"([\\%_])", r"\\\1", piece) for piece in value.pieces)


def words(value: Value, bind: Bind) -> str:
    """Returns the tsquery of a word, of several in a row, or of what begins with them (`rep*`)."""
    if not any(map(str.isalnum, "".join(value.pieces))) and value.pieces != ("", ""):
        refuse_value(value, "a word that can be looked for: it has no letter and no digit")
    if not value.has_wildcard:
        return f"phraseto_tsquery('simple', {bind(value.text)})"
    if len(value.pieces) > 2 or value.pieces[-1] or not value.pieces[0]:  # noqa: PLR2004  one `*`, and it ends
        refuse_value(value, "a word that can be looked for; a * may only end it")
    quoted = value.pieces[0].replace("\\", "\\\\").replace("'", "''")
    prefix = bind(f"'{quoted}':*")
    return f"to_tsquery('simple', {prefix})"


@dataclass(frozen=True, slots=True)
class Map:
    """Texts by key: `labels.env = "prod"`, `labels.env:*`, `labels:env`, `labels:*`. A key may hold dots."""

    column: str
    selective: bool = True

    def condition(self, term: Restriction, bind: Bind, *, exact: bool) -> str:  # noqa: ARG002
        """See Field."""
        value = term.value
        key = ".".join(part.text for part in term.path[1:])
        if not key:
            if term.comparator == ":" and value.pieces == ("", ""):
                return f"{self.column} <> '{{}}'::jsonb"
            if term.comparator != ":" or value.has_wildcard:
                refuse(term, f"takes {term.field}.KEY = VALUE, {term.field}:KEY or {term.field}:*")
            return f"{self.column} ? {bind(value.text)}"
        if term.comparator not in ("=", "!=", ":"):
            refuse(term, f"takes =, !=, :, not {term.comparator}")
        if term.comparator == ":" and value.pieces == ("", ""):
            return f"{self.column} ? {bind(key)}"
        if value.has_wildcard:
            part = f"{self.column} ->> {bind(key)}::text LIKE {bind(pattern(value))}"
            return _negated(term, f"({self.column} ? {bind(key)} AND {part})")
        return _negated(term, f"{self.column} @> {bind(Jsonb({key: value.text}))}")

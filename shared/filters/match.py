"""A filter of tasks as a function, for what no index has to find: the tasks of events, one after the other.

What PostgreSQL makes of the same filter is in `fields`; a property test holds one against the other. A task is a
mapping from field to value as the log keeps it: names and enums as texts, the priority as its number, times as
`datetime`. A field that is missing has no value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, assert_never

from shared.errors import FilterInvalid
from shared.filters.compile import ME, read_filter
from shared.filters.fields import Enum, Field, Map, Name, Text, Time, time
from shared.filters.syntax import And, Literal, Node, Not, Or, Restriction, Value
from shared.filters.tasks import SCHEMA, task_filter

Subject = Mapping[str, Any]
#: Whether a task passes. Made once and kept: the same filter is the same object.
Matcher = Callable[[Subject], bool]
_Test = Callable[[Any], bool]

#: The fields that the log of events keeps of each task, so that it can be told whether one passed a filter.
KEPT = (
    "title", "state", "priority", "labels", "due_time", "remind_time", "owner", "assignee", "parent_task",
    "complete_time", "delete_time",
)  # fmt: skip

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, ":": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def task_matcher(text: str, me: str = "") -> Matcher | None:
    """Returns what a filter lets through, None where that is everything. Raises FilterInvalid.

    Not every filter of a list can be asked of an event: not for words, and not about fields that are not kept. `me` is
    the name of the account that asks.
    """
    return _kept(text, me if ME in text else "")


@lru_cache(maxsize=1024)
def _kept(text: str, me: str) -> Matcher | None:
    task_filter(text, me)  # refuses what makes no sense in a list either
    tree = read_filter(text, SCHEMA, me)
    return None if tree is None else _matcher(tree)


def _matcher(node: Node) -> Matcher:
    match node:
        case And(parts):
            tests = [_matcher(part) for part in parts]
            return lambda subject: all(test(subject) for test in tests)
        case Or(parts):
            tests = [_matcher(part) for part in parts]
            return lambda subject: any(test(subject) for test in tests)
        case Not(part):
            test = _matcher(part)
            return lambda subject: not test(subject)
        case Literal(value):
            raise FilterInvalid("changes cannot be searched for words", value.position)
        case Restriction():
            return _term(node)
        case _:
            assert_never(node)


def _term(term: Restriction) -> Matcher:
    name = term.path[0].text
    if name not in KEPT:
        raise FilterInvalid(f"changes cannot be filtered by {name}; they can by {', '.join(KEPT)}", term.position)
    test = _test(SCHEMA.fields[name], term)
    if term.comparator == "!=":
        return lambda subject: not test(subject.get(name))
    return lambda subject: test(subject.get(name))


def _test(field: Field, term: Restriction) -> _Test:
    """Returns what fulfils a comparison, `!=` taken for `=`. Nothing is fulfilled by an absent value."""
    compare = _COMPARISONS["=" if term.comparator == "!=" else term.comparator]
    match field:
        case Enum():
            return _compared(compare, field.value(term.value))
        case Time() | Name() if term.comparator == ":":
            return lambda value: value is not None
        case Time():
            return _compared(compare, time(term.value))
        case Name():
            return _compared(compare, term.value.text)
        case Text():
            return _text(term, compare)
        case Map():
            return _label(term)
    raise TypeError(f"{type(field).__name__} has no meaning here")


def _compared(compare: Callable[[Any, Any], bool], wanted: Any) -> _Test:
    return lambda value: value is not None and compare(value, wanted)


def _text(term: Restriction, compare: Callable[[Any, Any], bool]) -> _Test:
    if term.comparator == ":":
        raise FilterInvalid("changes cannot be searched for words", term.position)
    if term.comparator in ("=", "!=") and term.value.has_wildcard:
        return _like(term.value)
    return _compared(compare, term.value.text)


def _label(term: Restriction) -> _Test:
    key, value = ".".join(part.text for part in term.path[1:]), term.value
    if not key and value.has_wildcard:
        return bool
    if not key:
        return lambda labels: value.text in (labels or ())
    if term.comparator == ":" and value.pieces == ("", ""):
        return lambda labels: key in (labels or ())
    test = _like(value) if value.has_wildcard else _compared(operator.eq, value.text)
    return lambda labels: test((labels or {}).get(key))


def _like(value: Value) -> _Test:
    """Returns what has the pieces in their order. Piece by piece: what regular expressions try can take for ever."""
    first, *middle, last = value.pieces

    def test(text: str | None) -> bool:
        if text is None or len(text) < len(first) + len(last):
            return False
        if not (text.startswith(first) and text.endswith(last)):
            return False
        place, end = len(first), len(text) - len(last)
        for piece in middle:
            found = text.find(piece, place, end)
            if found < 0:
                return False
            place = found + len(piece)
        return True

    return test

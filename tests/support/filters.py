"""Filters made at random: trees, the text that stands for them, and what they mean, in Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from hypothesis import strategies as st

from shared.filters.syntax import And, Literal, Node, Not, Or, Restriction, Value

#: A row as the model sees it: texts, times, the priority as a number, labels as a dictionary.
Row = Mapping[str, Any]

WORDS = ["alpha", "beta", "gamma", "delta"]
STATES = ["TODO", "IN_PROGRESS", "DONE", "CANCELLED"]
PRIORITIES = ["LOW", "NORMAL", "HIGH", "URGENT"]
KEYS = ["env", "app.io/tier", "a"]
TIMES = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours) for hours in range(6)]
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip

_texts = st.text(alphabet="ab*\\\"' .%_():-é", max_size=6)
_values = st.lists(_texts, min_size=1, max_size=3).map(lambda pieces: Value(tuple(pieces), 1))
_any_term = st.one_of(
    _values.map(Literal),
    st.builds(
        Restriction,
        st.lists(_texts.map(lambda text: Value((text.replace("*", ""),), 1)), min_size=1, max_size=3).map(tuple),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">=", ":"]),
        _values,
    ),
)


def trees(terms: st.SearchStrategy[Any], most: int = 8) -> st.SearchStrategy[Any]:
    """Returns trees as the parser builds them: no And directly in an And, no Or directly in an Or."""
    return st.recursive(
        terms,
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(_flat(And, parts))),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(_flat(Or, parts))),
        ),
        max_leaves=most,
    )


def _flat(kind: type[And | Or], parts: list[Any]) -> tuple[Any, ...]:
    return tuple(each for part in parts for each in (part.parts if isinstance(part, kind) else (part,)))


any_tree = trees(_any_term)


def _value(*pieces: str) -> Value:
    return Value(pieces, 1)


def _term(path: str, comparators: list[str], values: st.SearchStrategy[Value]) -> st.SearchStrategy[Restriction]:
    return st.builds(Restriction, st.just((_value(path),)), st.sampled_from(comparators), values)


_word = st.sampled_from(WORDS).map(_value)
_beginning = st.sampled_from([word[:3] for word in WORDS]).map(lambda text: _value(text, ""))
_pattern = st.sampled_from([("al", ""), ("", "a"), ("", "eta", ""), ("beta",), ("", "")]).map(lambda p: _value(*p))
_time = st.sampled_from(TIMES).map(lambda moment: _value(moment.isoformat()))
_anything = st.just(_value("", ""))
_all = ["=", "!=", *COMPARISONS]


def _several(path: str, values: st.SearchStrategy[Value]) -> st.SearchStrategy[And | Or]:
    """Returns one comparison with several values: `state = (TODO OR DONE)`."""
    return st.builds(
        lambda kind, comparator, values: kind(tuple(Restriction((_value(path),), comparator, each) for each in values)),
        st.sampled_from([And, Or]),
        st.sampled_from(["=", ":"]),
        st.lists(values, min_size=2, max_size=3),
    )


_labels = st.builds(
    Restriction,
    st.sampled_from(KEYS).map(lambda key: (_value("labels"), _value(key))),
    st.sampled_from(["=", "!=", ":"]),
    _word | _pattern,
)

#: Terms that mean something for tasks.
task_terms = st.one_of(
    _word.map(Literal),
    _beginning.map(Literal),
    _term("state", ["=", "!=", ":"], st.sampled_from(STATES).map(_value)),
    _term("priority", _all, st.sampled_from(PRIORITIES).map(_value)),
    _term("title", ["=", "!="], _word | _pattern),
    _term("description", _all, _word),
    _term("title", [":"], _word | _beginning | _anything),
    _term("due_time", _all, _time),
    _term("complete_time", [":"], _anything),
    _term("create_time", _all, _time),
    _term("labels", [":"], st.sampled_from(KEYS).map(_value) | _anything),
    _labels,
    _several("state", st.sampled_from(STATES).map(_value)),
    _several("priority", st.sampled_from(PRIORITIES).map(_value)),
)
task_trees = trees(task_terms)

#: Terms that can be asked of the log of events.
logged_terms = st.one_of(
    _term("state", ["=", "!=", ":"], st.sampled_from(STATES).map(_value)),
    _term("priority", _all, st.sampled_from(PRIORITIES).map(_value)),
    _term("title", ["=", "!="], _word | _pattern),
    _term("title", _all, _word),
    _term("due_time", _all, _time),
    _term("due_time", [":"], _anything),
    _term("complete_time", [":"], _anything),
    _term("assignee", [":"], _anything),
    _term("labels", [":"], st.sampled_from(KEYS).map(_value) | _anything),
    _labels,
    _several("state", st.sampled_from(STATES).map(_value)),
    _several("priority", st.sampled_from(PRIORITIES).map(_value)),
)
logged_trees = trees(logged_terms)


def text_of(node: Node) -> str:
    """Returns a filter that stands for the tree, everything in quotes that can be."""
    if several := _one_comparison(node):
        return several
    match node:
        case And(parts):
            return " AND ".join(f"({text_of(part)})" if isinstance(part, And) else text_of(part) for part in parts)
        case Or(parts):
            return " OR ".join(f"({text_of(part)})" if isinstance(part, And | Or) else text_of(part) for part in parts)
        case Not(part):
            return f"NOT ({text_of(part)})"
        case Literal(value):
            return quoted(value)
        case Restriction(path, comparator, value):
            return ".".join(map(quoted, path)) + f" {comparator} " + quoted(value)
        case _:
            assert_never(node)


def _one_comparison(node: Node) -> str:
    """Returns how a filter says several comparisons of one field in one, or nothing where these are none."""
    match node:
        case And(parts) | Or(parts):
            terms = [part for part in parts if isinstance(part, Restriction) and part.comparator in ("=", ":")]
            if len(terms) < len(parts) or len({(term.path, term.comparator) for term in terms}) > 1:
                return ""
            word = " AND " if isinstance(node, And) else " OR "
            values = word.join(quoted(term.value) for term in terms)
            return ".".join(map(quoted, terms[0].path)) + f" {terms[0].comparator} ({values})"
    return ""


def quoted(value: Value) -> str:
    """Returns the value as a string, its wildcards bare and everything else escaped that has a meaning."""
    return '"' + "*".join(re.sub(r'([\\"*])', r"\\\1", piece) for piece in value.pieces) + '"'


def holds(node: Node, row: Row) -> bool:
    """Whether a row passes the filter, by the words of the contract."""
    match node:
        case And(parts):
            return all(holds(part, row) for part in parts)
        case Or(parts):
            return any(holds(part, row) for part in parts)
        case Not(part):
            return not holds(part, row)
        case Literal(value):
            return _has_word(f"{row['title']} {row['description']}", value)
        case Restriction(comparator="!="):
            return not holds(Restriction(node.path, "=", node.value), row)
        case Restriction():
            return _fulfils(node, row)
        case _:
            assert_never(node)


def _fulfils(term: Restriction, row: Row) -> bool:
    value, comparator = term.value, term.comparator
    found: Any = row[term.field]
    wanted: Any
    match term.field:
        case "labels":
            if len(term.path) == 1:
                return bool(found) if value.has_wildcard else value.text in found
            key = term.path[1].text
            return key in found and (value.pieces == ("", "") or _is_like(found[key], value))
        case "title" | "description" if comparator == ":":
            return bool(found) if value.pieces == ("", "") else _has_word(found, value)
        case "priority":
            found, wanted = PRIORITIES.index(found), PRIORITIES.index(value.text)
        case "due_time" | "complete_time" | "create_time":
            if found is None or comparator == ":":
                return found is not None
            wanted = datetime.fromisoformat(value.text)
        case _:
            if comparator in ("=", ":"):
                return _is_like(found, value)
            wanted = value.text
    return COMPARISONS[comparator](found, wanted) if comparator in COMPARISONS else found == wanted


def _is_like(text: str, value: Value) -> bool:
    return re.fullmatch(".*".join(map(re.escape, value.pieces)), text, re.DOTALL) is not None


def _has_word(text: str, value: Value) -> bool:
    if value.has_wildcard:
        return any(word.startswith(value.pieces[0]) for word in text.split())
    return value.text in text.split()

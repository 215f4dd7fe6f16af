"""The bounds of a task's fields for whoever reads tasks from anything but a message: those that the contract declares.

The contract's own annotations (`buf.validate`) are what CreateTask checks; a test holds these here against them.
"""

from __future__ import annotations

import json
import re
import unicodedata
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from shared.filters.tasks import PRIORITIES
from shared.states import PrincipalKind, TaskState

MAX_TITLE = 200
MAX_DESCRIPTION = 10_000
MAX_LABELS = 64
MAX_LABEL_VALUE = 255

#: From the root of a tree to the deepest task, both counted; and what a call that takes a tree along may change.
MAX_DEPTH = 8
MAX_TREE = 1000

NORMAL = PRIORITIES["NORMAL"]
_NO_PRIORITY = frozenset({"", "PRIORITY_UNSPECIFIED"})

#: What a line is called, by its importer.
MAX_KEY = 255

_NO_STATE = frozenset({"", "STATE_UNSPECIFIED"})
_STATES = [each.value for each in TaskState]
_ACCOUNT = re.compile(f"({'|'.join(PrincipalKind)})/([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: What cannot be seen: the letters that look like spaces, and the categories of spaces, controls, formats and marks.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_BLANKS = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Mn", "Mc", "Me"})
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_./-]{0,62}")
#: RFC 3339. What `datetime.fromisoformat` reads beyond it is refused.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def title(value: Any) -> str:
    """Returns a title. Raises ValueError, as all of these do, with what is wrong in words for the caller."""
    if value is None or value == "":
        raise ValueError("value is required")
    text = _text(value, MAX_TITLE)
    if _CONTROL.search(text):
        raise ValueError("holds a control character")
    if all(char in _BLANK or unicodedata.category(char) in _BLANKS for char in text):
        raise ValueError("must have a character that can be seen")
    return text


def description(value: Any) -> str:
    """Returns a description; none is an empty one."""
    return "" if value is None else _free_text(value, MAX_DESCRIPTION)


def priority(value: Any) -> int:
    """Returns the number of a priority, which is given by its name; none is NORMAL."""
    if value is None or (isinstance(value, str) and value in _NO_PRIORITY):
        return NORMAL
    if not isinstance(value, str) or value not in PRIORITIES:
        raise ValueError(f"must be one of {', '.join(PRIORITIES)}")
    return PRIORITIES[value]


def labels(value: Any) -> dict[str, str]:
    """Returns labels, which are given as an object, or as the JSON of one."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        value = parse_json(value)
    if not isinstance(value, dict):
        raise ValueError("must be an object of texts")  # noqa: TRY004  a fault in the file, not in the program
    if len(value) > MAX_LABELS:
        raise ValueError(f"must be at most {MAX_LABELS}")
    return {_label_key(key): _free_text(each, MAX_LABEL_VALUE) for key, each in value.items()}


def time(value: Any) -> datetime | None:
    """Returns a time of the years 1970 to 9999, rounded down to the microsecond; none if there is none."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("must be a time such as 2026-01-31T09:00:00Z")
    try:
        found = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("is not a time of the years 1970 to 9999") from error
    if found < _EPOCH:
        raise ValueError("is not a time of the years 1970 to 9999")
    return found


def state(value: Any) -> str:
    """Returns a state, which is given by its name; none is TODO."""
    if value is None or (isinstance(value, str) and value in _NO_STATE):
        return TaskState.TODO.value
    if not isinstance(value, str) or value not in _STATES:
        raise ValueError(f"must be one of {', '.join(_STATES)}")
    return value


def assignee(value: Any) -> tuple[str, uuid.UUID] | None:
    """Returns kind and id of an account, which is given by its name; none if there is none."""
    if value is None or value == "":
        return None
    found = _ACCOUNT.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError("must be the name of an account, such as users/01a20a96-2d59-7595-8a0b-076ff791b8a8")
    return found[1], uuid.UUID(found[2])


def parent_task(value: Any) -> str | None:
    """Returns what says which task this one is part of; none if there is none."""
    return None if value is None or value == "" else _text(value, MAX_KEY)


#: The fields that a file can say, and how each is read from text or JSON.
READERS: dict[str, Callable[[Any], Any]] = {
    "title": title,
    "description": description,
    "priority": priority,
    "labels": labels,
    "due_time": time,
    "remind_time": time,
    "state": state,
    "assignee": assignee,
    "parent_task": parent_task,
}

#: The fields that only TaskHub sets. They are ignored where a task is created.
OUTPUT_ONLY = frozenset(
    {"name", "owner", "create_time", "update_time", "complete_time", "delete_time", "purge_time", "etag"}
)


def parse_json(text: str) -> Any:
    """Returns what JSON says (RFC 8259). Raises ValueError also for a name that is given twice, and for depth."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise ValueError("nests too deep") from error
    except _NameTwice:
        raise
    except ValueError as error:
        raise ValueError("is not JSON") from error


class _NameTwice(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NameTwice("gives a name twice")
    return found


def _constant(_: str) -> Any:
    raise ValueError("is not JSON")


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004  a fault in the file, not in the program
    if len(value) > longest:
        raise ValueError(f"must be at most {longest} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half a character") from error
    return value


def _free_text(value: Any, longest: int) -> str:
    text = _text(value, longest)
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def _label_key(key: str) -> str:
    if not _LABEL_KEY.fullmatch(key):
        raise ValueError("has a key that is not 1 to 63 of a-z, 0-9, _, -, . and /, beginning with a letter")
    return key

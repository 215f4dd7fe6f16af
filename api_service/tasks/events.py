"""Events of tasks between the log and messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Value
from google.protobuf.timestamp_pb2 import Timestamp
from taskhub.v1 import task_event_pb2

from api_service.events.queries import EventRow
from api_service.tasks.messages import PRIORITIES
from api_service.wire import set_time


def to_event(row: EventRow) -> task_event_pb2.TaskEvent:
    """Returns the event as the contract shows it."""
    message = task_event_pb2.TaskEvent(
        name=f"{row.resource}/events/{row.id}", task=row.resource, kind=row.kind, actor=row.actor
    )
    set_time(message.create_time, row.create_time)
    for field, (old, new) in json.loads(row.changes).items():
        shown = _SHOWN.get(field, _as_it_is)
        change = message.changes[field]
        _set(change.old_value, shown(old))
        _set(change.new_value, shown(new))
    return message


def _as_it_is(value: Any) -> Any:
    return value


def _time(value: Any) -> Any:
    """Returns a time as JSON writes it in a task, so that the two can be compared."""
    if value is None:
        return None
    time = Timestamp()
    time.FromJsonString(value)
    return time.ToJsonString()


#: How a task shows what the log keeps in another way.
_SHOWN: dict[str, Callable[[Any], Any]] = {
    "priority": lambda value: PRIORITIES.get(value, value),
    **{f"{name}_time": _time for name in ("due", "remind", "complete", "delete", "purge")},
}


def _set(value: Value, plain: Any) -> None:
    """Writes what JSON holds; the log has no lists."""
    match plain:
        case None:
            value.null_value = NULL_VALUE
        case bool():
            value.bool_value = plain
        case int() | float():
            value.number_value = plain
        case str():
            value.string_value = plain
        case _:
            value.struct_value.update(plain)

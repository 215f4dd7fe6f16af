"""One event on its way to whoever watches: read once, written as bytes once, and told apart by many."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from api_service.events.queries import EventRow

#: What a new task begins as: nobody has to read its event for that.
_FIRST_STATE = "TODO"


class Entry:
    """An event that has a position. What few ask for is worked out when the first one asks."""

    def __init__(self, row: EventRow, encode: Callable[[EventRow], bytes]) -> None:
        assert row.position is not None  # noqa: S101  read by position
        self.position = row.position
        self.row = row
        self._encode = encode

    @cached_property
    def payload(self) -> bytes:
        """The event as it goes out, the same bytes to everybody."""
        return self._encode(self.row)

    @cached_property
    def size(self) -> int:
        """About as many bytes as it takes, before and after it is encoded."""
        return 1000 + 2 * len(self.row.changes)

    @cached_property
    def readers(self) -> frozenset[uuid.UUID]:
        """The accounts that may know of it; whoever was taken off a task learns of that."""
        involved = {self.row.owner_id, self.row.assignee_id}
        if '"assignee"' in self.row.changes:
            involved |= {_id(name) for name in self._changes.get("assignee", ()) if name}
        return frozenset(id_ for id_ in involved if id_ is not None)

    @cached_property
    def state(self) -> str | None:
        """The state that it brought a task into."""
        if self.row.kind == "task.created":
            return _FIRST_STATE
        change = self._changes.get("state")
        return change[1] if change else None

    @cached_property
    def _changes(self) -> dict[str, Any]:
        changes: dict[str, Any] = json.loads(self.row.changes)
        return changes


@dataclass(frozen=True, slots=True)
class Interest:
    """What somebody wants to know. What is empty excludes nothing."""

    #: Whose events; everybody's for those who read everything.
    reader: uuid.UUID | None
    collection: str
    resource: str = ""
    kinds: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()

    def covers(self, entry: Entry) -> bool:
        """Whether the event is for whoever wants this."""
        row = entry.row
        return (
            row.resource.startswith(self.collection)
            and (not self.resource or row.resource == self.resource)
            and (not self.kinds or row.kind in self.kinds)
            and (self.reader is None or self.reader in entry.readers)
            and (not self.states or entry.state in self.states)
        )


def _id(name: str) -> uuid.UUID:
    return uuid.UUID(name.rpartition("/")[2])
